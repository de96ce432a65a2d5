//! Nothing on a record's way through a relay allocates.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::net::UdpSocket;
use std::sync::Arc;

use allocation_counter::measure;
use common::{MAX_FRAME, keys};
use records::Session;
use transport::{Drop, FramePath, FrameSink, HopPath, Inbox, Outbox, PathCounters, TapFrame};
use transport_udp::{Socket, UdpPath};
use wire::{GroupHeader, Hops, PeerName, RelayHeader};

const FROM: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
/// Records of one batch: more than two trains of them.
const BATCH: usize = 150;

/// Passes records on to one path, as a relay between two neighbours does.
struct Relay(Arc<UdpPath>);

impl FrameSink for Relay {
    fn deliver(&self, _: PeerName, _: TapFrame<'_>) {}

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox) {
        assert_eq!(from, FROM);
        let (_, rest) = hops.next().unwrap();
        let path = Arc::clone(&self.0) as Arc<dyn FramePath>;
        self.0.relay(rest, record, out.batch(&path)).unwrap();
    }
}

#[test]
fn a_relay_passes_a_batch_on_without_allocating() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = Arc::new(Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap());
    let (((from, _), (_, opener)), ((to, _), _)) = (keys(1, 2), keys(3, 4));
    let path = Arc::new(UdpPath::new(socket, to, sink.local_addr().unwrap(), MAX_FRAME));
    let mut session = Session::with_neighbour(opener, Inbox::new(FROM, Arc::new(Relay(Arc::clone(&path)))));
    let (counters, mut out) = (PathCounters::default(), Outbox::new());
    let batch = || {
        let seal = |_| {
            let mut datagram = Vec::new();
            from.seal_relay(Hops::new(&[[2; 6]; 2]).unwrap(), &[7; 1300], &mut datagram).unwrap();
            datagram
        };
        (0..BATCH).map(seal).collect::<Vec<_>>()
    };
    let mut pass = |datagrams: &mut Vec<Vec<u8>>| {
        for datagram in datagrams {
            let (header, record) = RelayHeader::split(datagram).unwrap();
            session.relay(&header, record, &counters, &mut out).unwrap();
        }
        out.flush();
    };
    // The first batch takes the memory that the others use again.
    pass(&mut batch());
    let mut datagrams = batch();
    let counted = measure(|| pass(&mut datagrams));
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let dropped = path.counters().drops.get(Drop::QueueFull);
    assert_eq!(path.sent().records + dropped, 2 * BATCH as u64);
    assert!(path.sent().records > 0);
}
