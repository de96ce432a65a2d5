//! The data path's shell: takes frames from either side through a decision to where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use arc_swap::{ArcSwap, Guard};
use packet::{Mac, SuperFrame};
use transport::{Batch, Drop, DropCounters, FramePath, FrameSink, TapFrame};
use wire::PeerName;

use crate::{Decision, Fib, PeerEntry, Place, decide_local, decide_remote};

/// Paths that can wait to be flushed at once. A batch that goes to more peers is sent in parts.
const MAX_WAITING: usize = 64;

/// A source address that the snapshot does not have, or has elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// The address.
    pub mac: Mac,
    /// Where it was seen.
    pub place: Place,
}

/// Forwards frames. Shared by the thread that reads the TAP and by everything that receives from peers.
pub struct Forwarder {
    fib: ArcSwap<Fib>,
    /// Seconds since some start; the control side keeps it up to date, so that no frame has to ask the clock.
    now: AtomicU32,
    learned: Box<dyn Fn(Learned) + Send + Sync>,
    drops: DropCounters,
    tap: Box<dyn TapWriter>,
}

/// Where frames for this host's bridge go.
pub trait TapWriter: Send + Sync {
    /// Writes a frame; `false` when the TAP takes no more.
    fn write(&self, frame: &TapFrame<'_>) -> bool;

    /// Whether it takes super-frames of UDP datagrams.
    fn takes_udp_trains(&self) -> bool;
}

impl Forwarder {
    /// A forwarder without peers. What it learns it tells `learned`, which must not block and may forget: the next frame of the
    /// same source tells again.
    pub fn new(learned: Box<dyn Fn(Learned) + Send + Sync>, tap: Box<dyn TapWriter>) -> Arc<Self> {
        Arc::new(Self {
            fib: ArcSwap::from_pointee(Fib::default()),
            now: AtomicU32::new(0),
            learned,
            drops: DropCounters::default(),
            tap,
        })
    }

    /// Takes up a new snapshot.
    pub fn publish(&self, fib: Fib) {
        self.fib.store(Arc::new(fib));
    }

    /// Sets the second.
    pub fn set_now(&self, seconds: u32) {
        self.now.store(seconds, Relaxed);
    }

    /// Frames dropped before they reached a path, by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// Starts a batch of frames from the TAP.
    pub fn outgoing<'a>(&'a self, outbox: &'a mut Outbox) -> Outgoing<'a> {
        Outgoing { forwarder: self, fib: self.fib.load(), now: self.now.load(Relaxed), outbox }
    }

    fn learn(&self, mac: Option<Mac>, place: Place) {
        if let Some(mac) = mac {
            (self.learned)(Learned { mac, place });
        }
    }
}

impl FrameSink for Forwarder {
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
        let fib = self.fib.load();
        let (decision, learn) = decide_remote(&fib, peer, frame.frame().frame(), self.now.load(Relaxed));
        self.learn(learn, Place::Peer(peer));
        match decision {
            Decision::Deliver => {
                if !self.tap.write(&frame) {
                    self.drops.add(Drop::TapFull, frame.frame().segments() as u64);
                }
            }
            Decision::Drop(reason) => self.drops.add(reason, frame.frame().segments() as u64),
            // Frames from peers go to the bridge only: on a full mesh the sender has told everybody else itself.
            Decision::Unicast(_) | Decision::Flood => {}
        }
    }

    fn takes_udp_trains(&self) -> bool {
        self.tap.takes_udp_trains()
    }
}

/// What one thread that reads the TAP keeps from batch to batch: the memory of its outgoing frames.
#[derive(Default)]
pub struct Outbox {
    /// Paths that were sent to in this batch, each with what waits for it. Their number and memory are those of the largest batch
    /// so far; [`MAX_WAITING`] bounds them.
    waiting: Vec<(Arc<dyn FramePath>, Batch)>,
    /// Memory of paths that were flushed.
    spare: Vec<Batch>,
    /// Where in `waiting` the last frame went: the next one mostly goes there too.
    last: usize,
}

impl Outbox {
    /// One without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where what goes to `path` waits.
    fn batch(&mut self, path: &Arc<dyn FramePath>) -> &mut Batch {
        let same = |(other, _): &(Arc<dyn FramePath>, Batch)| Arc::ptr_eq(other, path);
        // A flood goes to all peers in one order each time: the next is where the last one's neighbour is.
        let next = if self.last + 1 < self.waiting.len() { self.last + 1 } else { 0 };
        if self.waiting.get(next).is_some_and(same) {
            self.last = next;
        } else if !self.waiting.get(self.last).is_some_and(same) {
            self.last = self.waiting.iter().position(same).unwrap_or_else(|| {
                if self.waiting.len() >= MAX_WAITING {
                    self.flush();
                }
                self.waiting.push((Arc::clone(path), self.spare.pop().unwrap_or_default()));
                self.waiting.len() - 1
            });
        }
        &mut self.waiting[self.last].1
    }

    /// Sends what waits.
    fn flush(&mut self) {
        for (path, mut batch) in self.waiting.drain(..) {
            path.flush(&mut batch);
            self.spare.push(batch);
        }
    }
}

/// A batch of frames on their way from the TAP. Dropping it sends what still waits.
pub struct Outgoing<'a> {
    forwarder: &'a Forwarder,
    fib: Guard<Arc<Fib>>,
    now: u32,
    outbox: &'a mut Outbox,
}

impl Outgoing<'_> {
    /// Forwards one frame.
    pub fn forward(&mut self, frame: &SuperFrame<'_>) {
        let (decision, learn) = decide_local(&self.fib, frame.frame(), self.now);
        self.forwarder.learn(learn, Place::Local);
        match decision {
            Decision::Unicast(peer) => {
                if let Some(peer) = self.fib.peers.get(peer) {
                    send(self.forwarder, self.outbox, peer, frame);
                }
            }
            Decision::Flood => {
                self.fib.peers.iter().for_each(|peer| send(self.forwarder, self.outbox, peer, frame));
            }
            Decision::Drop(reason) => self.forwarder.drops.add(reason, frame.segments() as u64),
            Decision::Deliver => {}
        }
    }
}

impl std::ops::Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.outbox.flush();
    }
}

fn send(forwarder: &Forwarder, outbox: &mut Outbox, peer: &PeerEntry, frame: &SuperFrame<'_>) {
    let fits = |path: &&Arc<dyn FramePath>| frame.longest_segment() <= path.max_frame();
    let paths = &peer.paths;
    let Some(path) =
        paths.primary.as_ref().filter(fits).or(paths.fallback.as_ref()).or(paths.primary.as_ref())
    else {
        return forwarder.drops.add(Drop::NoPath, frame.segments() as u64);
    };
    // The path has counted what it did not take.
    let _ = path.send(frame, outbox.batch(path));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacTable, PeerPaths};
    use packet::VnetHdr;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};
    use transport::memory::MemoryPath;

    const ME: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
    const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);
    const Q: PeerName = PeerName::new([2, 0, 0, 0, 0, 3]);

    #[derive(Default)]
    struct Heard(Mutex<Vec<Vec<u8>>>);

    impl FrameSink for Heard {
        fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
            self.0.lock().unwrap().push(frame.frame().frame().to_vec());
        }
    }

    struct Bridge(Arc<Heard>);

    impl TapWriter for Bridge {
        fn write(&self, frame: &TapFrame<'_>) -> bool {
            self.0.deliver(ME, *frame);
            true
        }

        fn takes_udp_trains(&self) -> bool {
            true
        }
    }

    impl Heard {
        fn count(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    fn path(to: PeerName, sink: &Arc<Heard>, max_frame: usize) -> Arc<dyn FramePath> {
        let nowhere = Arc::new(Heard::default());
        MemoryPath::pair((ME, nowhere), (to, Arc::clone(sink) as Arc<dyn FrameSink>), max_frame, 1 << 20).0
    }

    /// A forwarder with two peers; P has a small path and a big one.
    fn two_peers() -> (Arc<Forwarder>, Receiver<Learned>, [Arc<Heard>; 4]) {
        let (learned, reports) = sync_channel(16);
        let heard: [Arc<Heard>; 4] = std::array::from_fn(|_| Arc::default());
        let tap = Arc::clone(&heard[3]);
        let forwarder =
            Forwarder::new(Box::new(move |l| learned.try_send(l).unwrap()), Box::new(Bridge(tap)));
        let mut table = MacTable::default();
        table.learn(mac(2), Place::Peer(P), 0);
        forwarder.publish(table.snapshot(vec![
            PeerEntry {
                name: P,
                paths: PeerPaths {
                    primary: Some(path(P, &heard[0], 100)),
                    fallback: Some(path(P, &heard[1], 2000)),
                },
            },
            PeerEntry {
                name: Q,
                paths: PeerPaths { primary: Some(path(Q, &heard[2], 2000)), fallback: None },
            },
        ]));
        (forwarder, reports, heard)
    }

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 1, n])
    }

    fn send(forwarder: &Forwarder, dst: Mac, len: usize) {
        let mut bytes = [&dst.bytes()[..], &mac(1).bytes(), &[0x88, 0xb5]].concat();
        bytes.resize(len, 0);
        let mut outbox = Outbox::new();
        forwarder.outgoing(&mut outbox).forward(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap());
    }

    #[test]
    fn unicast_reaches_its_peer_and_nobody_else() {
        let (forwarder, reports, heard) = two_peers();
        send(&forwarder, mac(2), 60);
        assert_eq!(heard.each_ref().map(|h| h.count()), [1, 0, 0, 0]);
        assert_eq!(reports.try_recv(), Ok(Learned { mac: mac(1), place: Place::Local }));
    }

    #[test]
    fn a_frame_too_big_for_the_first_path_takes_the_second() {
        let (forwarder, _reports, heard) = two_peers();
        send(&forwarder, mac(2), 500);
        assert_eq!(heard.each_ref().map(|h| h.count()), [0, 1, 0, 0]);
    }

    #[test]
    fn broadcast_reaches_every_peer_once() {
        let (forwarder, _reports, heard) = two_peers();
        send(&forwarder, Mac::BROADCAST, 60);
        assert_eq!(heard.each_ref().map(|h| h.count()), [1, 0, 1, 0]);
    }

    #[test]
    fn a_peers_frame_goes_to_the_tap_and_is_learned() {
        let (forwarder, reports, heard) = two_peers();
        let mut bytes = vec![0; 10];
        bytes.extend_from_slice(&mac(1).bytes());
        bytes.extend_from_slice(&mac(7).bytes());
        bytes.resize(80, 0);
        forwarder.deliver(Q, TapFrame::checked(&bytes).unwrap());
        assert_eq!(heard.each_ref().map(|h| h.count()), [0, 0, 0, 1]);
        assert_eq!(reports.try_recv(), Ok(Learned { mac: mac(7), place: Place::Peer(Q) }));
    }
}
