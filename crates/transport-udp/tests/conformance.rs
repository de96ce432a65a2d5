//! The contract, over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::Arc;

use transport::conformance::{self, Ends, Harness, HopEnds, HopHarness};
use transport::{FramePath, FrameSink, HopPath};
use transport_udp::{UdpPath, UdpTransport};
use wire::PeerName;

type End = (PeerName, Arc<dyn FrameSink>);

/// Keeps what it made alive until the end.
#[derive(Default)]
struct Loopback(Vec<UdpTransport>);

impl Loopback {
    fn pair(&mut self, a: End, b: End) -> (Arc<UdpPath>, Arc<UdpPath>) {
        let (at_a, at_b) = (common::start(a.1, Box::new(|_| {})), common::start(b.1, Box::new(|_| {})));
        let joined = common::join((a.0, &at_a, 11), (b.0, &at_b, 22));
        self.0.extend([at_a, at_b]);
        (joined.to_b, joined.to_a)
    }
}

fn closer(paths: (&Arc<UdpPath>, &Arc<UdpPath>)) -> Box<dyn FnOnce()> {
    let paths = [Arc::clone(paths.0), Arc::clone(paths.1)];
    Box::new(move || paths.iter().for_each(|p| p.close()))
}

impl Harness for Loopback {
    fn connect(&mut self, a: End, b: End) -> Ends {
        let (to_b, to_a) = self.pair(a, b);
        let close = closer((&to_b, &to_a));
        Ends { to_b: to_b as Arc<dyn FramePath>, to_a: to_a as Arc<dyn FramePath>, close }
    }
}

impl HopHarness for Loopback {
    fn connect_hops(&mut self, a: End, b: End) -> HopEnds {
        let (to_b, to_a) = self.pair(a, b);
        let close = closer((&to_b, &to_a));
        HopEnds { to_b: to_b as Arc<dyn HopPath>, to_a: to_a as Arc<dyn HopPath>, close }
    }
}

#[test]
fn it_fulfils_the_contract() {
    conformance::run(&mut Loopback::default());
}

#[test]
fn it_fulfils_the_contract_of_a_hop() {
    conformance::run_hops(&mut Loopback::default());
}
