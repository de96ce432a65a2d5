use super::*;
use crate::conformance::{self, Ends, Harness, HopEnds, HopHarness};

struct Memory;

type End = (PeerName, Arc<dyn FrameSink>);

fn connect(a: End, b: End) -> (Arc<MemoryPath>, Arc<MemoryPath>, Box<dyn FnOnce()>) {
    let (to_b, to_a) = MemoryPath::pair(a, b, 1390, 1 << 20);
    let closer = Arc::clone(&to_b);
    (to_b, to_a, Box::new(move || closer.close()))
}

impl Harness for Memory {
    fn connect(&mut self, a: End, b: End) -> Ends {
        let (to_b, to_a, close) = connect(a, b);
        Ends { to_b, to_a, close }
    }
}

impl HopHarness for Memory {
    fn connect_hops(&mut self, a: End, b: End) -> HopEnds {
        let (to_b, to_a, close) = connect(a, b);
        to_b.set_max_relayed(1500);
        HopEnds { to_b, to_a, close }
    }
}

#[test]
fn it_fulfils_the_contract() {
    conformance::run(&mut Memory);
}

#[test]
fn it_fulfils_the_contract_of_a_hop() {
    conformance::run_hops(&mut Memory);
}
