//! The data path's shell: takes frames and records from either side through a decision to where they go.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use packet::{Mac, SuperFrame};
use transport::{Drop, DropCounters, FrameSink, HopPaths, Outbox, RecordSink, TapFrame};
use wire::{GroupHeader, Hops, PeerName};

use crate::acted::Allowance;
use crate::decide::may_travel;
use crate::sources::Sources;
use crate::{Acted, Decision, Fib, Outgoing, Place, decide_remote, fit};

/// Low 48 bits: what a group header has room for (P7.1).
const LOW_48: u64 = (1 << 48) - 1;

/// A source address that the snapshot does not have, or has elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// The address.
    pub mac: Mac,
    /// Where it was seen.
    pub place: Place,
}

/// What the data path tells the control side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Where an address lives.
    Learned(Learned),
    /// This peer sends frames for everyone, and the snapshot has no tree for it (P7.3).
    TreeWanted(PeerName),
}

/// Forwards frames and records. Shared by the thread that reads the TAP and by everything that receives from peers.
pub struct Forwarder {
    own: PeerName,
    run: u64,
    /// Number of the next frame for everyone.
    sequence: AtomicU64,
    fib: ArcSwap<Fib>,
    /// Snapshots that were replaced while a batch read them. The control side frees them, not that batch; it alone locks this.
    retired: Mutex<Vec<Arc<Fib>>>,
    sources: Sources,
    /// Seconds since some start; the control side keeps it up to date, so that no frame has to ask the clock.
    now: AtomicU32,
    records: Arc<dyn RecordSink>,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
    drops: DropCounters,
    acted: Acted,
    /// How often senders are told that their frames are too big.
    allowance: Allowance,
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
    /// A forwarder of the peer `own` without other peers. Its frames for everyone are numbered under `run`, the peer's incarnation
    /// (P7.1). Records for this host go to `records`. What the control side should know is told to `notice`, which must not block and
    /// may forget: it is told again.
    pub fn new(
        own: PeerName,
        run: u64,
        records: Arc<dyn RecordSink>,
        notice: Box<dyn Fn(Notice) + Send + Sync>,
        tap: Box<dyn TapWriter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            own,
            run: run & LOW_48,
            sequence: AtomicU64::new(1),
            fib: ArcSwap::from_pointee(Fib::default()),
            retired: Mutex::default(),
            sources: Sources::default(),
            now: AtomicU32::new(0),
            records,
            notice,
            drops: DropCounters::default(),
            acted: Acted::default(),
            allowance: Allowance::default(),
            tap,
        })
    }

    /// Takes up a new snapshot.
    pub fn publish(&self, fib: Fib) {
        let old = self.fib.swap(Arc::new(fib));
        self.retire(Some(old));
    }

    /// Sets the second.
    pub fn set_now(&self, seconds: u32) {
        self.now.store(seconds, Relaxed);
        self.retire(None);
    }

    /// Frees the snapshots that nobody reads any more.
    fn retire(&self, old: Option<Arc<Fib>>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extend(old);
        retired.retain(|old| Arc::strong_count(old) > 1);
    }

    /// Frames and records dropped before they reached a path, by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// What was done about frames that would not have fitted.
    pub fn acted(&self) -> &Acted {
        &self.acted
    }

    /// Starts a batch of frames from the TAP.
    pub fn outgoing<'a>(&'a self, outbox: &'a mut Outbox) -> Outgoing<'a> {
        Outgoing::new(self, self.fib.load(), self.now.load(Relaxed), outbox)
    }

    pub(crate) fn learn(&self, mac: Option<Mac>, place: Place) {
        if let Some(mac) = mac {
            (self.notice)(Notice::Learned(Learned { mac, place }));
        }
    }

    /// The header of a frame of our own for everyone: a number for each of its segments.
    pub(crate) fn number(&self, frame: &SuperFrame<'_>) -> GroupHeader {
        let sequence = self.sequence.fetch_add(frame.segments() as u64, Relaxed) & LOW_48;
        GroupHeader { source: self.own, run: self.run, sequence }
    }

    fn count(&self, reason: Drop, frame: &TapFrame<'_>) {
        self.drops.add(reason, frame.frame().segments() as u64);
    }

    /// Writes what a peer sent to the TAP.
    #[inline]
    fn write(&self, fib: &Fib, from: PeerName, frame: &TapFrame<'_>) {
        if frame.frame().may_be_syn() {
            return self.write_syn(fib, from, frame);
        }
        self.put(frame);
    }

    /// What a SYN announces is what this host's container will send to that peer: it has to fit our path.
    #[cold]
    fn write_syn(&self, fib: &Fib, from: PeerName, frame: &TapFrame<'_>) {
        let paths = fib.position(from).and_then(|i| fib.peers.get(i)).map(|peer| &peer.paths);
        let path = paths.and_then(|paths| paths.primary.as_ref().or(paths.fallback.as_ref()));
        let clamped = path.and_then(|path| fit::clamped(frame.frame(), path.max_frame()));
        if let Some(Ok(clamped)) = clamped.as_deref().map(TapFrame::checked) {
            Acted::add(&self.acted.mss_clamped);
            self.put(&clamped);
        } else {
            self.put(frame);
        }
    }

    fn put(&self, frame: &TapFrame<'_>) -> bool {
        let taken = self.tap.write(frame);
        if !taken {
            self.count(Drop::TapFull, frame);
        }
        taken
    }

    /// Tells the container that sent a frame how much fits the path it should have taken, unless it was told often enough.
    pub(crate) fn tell_too_big(&self, frame: &SuperFrame<'_>, max_frame: usize) {
        let Some(sender) = packet::ethernet::src(frame.frame()) else { return };
        let now = self.now.load(Relaxed);
        if !self.allowance.is_left(sender, now) {
            return;
        }
        let Some(answer) = packet::too_big(frame, max_frame) else { return };
        let Ok(answer) = TapFrame::checked(&answer) else { return };
        if self.allowance.take(sender, now) && self.put(&answer) {
            Acted::add(&self.acted.too_big_told);
        }
    }

    /// Passes on what `from` passed to us (P7.3), but never back.
    fn pass_on(
        &self,
        fib: &Fib,
        from: PeerName,
        group: &GroupHeader,
        frame: &SuperFrame<'_>,
        out: &mut Outbox,
    ) {
        let mut pass = |(name, hop): (PeerName, &HopPaths)| {
            if name != from {
                send_group(hop, group, frame, out);
            }
        };
        match fib.tree(group.source) {
            Some(tree) => tree.for_each(&mut pass),
            None => fib.neighbours().for_each(&mut pass),
        }
    }

    /// Hands a record to the next peer on its way (P6.4).
    fn relay_to(
        &self,
        (from, next): (PeerName, PeerName),
        hops: Hops<'_>,
        record: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Drop> {
        if next == from {
            return Err(Drop::Loop);
        }
        let fib = self.fib.load();
        let path = fib.hop(next).ok_or(Drop::NoRoute)?.for_record(hops, record.len());
        // The path has counted what it did not take.
        let _ = path.relay(hops, record, out.hop_batch(path));
        Ok(())
    }
}

/// Gives a neighbour a frame for everyone, by the path that it fits.
pub(crate) fn send_group(hop: &HopPaths, group: &GroupHeader, frame: &SuperFrame<'_>, out: &mut Outbox) {
    let path = hop.for_frame(frame);
    // The path has counted what it did not take.
    let _ = path.send_group(group, frame, out.hop_batch(path));
}

impl FrameSink for Forwarder {
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
        let fib = self.fib.load();
        let (decision, learn) = decide_remote(&fib, peer, frame.frame().frame(), self.now.load(Relaxed));
        self.learn(learn, Place::Peer(peer));
        match decision {
            Decision::Deliver => self.write(&fib, peer, &frame),
            Decision::Drop(reason) => self.count(reason, &frame),
            // What a peer sent to us alone goes to the bridge only.
            Decision::Unicast(_) | Decision::Flood => {}
        }
    }

    fn takes_udp_trains(&self) -> bool {
        self.tap.takes_udp_trains()
    }

    fn take_group(&self, from: PeerName, group: &GroupHeader, frame: TapFrame<'_>, out: &mut Outbox) -> bool {
        if group.source == self.own {
            self.count(Drop::Loop, &frame);
            return false;
        }
        let (fib, now) = (self.fib.load(), self.now.load(Relaxed));
        let tree_known = fib.tree(group.source).is_some();
        match self.sources.take(group, frame.frame().segments(), tree_known, now) {
            Err(reason) => {
                self.count(reason, &frame);
                return false;
            }
            Ok(new) if new.ask => (self.notice)(Notice::TreeWanted(group.source)),
            Ok(_) => {}
        }
        // What our own bridge should not get may be good for others: where the container moved that sent it, say. What may not
        // travel at all ends here.
        if !may_travel(frame.frame().frame()) {
            self.count(Drop::Filtered, &frame);
            return false;
        }
        self.pass_on(&fib, from, group, frame.frame(), out);
        true
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox) {
        let done = match hops.next() {
            Some((next, behind)) => self.relay_to((from, next), behind, record, out),
            None => self.records.record(None, record, out),
        };
        if let Err(reason) = done {
            self.drops.add(reason, 1);
        }
    }

    fn record(&self, from: SocketAddr, record: &mut [u8], out: &mut Outbox) -> Result<(), Drop> {
        self.records.record(Some(from), record, out)
    }
}

#[cfg(test)]
mod tests;
