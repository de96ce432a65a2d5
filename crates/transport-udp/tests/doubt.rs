//! Records that go both ways, or the other because the kernel refuses them (P4.12), over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{address, join, start};
use packet::{SuperFrame, VnetHdr};
use records::UdpEvent;
use transport::{Batch, Drop, FramePath, FrameSink, HopPath, Outbox, SealedPath, TapFrame};
use transport_udp::{Inside, UdpTransport};
use wire::{GroupHeader, Hops, PeerName};

const A: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xa]);
const B: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xb]);
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody is there.
const NOWHERE: &str = "127.0.0.1:9";

/// Remembers the numbers of frames, in the order they came.
#[derive(Default)]
struct Heard(Mutex<Vec<usize>>);

impl FrameSink for Heard {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        self.0.lock().unwrap().push(frame.frame().frame().len());
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, frame: TapFrame<'_>, _: &mut Outbox) -> bool {
        self.0.lock().unwrap().push(10_000 + frame.frame().frame().len());
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
        self.0.lock().unwrap().push(20_000 + record.len());
    }
}

/// A link in short: what it takes comes out at the other end at once.
struct Link {
    inside: Inside,
    carried: AtomicUsize,
    is_full: AtomicBool,
}

impl SealedPath for Link {
    fn send_sealed(&self, record: &[u8], _: &mut Batch) -> Result<(), Drop> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Drop::QueueFull);
        }
        self.carried.fetch_add(1, Ordering::Relaxed);
        self.inside.take(record).unwrap()
    }

    fn flush_sealed(&self, _: &mut Batch) {}
}

/// What A sends to B.
struct Pair {
    path: Arc<transport_udp::UdpPath>,
    back: Arc<transport_udp::UdpPath>,
    link: Arc<Link>,
    heard: Arc<Heard>,
    events: Receiver<UdpEvent>,
    transports: [UdpTransport; 2],
}

impl Pair {
    fn new() -> Self {
        let (tell, events) = channel();
        let heard = Arc::new(Heard::default());
        let at_a = start(Arc::new(Heard::default()), Box::new(|_| {}));
        let sink = Arc::clone(&heard) as Arc<dyn FrameSink>;
        let at_b = start(sink, Box::new(move |event| tell.send(event).unwrap_or_default()));
        let joined = join((A, &at_a, 1), (B, &at_b, 2));
        let link = Arc::new(Link {
            inside: at_b.inside(),
            carried: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
        });
        joined.to_b.set_fallback(Some(Arc::clone(&link) as Arc<dyn SealedPath>));
        Self { path: joined.to_b, back: joined.to_a, link, heard, events, transports: [at_a, at_b] }
    }

    /// Sends frames of these lengths, in one batch.
    fn send(&self, lengths: std::ops::Range<usize>) {
        let mut batch = Batch::new();
        for len in lengths {
            let bytes = vec![0; len];
            self.path.send(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap(), &mut batch).unwrap();
        }
        self.path.flush(&mut batch);
    }

    /// Waits until so many frames came, and a moment longer for those that came too often.
    fn heard(&self, n: usize) -> Vec<usize> {
        let until = Instant::now() + PATIENCE;
        while self.heard.0.lock().unwrap().len() < n {
            assert!(Instant::now() < until, "{:?}", self.heard.0.lock().unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }

    fn doubts(&self) -> usize {
        self.events.try_iter().filter(|event| *event == UdpEvent::Doubted { peer: A }).count()
    }

    fn carried(&self) -> usize {
        self.link.carried.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn what_goes_both_ways_is_delivered_once() {
    let pair = Pair::new();
    pair.send(100..150);
    assert_eq!(pair.heard(50), (100..150).collect::<Vec<_>>());
    assert_eq!((pair.carried(), pair.doubts()), (0, 0), "without doubt the link carries nothing");
    pair.path.set_doubt(true);
    for _ in 0..20 {
        pair.send(100..150);
        let mut heard = pair.heard(50);
        heard.sort_unstable();
        assert_eq!(heard, (100..150).collect::<Vec<_>>());
        assert_eq!(pair.carried(), 50);
    }
    assert_eq!(pair.path.sent_otherwise(), (1000, 0));
    pair.path.set_doubt(false);
    pair.send(100..150);
    assert_eq!(pair.heard(50), (100..150).collect::<Vec<_>>());
    assert_eq!(pair.carried(), 0);
}

#[test]
fn where_udp_is_dead_everything_comes_by_the_link_in_order_and_the_peer_learns_of_the_doubt() {
    let pair = Pair::new();
    pair.path.set_remote(NOWHERE.parse().unwrap());
    pair.path.set_doubt(true);
    for _ in 0..3 {
        pair.send(100..160);
        assert_eq!(pair.heard(60), (100..160).collect::<Vec<_>>());
    }
    assert_eq!(pair.doubts(), 1, "told once");
    assert!(pair.back.take_peer_doubt() && !pair.back.take_peer_doubt());
    pair.send(100..101);
    pair.heard(1);
    assert_eq!(pair.doubts(), 1, "told again once that was heard");
    assert_eq!(pair.back.opened(), 0, "nothing of it arrived over UDP");
}

#[test]
fn frames_for_everyone_and_relayed_records_go_both_ways_too() {
    let pair = Pair::new();
    pair.path.set_remote(NOWHERE.parse().unwrap());
    pair.path.set_doubt(true);
    let (mut batch, bytes) = (Batch::new(), [0; 77]);
    let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
    let group = GroupHeader { source: A, run: 1, sequence: 1 };
    pair.path.send_group(&group, &frame, &mut batch).unwrap();
    pair.path.relay(Hops::default(), &[1; 99], &mut batch).unwrap();
    pair.path.send(&frame, &mut batch).unwrap();
    pair.path.flush(&mut batch);
    assert_eq!(pair.heard(3), [10_077, 20_099, 77]);
}

#[test]
fn what_the_kernel_refuses_goes_the_other_way_and_is_not_lost() {
    let pair = Pair::new();
    // Broadcasts need a permission that the socket does not ask for (socket(7), SO_BROADCAST).
    let forbidden: SocketAddr = "255.255.255.255:9".parse().unwrap();
    pair.path.set_remote(forbidden);
    pair.send(100..160);
    assert_eq!(pair.heard(60), (100..160).collect::<Vec<_>>());
    assert_eq!(pair.path.sent_otherwise(), (0, 60));
    assert!(pair.path.take_failure().is_some() && pair.path.take_failure().is_none());
    assert_eq!(pair.path.counters().drops.nonzero().count(), 0);
    pair.link.is_full.store(true, Ordering::Relaxed);
    pair.send(100..103);
    assert_eq!(pair.path.counters().drops.get(Drop::SendError), 3, "neither way took them");
    pair.path.set_fallback(None);
    pair.send(100..103);
    assert_eq!(pair.path.counters().drops.get(Drop::SendError), 6);
    pair.path.set_remote(address(&pair.transports[1]));
    pair.send(100..103);
    assert_eq!(pair.heard(3), [100, 101, 102]);
}

#[test]
fn what_is_no_record_of_a_neighbour_is_not_taken_from_a_link() {
    let pair = Pair::new();
    let inside = pair.transports[1].inside();
    assert!(inside.take(&[]).is_none());
    assert!(inside.take(&[1, 0, 0, 0, 9, 0, 0]).is_none(), "an index of nobody");
    for junk in [
        &[1, 0, 0, 0, 2][..],
        &[0x10, 0, 0, 0, 2, 7],
        &[9, 0, 0, 0, 2],
        &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
    ] {
        assert_eq!(inside.take(junk), Some(Ok(())));
    }
    pair.send(100..101);
    assert_eq!(pair.heard(1), [100]);
    assert_eq!(pair.doubts(), 0);
    pair.transports[1].remove(2);
    assert!(inside.take(&[1, 0, 0, 0, 2]).is_none());
}

/// Whoever brings a record while the receiving thread takes up the one before must not take that for being awake.
#[test]
fn no_record_from_a_link_is_forgotten_until_something_else_comes() {
    let pair = Pair::new();
    pair.path.set_remote(NOWHERE.parse().unwrap());
    pair.path.set_doubt(true);
    for round in 0..4000 {
        let n = 1 + round % 40;
        pair.send(100..100 + n);
        let until = Instant::now() + PATIENCE;
        loop {
            let mut heard = pair.heard.0.lock().unwrap();
            if heard.len() == n {
                heard.clear();
                break;
            }
            drop(heard);
            assert!(Instant::now() < until, "round {round}: it waits for ever");
            std::thread::yield_now();
        }
    }
}
