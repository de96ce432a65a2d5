//! `router`: decisions and the publication of a snapshot, with tables small and large.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use packet::{Mac, SuperFrame, VnetHdr};
use router::{
    Decision, Fib, Forwarder, MacTable, PeerEntry, PeerPaths, Place, TapWriter, decide_local, decide_remote,
};
use transport::{
    Batch, Drop, FramePath, FrameSink, HopPath, HopPaths, Outbox, PathCounters, PathKind, RecordSink,
    TapFrame,
};
use wire::{GroupHeader, Hops, PeerName};

use super::fixture;
use super::{Entry, Scenario};

/// How much the tables hold.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// MAC addresses, half of them local.
    pub(crate) macs: u32,
    /// Peers, which share the other half evenly.
    pub(crate) peers: u32,
}

/// A handful of hosts and containers.
pub(crate) const SMALL: Size = Size { macs: 10, peers: 5 };
/// What must cost no more for each frame.
pub(crate) const LARGE: Size = Size { macs: 10_000, peers: 1_000 };

/// Small tables, then large ones.
pub(crate) const ALL: &[Entry] = &[
    Entry { name: "decide-local/small", build: || local(SMALL) },
    Entry { name: "decide-local/large", build: || local(LARGE) },
    Entry { name: "decide-remote/small", build: || remote(SMALL) },
    Entry { name: "decide-remote/large", build: || remote(LARGE) },
    Entry { name: "forward/small", build: || forward(SMALL) },
    Entry { name: "forward/large", build: || forward(LARGE) },
    Entry { name: "deliver/small", build: || deliver(SMALL) },
    Entry { name: "deliver/large", build: || deliver(LARGE) },
    Entry { name: "flood/50-peers", build: flood },
    Entry { name: "pass-on/50-peers", build: pass_on },
    Entry { name: "relay/small", build: || relay(SMALL) },
    Entry { name: "relay/large", build: || relay(LARGE) },
    Entry { name: "snapshot/small", build: || snapshot(SMALL) },
    Entry { name: "snapshot/large", build: || snapshot(LARGE) },
];

/// Pairs of the same work with small and with large tables, which must cost the same.
pub(crate) const SAME: &[(&str, &str)] = &[
    ("decide-local/small", "decide-local/large"),
    ("decide-remote/small", "decide-remote/large"),
    ("forward/small", "forward/large"),
    ("deliver/small", "deliver/large"),
    ("relay/small", "relay/large"),
];

/// The peer whose tables these are.
pub(crate) const OWN: PeerName = PeerName::new([2, 4, 0, 0, 0, 0]);

/// Frames in one run: enough to even out how full the places are that they happen to hash to.
const FRAMES: u32 = 512;

/// The control side's table, and peers that have no path.
pub(crate) fn tables(size: Size) -> (MacTable, Vec<PeerEntry>) {
    let mut table = MacTable::default();
    for n in 0..size.macs / 2 {
        table.learn(here(n), Place::Local, 0);
        table.learn(there(n), Place::Peer(owner(n, size)), 0);
    }
    let entry = |n| PeerEntry { name: peer(n), paths: PeerPaths::default(), hop: None };
    (table, (0..size.peers).map(entry).collect())
}

fn snapshot_of(size: Size) -> Fib {
    let (table, peers) = tables(size);
    table.snapshot(OWN, peers, Vec::new())
}

/// The decision on a frame from the bridge, both addresses known.
fn local(size: Size) -> Scenario {
    let fib = snapshot_of(size);
    let frames: Vec<_> = spread(size).map(|(here, there)| fixture::between(there, here)).collect();
    Scenario::new("frame", frames.len(), 0, move || {
        let decide = |f: &SuperFrame<'_>| decide_local(black_box(&fib), black_box(f.frame()), 1);
        frames.iter().filter(|f| matches!(decide(f), (Decision::Unicast(_), None))).count()
    })
}

/// The decision on a frame from a peer, its source known.
fn remote(size: Size) -> Scenario {
    let fib = snapshot_of(size);
    let frames = from_peers(size);
    Scenario::new("frame", frames.len(), 0, move || {
        let decide = |peer: PeerName, f: &SuperFrame<'_>| decide_remote(black_box(&fib), peer, f.frame(), 1);
        frames.iter().filter(|(peer, f)| decide(*peer, f) == (Decision::Deliver, None)).count()
    })
}

/// A frame from the bridge on its way to a path that only counts. Every frame goes to another peer than the one before.
fn forward(size: Size) -> Scenario {
    let frames: Vec<_> = spread(size).map(|(here, there)| fixture::between(there, here)).collect();
    sending(size, "frame", frames.len(), frames)
}

/// A frame for everybody on its way to as many paths as there are peers.
fn flood() -> Scenario {
    let size = Size { macs: 100, peers: 50 };
    let frames: Vec<_> = spread(size).map(|(here, _)| fixture::between(Mac::BROADCAST, here)).collect();
    sending(size, "copy", frames.len() * size.peers as usize, frames)
}

/// Frames from the bridge, of which `units` shall reach a path.
fn sending(size: Size, per: &'static str, units: usize, frames: Vec<SuperFrame<'static>>) -> Scenario {
    let sent = Arc::new(Counting::default());
    let forwarder = neighbours(size, &sent);
    let mut outbox = Outbox::new();
    Scenario::new(per, units, 0, move || {
        let before = sent.0.load(Relaxed);
        let mut outgoing = forwarder.outgoing(&mut outbox);
        frames.iter().for_each(|frame| outgoing.forward(black_box(frame)));
        drop(outgoing);
        sent.0.load(Relaxed) - before
    })
}

/// A frame for everybody from a neighbour: told apart from those that were here, delivered, and on its way to all others.
fn pass_on() -> Scenario {
    let size = Size { macs: 100, peers: 50 };
    let sent = Arc::new(Counting::default());
    let forwarder = neighbours(size, &sent);
    let (_, frame) = from_peers(size).swap_remove(0);
    let (frame, mut outbox) = (tap_frame(&frame), Outbox::new());
    let mut group = GroupHeader { source: peer(0), run: 1, sequence: 0 };
    let copies = size.peers as usize - 1;
    Scenario::new("copy", FRAMES as usize * copies, 0, move || {
        let before = sent.0.load(Relaxed);
        for _ in 0..FRAMES {
            group = group.plus(1);
            forwarder.deliver_group(peer(0), &group, black_box(frame), &mut outbox);
        }
        outbox.flush();
        sent.0.load(Relaxed) - before
    })
}

/// A record of other peers' session on its way to the next of its hops. Every record goes to another one than the one before.
fn relay(size: Size) -> Scenario {
    let sent = Arc::new(Counting::default());
    let forwarder = neighbours(size, &sent);
    let names: Vec<_> =
        (0..FRAMES).map(|n| [peer(talking(n, size) % size.peers).bytes(), OWN.bytes()]).collect();
    let (mut record, mut outbox) = (vec![0; 1400], Outbox::new());
    Scenario::new("record", names.len(), 0, move || {
        let before = sent.0.load(Relaxed);
        for names in &names {
            let hops = Hops::new(names).unwrap_or_default();
            forwarder.relay(OWN, black_box(hops), &mut record, &mut outbox);
        }
        outbox.flush();
        sent.0.load(Relaxed) - before
    })
}

/// A forwarder whose peers are all neighbours, with paths that only count.
fn neighbours(size: Size, sent: &Arc<Counting>) -> Arc<Forwarder> {
    let (table, mut peers) = tables(size);
    for entry in &mut peers {
        let path = Arc::new(CountingPath(Arc::clone(sent), PathCounters::default()));
        entry.paths.primary = Some(Arc::clone(&path) as Arc<dyn FramePath>);
        entry.hop = Some(HopPaths { primary: path, fallback: None });
    }
    let forwarder = forwarder(CountingTap::default());
    // A tree that is known, so that nobody is asked for it.
    let trees = vec![(peer(0), peers.iter().map(|p| p.name).collect())];
    forwarder.publish(table.snapshot(OWN, peers, trees));
    forwarder
}

fn forwarder(tap: CountingTap) -> Arc<Forwarder> {
    Forwarder::new(OWN, 1, Arc::new(NoSessions), Box::new(|_| ()), Box::new(tap))
}

/// A frame from a peer on its way to a TAP that only counts.
fn deliver(size: Size) -> Scenario {
    let frames: Vec<_> = from_peers(size).iter().map(|(peer, frame)| (*peer, tap_frame(frame))).collect();
    let written = Arc::new(Counting::default());
    let tap = CountingTap(Arc::clone(&written));
    let forwarder = forwarder(tap);
    forwarder.publish(snapshot_of(size));
    Scenario::new("frame", frames.len(), 0, move || {
        let before = written.0.load(Relaxed);
        frames.iter().for_each(|(peer, frame)| forwarder.deliver(*peer, black_box(*frame)));
        written.0.load(Relaxed) - before
    })
}

/// What the control side does when something has changed: a new snapshot in the place of the old one.
fn snapshot(size: Size) -> Scenario {
    let (table, peers) = tables(size);
    let forwarder = forwarder(CountingTap::default());
    let work = move || {
        forwarder.publish(black_box(&table).snapshot(OWN, peers.clone(), Vec::new()));
        1
    };
    Scenario { allocates: true, ..Scenario::new("snapshot", 1, 0, work) }
}

/// Pairs of a local and a remote address, jumping about in the tables.
fn spread(size: Size) -> impl Iterator<Item = (Mac, Mac)> {
    // A stride prime to the sizes, so that all addresses have their turn.
    (0..FRAMES).map(move |n| (here(n * 7 % (size.macs / 2)), there(talking(n, size))))
}

fn from_peers(size: Size) -> Vec<(PeerName, SuperFrame<'static>)> {
    let frame = |n| (owner(n, size), fixture::between(Mac::BROADCAST, there(n)));
    (0..FRAMES).map(|n| frame(talking(n, size))).collect()
}

/// Which remote address the `n`th frame is about. However many there are, the same number of peers takes turns, so that
/// tables of different size see the same traffic.
fn talking(n: u32, size: Size) -> u32 {
    let peers = SMALL.peers;
    n % peers + size.peers * (n / peers % (size.macs / 2 / size.peers))
}

fn tap_frame(frame: &SuperFrame<'_>) -> TapFrame<'static> {
    let mut hdr = [0; VnetHdr::LEN];
    frame.hdr().write_host(&mut hdr);
    TapFrame::checked([&hdr, frame.frame()].concat().leak()).expect("a frame that fits its header")
}

fn here(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 1, a, b, c, d])
}

fn there(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 2, a, b, c, d])
}

fn owner(mac: u32, size: Size) -> PeerName {
    peer(mac % size.peers)
}

fn peer(n: u32) -> PeerName {
    let [a, b, c, d] = n.to_be_bytes();
    PeerName::new([2, 3, a, b, c, d])
}

#[derive(Default)]
struct Counting(AtomicUsize);

/// A TAP that takes everything.
#[derive(Default)]
struct CountingTap(Arc<Counting>);

impl TapWriter for CountingTap {
    fn write(&self, _: &TapFrame<'_>) -> bool {
        self.0.0.fetch_add(1, Relaxed) < usize::MAX
    }

    fn takes_udp_trains(&self) -> bool {
        true
    }
}

/// A path that takes everything and sends nothing: what is left is the router's own cost.
struct CountingPath(Arc<Counting>, PathCounters);

impl FramePath for CountingPath {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        packet::MAX_FRAME
    }

    fn send(&self, _: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        self.0.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn flush(&self, _: &mut Batch) {}

    fn counters(&self) -> &PathCounters {
        &self.1
    }
}

impl HopPath for CountingPath {
    fn send_group(&self, _: &GroupHeader, _: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        self.0.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn max_relayed(&self) -> usize {
        usize::from(u16::MAX)
    }

    fn relay(&self, _: Hops<'_>, _: &[u8], _: &mut Batch) -> Result<(), Drop> {
        self.0.0.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// No record is for this host.
struct NoSessions;

impl RecordSink for NoSessions {
    fn record(&self, _: Option<SocketAddr>, _: &mut [u8], _: &mut Outbox) -> Result<(), Drop> {
        Err(Drop::UnknownSession)
    }
}
