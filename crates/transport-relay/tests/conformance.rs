//! The contract, through one relay in memory.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use records::Table;
use session::{KeyExchange, Role};
use transport::conformance::{self, Ends, Harness};
use transport::memory::MemoryPath;
use transport::{FramePath, FrameSink, HopPath, HopPaths, Inbox, Outbox, RecordSink, TapFrame};
use transport_relay::{RelayPath, Route};
use wire::{Cipher, GroupHeader, Hops, PeerName};

const RELAY: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xff]);
const MAX_FRAME: usize = 1390;

/// What is behind a hop: the sessions of an end, or the hops of a relay.
struct Peer {
    table: Table,
    next: Mutex<BTreeMap<PeerName, Arc<dyn HopPath>>>,
}

impl Peer {
    fn new() -> Arc<Self> {
        Arc::new(Self { table: Table::new(Box::new(|_| {})), next: Mutex::default() })
    }
}

impl FrameSink for Peer {
    fn deliver(&self, peer: PeerName, _: TapFrame<'_>) {
        panic!("{peer} sent a frame that is not sealed for the other end");
    }

    fn take_group(&self, from: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        panic!("{from} passed on a frame for everyone")
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox) {
        match hops.next() {
            None => self.table.record(None, record, out).unwrap(),
            Some((name, rest)) => {
                assert_ne!(name, from);
                let path = Arc::clone(&self.next.lock().unwrap()[&name]);
                // The hop has counted what it did not take.
                let _ = path.relay(rest, record, out.batch(&(Arc::clone(&path) as Arc<dyn FramePath>)));
            }
        }
    }
}

struct ThroughOne;

impl Harness for ThroughOne {
    fn connect(&mut self, a: (PeerName, Arc<dyn FrameSink>), b: (PeerName, Arc<dyn FrameSink>)) -> Ends {
        let (at_a, at_b, relay) = (Peer::new(), Peer::new(), Peer::new());
        let sink = |peer: &Arc<Peer>| Arc::clone(peer) as Arc<dyn FrameSink>;
        let end = |name, at: &Arc<Peer>| {
            let (there, back) = MemoryPath::pair((name, sink(at)), (RELAY, sink(&relay)), 0, 1 << 20);
            relay.next.lock().unwrap().insert(name, back as Arc<dyn HopPath>);
            HopPaths { primary: there as Arc<dyn HopPath>, fallback: None }
        };
        let hops = [end(a.0, &at_a), end(b.0, &at_b)];
        let (ka, kb) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
        let (public_a, public_b) = (ka.public_key().to_vec(), kb.public_key().to_vec());
        let cipher = Cipher::ChaCha20Poly1305;
        let (seal_a, open_a) = ka.finish(&public_b, &[1; 32], Role::Dialler, 0, cipher, 22).unwrap();
        let (seal_b, open_b) = kb.finish(&public_a, &[1; 32], Role::Acceptor, 0, cipher, 11).unwrap();
        let [to_b, to_a] = [(seal_a, &hops[0], b.0), (seal_b, &hops[1], a.0)].map(|(sealer, hop, name)| {
            let path = Arc::new(RelayPath::new(Arc::new(sealer), MAX_FRAME));
            assert!(path.set_route(Some(Route { hop: hop.clone(), names: vec![name.bytes()] })));
            path
        });
        let frame_path = |path: &Arc<RelayPath>| Arc::clone(path) as Arc<dyn FramePath>;
        assert!(at_a.table.install(11, open_a, Inbox::new(b.0, a.1), frame_path(&to_b)));
        assert!(at_b.table.install(22, open_b, Inbox::new(a.0, b.1), frame_path(&to_a)));
        let closing = [Arc::clone(&to_b), Arc::clone(&to_a)];
        Ends { to_b, to_a, close: Box::new(move || closing.iter().for_each(|path| path.close())) }
    }
}

#[test]
fn it_fulfils_the_contract() {
    conformance::run(&mut ThroughOne);
}
