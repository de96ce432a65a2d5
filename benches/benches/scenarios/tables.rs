//! `router`: decisions and the publication of a snapshot, with tables small and large.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use packet::{Mac, SuperFrame, VnetHdr};
use router::{
    Decision, Fib, Forwarder, MacTable, Outbox, PeerEntry, PeerPaths, Place, TapWriter, decide_local,
    decide_remote,
};
use transport::{Batch, Drop, FramePath, FrameSink, PathCounters, PathKind, TapFrame};
use wire::PeerName;

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
    Entry { name: "snapshot/small", build: || snapshot(SMALL) },
    Entry { name: "snapshot/large", build: || snapshot(LARGE) },
];

/// Pairs of the same work with small and with large tables, which must cost the same.
pub(crate) const SAME: &[(&str, &str)] = &[
    ("decide-local/small", "decide-local/large"),
    ("decide-remote/small", "decide-remote/large"),
    ("forward/small", "forward/large"),
    ("deliver/small", "deliver/large"),
];

/// Frames in one run: enough to even out how full the places are that they happen to hash to.
const FRAMES: u32 = 512;

/// The control side's table, and peers that have no path.
pub(crate) fn tables(size: Size) -> (MacTable, Vec<PeerEntry>) {
    let mut table = MacTable::default();
    for n in 0..size.macs / 2 {
        table.learn(here(n), Place::Local, 0);
        table.learn(there(n), Place::Peer(owner(n, size)), 0);
    }
    let entry = |n| PeerEntry { name: peer(n), paths: PeerPaths::default() };
    (table, (0..size.peers).map(entry).collect())
}

fn snapshot_of(size: Size) -> Fib {
    let (table, peers) = tables(size);
    table.snapshot(peers)
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
    let (table, mut peers) = tables(size);
    for entry in &mut peers {
        entry.paths.primary = Some(Arc::new(CountingPath(Arc::clone(&sent), PathCounters::default())));
    }
    let forwarder = Forwarder::new(Box::new(|_| ()), Box::new(CountingTap::default()));
    forwarder.publish(table.snapshot(peers));
    let mut outbox = Outbox::new();
    Scenario::new(per, units, 0, move || {
        let before = sent.0.load(Relaxed);
        let mut outgoing = forwarder.outgoing(&mut outbox);
        frames.iter().for_each(|frame| outgoing.forward(black_box(frame)));
        drop(outgoing);
        sent.0.load(Relaxed) - before
    })
}

/// A frame from a peer on its way to a TAP that only counts.
fn deliver(size: Size) -> Scenario {
    let frames: Vec<_> = from_peers(size).iter().map(|(peer, frame)| (*peer, tap_frame(frame))).collect();
    let written = Arc::new(Counting::default());
    let tap = CountingTap(Arc::clone(&written));
    let forwarder = Forwarder::new(Box::new(|_| ()), Box::new(tap));
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
    let forwarder = Forwarder::new(Box::new(|_| ()), Box::new(CountingTap::default()));
    let work = move || {
        forwarder.publish(black_box(&table).snapshot(peers.clone()));
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
