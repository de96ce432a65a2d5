//! Records of sessions between peers that are not neighbours, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Joined, MAX_FRAME, address, join, keys, start};
use packet::{SuperFrame, VnetHdr};
use records::{Table, TableEvent};
use transport::{
    Batch, Drop, FramePath, FrameSink, HopPath, HopPaths, Inbox, Outbox, PathCounters, RecordSink, TapFrame,
};
use transport_relay::{RelayPath, Route};
use transport_udp::{UdpEvent, UdpPath, UdpTransport};
use wire::{GroupHeader, Hops, PeerName, RecordHeader};

const A: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xa]);
const B: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xb]);
const C: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xc]);
const PATIENCE: Duration = Duration::from_secs(10);

/// A router's data path in short: relays along the names, opens what is for itself, remembers frames.
struct Peer {
    table: Table,
    events: Mutex<Receiver<TableEvent>>,
    next: Mutex<BTreeMap<PeerName, Arc<dyn HopPath>>>,
    relayed: Mutex<Vec<Vec<u8>>>,
    frames: Mutex<Vec<(PeerName, usize, Vec<u8>)>>,
}

impl Peer {
    fn new() -> Arc<Self> {
        let (tell, events) = channel();
        Arc::new(Self {
            table: Table::new(Box::new(move |event| tell.send(event).unwrap())),
            events: Mutex::new(events),
            next: Mutex::default(),
            relayed: Mutex::default(),
            frames: Mutex::default(),
        })
    }

    fn start(self: &Arc<Self>) -> UdpTransport {
        start(Arc::clone(self) as Arc<dyn FrameSink>, Box::new(|_| {}))
    }

    fn event(&self) -> TableEvent {
        self.events.lock().unwrap().recv_timeout(PATIENCE).unwrap()
    }
}

impl FrameSink for Peer {
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
        let frame = frame.frame();
        self.frames.lock().unwrap().push((peer, frame.segments(), frame.frame().to_vec()));
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        unreachable!("nobody sends frames for everyone here")
    }

    fn relay(&self, _: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox) {
        let Some((name, rest)) = hops.next() else {
            self.table.record(None, record, out).unwrap();
            return;
        };
        self.relayed.lock().unwrap().push(record.to_vec());
        let next = self.next.lock().unwrap();
        let path = &next[&name];
        path.relay(rest, record, out.batch(&(Arc::clone(path) as Arc<dyn FramePath>))).unwrap();
    }

    fn record(&self, from: SocketAddr, record: &mut [u8], out: &mut Outbox) -> Result<(), Drop> {
        self.table.record(Some(from), record, out)
    }
}

/// A and C have a session, and links to B only.
struct Chain {
    a: Arc<Peer>,
    b: Arc<Peer>,
    c: Arc<Peer>,
    transports: [UdpTransport; 3],
    ab: Joined,
    bc: Joined,
    /// From A to C and back.
    ends: [Arc<RelayPath>; 2],
}

impl Chain {
    fn new() -> Self {
        let [a, b, c] = [(); 3].map(|()| Peer::new());
        let transports = [a.start(), b.start(), c.start()];
        let [at_a, at_b, at_c] = &transports;
        let ab = join((A, at_a, 1), (B, at_b, 2));
        let bc = join((B, at_b, 3), (C, at_c, 4));
        for path in [&ab.to_b, &ab.to_a, &bc.to_b, &bc.to_a] {
            path.set_longest(path.relayed_record(1));
        }
        for (name, path) in [(A, &ab.to_a), (C, &bc.to_b)] {
            b.next.lock().unwrap().insert(name, Arc::clone(path) as Arc<dyn HopPath>);
        }
        let ((seal_a, open_a), (seal_c, open_c)) = keys(5, 6);
        let end = |sealer, hop: &Arc<UdpPath>, names: &[PeerName]| {
            let path = Arc::new(RelayPath::new(sealer, MAX_FRAME));
            let hop = HopPaths { primary: Arc::clone(hop) as Arc<dyn HopPath>, fallback: None };
            path.set_route(Some(Route { hop, names: names.iter().map(|n| n.bytes()).collect() }));
            path
        };
        let ends = [end(seal_a, &ab.to_b, &[C]), end(seal_c, &bc.to_a, &[A])];
        let inbox = |of: PeerName, at: &Arc<Peer>| Inbox::new(of, Arc::clone(at) as Arc<dyn FrameSink>);
        let relay = |n: usize| Arc::clone(&ends[n]) as Arc<dyn FramePath>;
        assert!(a.table.install(5, open_a, inbox(C, &a), relay(0)));
        assert!(c.table.install(6, open_c, inbox(A, &c), relay(1)));
        Self { a, b, c, transports, ab, bc, ends }
    }

    /// Sends an ordinary frame from one end.
    fn send(&self, end: usize, bytes: &[u8]) {
        let mut batch = Batch::new();
        self.ends[end].send(&SuperFrame::checked(VnetHdr::default(), bytes).unwrap(), &mut batch).unwrap();
        self.ends[end].flush(&mut batch);
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn received(counters: &PathCounters) -> u64 {
    counters.rx_frames.load(std::sync::atomic::Ordering::Relaxed)
}

/// An ordinary frame.
fn plain() -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[9; 50]].concat()
}

/// UDP over IPv4 that is to be cut every 1300 bytes; no checksums but the open one.
fn super_frame(payload: usize) -> (VnetHdr, Vec<u8>) {
    let udp = (8 + payload) as u16;
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    b.extend((20 + udp).to_be_bytes());
    b.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = packet::checksum::Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend([0x30, 0x39, 0x30, 0x39]);
    b.extend(udp.to_be_bytes());
    let mut pseudo = b[26..34].to_vec();
    pseudo.extend([0, 17]);
    pseudo.extend(udp.to_be_bytes());
    b.extend(packet::checksum::Sum::of(&pseudo).fold().to_be_bytes());
    b.extend((0..payload).map(|i| (i / 251 + i) as u8));
    let hdr = VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type: VnetHdr::GSO_UDP_L4,
        hdr_len: 42,
        gso_size: 1300,
        csum_start: 34,
        csum_offset: 6,
    };
    (hdr, b)
}

#[test]
fn relayed_records_cross_three_sockets_in_trains_and_arrive_as_one_super_frame() {
    let chain = Chain::new();
    let (hdr, bytes) = super_frame(40 * 1300);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let mut batch = Batch::new();
    chain.ends[0].send(&frame, &mut batch).unwrap();
    chain.ends[0].flush(&mut batch);
    eventually("all segments arrive", || {
        chain.c.frames.lock().unwrap().iter().map(|(_, segments, _)| segments).sum::<usize>() == 40
    });
    let frames = chain.c.frames.lock().unwrap();
    assert!(frames.iter().all(|(peer, ..)| *peer == A), "they are A's, who sealed them, not B's");
    if chain.transports.iter().all(|t| t.socket().no_trains().is_none() && t.no_coalescing().is_none()) {
        assert_eq!(frames.len(), 1, "what arrived as a train left as one, and was joined at the end");
        assert!(frames[0].2 == bytes);
        for path in [&chain.ab.to_b, &chain.bc.to_b] {
            // Counted when the system call is over, which the receiver may be ahead of.
            eventually("all are counted as sent", || {
                (path.sent().records, path.sent().in_trains) == (40, 40)
            });
        }
    }
    assert_eq!(chain.c.event(), TableEvent::Opened { peer: A, index: 6 });
    assert_eq!(chain.c.table.opened(6), Some(40));
    assert_eq!(received(chain.ends[1].counters()), 40, "counted at C's way back");
    assert_eq!(received(chain.bc.to_a.counters()), 40, "and at the hop they came by");
    let answer = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5][..], &[7; 50]].concat();
    chain.send(1, &answer);
    eventually("the answer arrives", || !chain.a.frames.lock().unwrap().is_empty());
    assert_eq!(*chain.a.frames.lock().unwrap(), [(C, 1, answer)]);
    assert_eq!(chain.a.event(), TableEvent::Opened { peer: C, index: 5 });
}

#[test]
fn a_relay_sees_records_that_it_cannot_open() {
    let chain = Chain::new();
    let secret = [&plain()[..], b"what only C shall read"].concat();
    chain.send(0, &secret);
    eventually("the frame arrives", || !chain.c.frames.lock().unwrap().is_empty());
    let mut seen = chain.b.relayed.lock().unwrap().pop().unwrap();
    assert!(!seen.windows(8).any(|w| secret.windows(8).any(|s| s == w)), "nothing of the frame is in clear");
    let header = RecordHeader::decode(&seen).unwrap();
    assert_eq!(header.index, 6, "C's index, which B has no session for");
    // Tried with the keys that B does have, by the names of its sessions with both neighbours.
    let (wire, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), address(&chain.transports[1]));
    for (index, path) in [(2_u32, &chain.ab.to_a), (3, &chain.bc.to_b)] {
        let mut tried = seen.clone();
        tried[1..5].copy_from_slice(&index.to_be_bytes());
        // With a counter that is new in that session.
        tried[5..13].copy_from_slice(&1000_u64.to_be_bytes());
        wire.send_to(&tried, to).unwrap();
        eventually("it does not open", || path.counters().drops.get(Drop::Forged) == 1);
    }
    let out = &mut Outbox::new();
    let from = Some(address(&chain.transports[0]));
    assert_eq!(chain.b.table.record(from, &mut seen, out), Err(Drop::UnknownSession));
}

#[test]
fn a_header_that_was_changed_or_seen_before_is_dropped_and_counted() {
    let chain = Chain::new();
    let (wire, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), address(&chain.transports[1]));
    let drops = |reason| chain.ab.to_a.counters().drops.get(reason);
    let mut datagram = Vec::new();
    // To nobody behind B: what passes ends there, in a session that B does not have.
    let names = [C.bytes()];
    chain.ab.sealer.seal_relay(Hops::new(&names).unwrap(), &[1; 40], &mut datagram).unwrap();
    let head = datagram.len() - 40;
    for i in 1..head {
        let mut forged = datagram.clone();
        forged[i] ^= 1;
        // An index that is nobody's names no session to count at.
        if (1..5).contains(&i) {
            continue;
        }
        wire.send_to(&forged, to).unwrap();
    }
    let tries = (head - 5) as u64;
    eventually("all are counted as forged", || drops(Drop::Forged) == tries);
    assert!(chain.b.relayed.lock().unwrap().is_empty());
    wire.send_to(&datagram, to).unwrap();
    eventually("the true one passes", || chain.b.relayed.lock().unwrap().len() == 1);
    wire.send_to(&datagram, to).unwrap();
    eventually("and does so once", || drops(Drop::Replayed) == 1);
    assert_eq!(chain.b.relayed.lock().unwrap().len(), 1);
    assert_eq!(received(chain.ab.to_a.counters()), 1);
}

#[test]
fn what_names_no_session_is_counted() {
    let chain = Chain::new();
    let (wire, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), address(&chain.transports[1]));
    let drops = |reason| chain.transports[1].drops().get(reason);
    let ((stranger, _), _) = keys(77, 88);
    let mut relayed = Vec::new();
    stranger.seal_relay(Hops::default(), &[1; 40], &mut relayed).unwrap();
    let mut record = Vec::new();
    stranger.seal(&[&[2; 20]], &mut record).unwrap();
    for datagram in [relayed, record] {
        wire.send_to(&datagram, to).unwrap();
    }
    eventually("both are counted", || drops(Drop::UnknownSession) == 2);
    for malformed in [&[0x10; 58][..], &[0x20; 200], &[0x12; 70]] {
        wire.send_to(malformed, to).unwrap();
    }
    eventually("all are counted", || drops(Drop::Malformed) == 3);
}

#[test]
fn a_record_too_long_for_a_hop_is_refused_there() {
    let chain = Chain::new();
    let path = &chain.ab.to_b;
    let (hdr, bytes) = super_frame(1300 * 2);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let full = MAX_FRAME - frame.longest_segment();
    path.set_longest(path.relayed_record(1) - full - 1);
    let mut batch = Batch::new();
    assert_eq!(chain.ends[0].send(&frame, &mut batch), Err(Drop::TooBig));
    path.set_longest(path.relayed_record(1) - full);
    assert_eq!(chain.ends[0].send(&frame, &mut batch), Ok(()), "exactly what fits");
    assert_eq!(path.counters().drops.get(Drop::TooBig), 2);
    assert_eq!(chain.ends[0].counters().drops.get(Drop::TooBig), 2);
}

#[test]
fn the_direct_path_of_distant_peers_is_probed_and_used_beside_the_relay() {
    let chain = Chain::new();
    let [at_a, _, at_c] = &chain.transports;
    let ((seal_a, open_a), (seal_c, open_c)) = keys(7, 8);
    let direct = |at: &UdpTransport, sealer, to: &UdpTransport| {
        Arc::new(UdpPath::new(at.socket(), sealer, address(to), MAX_FRAME))
    };
    let (to_c, to_a) = (direct(at_a, Arc::clone(&seal_a), at_c), direct(at_c, seal_c, at_a));
    chain.ends[0].rekey(seal_a);
    let sides = [(&chain.a, 7, C, open_a, &to_c), (&chain.c, 8, A, open_c, &to_a)];
    for (n, (peer, index, of, opener, path)) in sides.into_iter().enumerate() {
        let inbox = Inbox::new(of, Arc::clone(peer) as Arc<dyn FrameSink>);
        assert!(peer.table.install(index, opener, inbox, Arc::clone(&chain.ends[n]) as Arc<dyn FramePath>));
        peer.table.set_direct(index, Some(Arc::clone(path) as _));
    }
    to_c.probe(address(at_c), 99, 1000).unwrap();
    assert_eq!(chain.c.event(), TableEvent::Opened { peer: A, index: 8 });
    assert_eq!(chain.c.event(), TableEvent::Udp(UdpEvent::Moved { peer: A, from: address(at_a) }));
    assert_eq!(chain.a.event(), TableEvent::Opened { peer: C, index: 7 });
    assert_eq!(chain.a.event(), TableEvent::Udp(UdpEvent::Moved { peer: C, from: address(at_c) }));
    let TableEvent::Udp(UdpEvent::Answer { peer, token, length, seen, from, arrived }) = chain.a.event()
    else {
        panic!("no answer")
    };
    assert_eq!((peer, token, length), (C, 99, 1000));
    assert_eq!((seen, from), (address(at_a), address(at_c)));
    assert_eq!(arrived.unwrap().opened, 0);
    // One counter for both ways: the records of neither look seen before.
    for round in 0..20 {
        let frame = plain();
        let frame = SuperFrame::checked(VnetHdr::default(), &frame).unwrap();
        let mut batch = Batch::new();
        let path: &dyn FramePath = if round % 2 == 0 { &*to_c } else { &*chain.ends[0] };
        path.send(&frame, &mut batch).unwrap();
        path.flush(&mut batch);
    }
    eventually("all arrive", || chain.c.frames.lock().unwrap().len() == 20);
    assert_eq!(chain.c.table.opened(8), Some(20));
    assert_eq!((received(to_a.counters()), received(chain.ends[1].counters())), (10, 10));
    to_c.probe(address(at_c), 100, 1000).unwrap();
    let TableEvent::Udp(UdpEvent::Answer { arrived, .. }) = chain.a.event() else { panic!("no answer") };
    assert_eq!(arrived.unwrap().opened, 10, "P4.10 counts what came this way");
}
