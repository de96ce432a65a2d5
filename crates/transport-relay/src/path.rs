//! [`RelayPath`]: sealing for one peer, and sending through others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use packet::SuperFrame;
use records::{TrainNumbers, for_each_payload};
use session::{SealError, Sealer};
use transport::{Batch, Drop, FramePath, HopPath, HopPaths, PathCounters, PathKind, SealedPath};
use wire::{Cipher, Hops, PeerName, UNICAST_OVERHEAD};

/// The way that records take.
#[derive(Clone)]
pub struct Route {
    /// The neighbour that takes them first.
    pub hop: HopPaths,
    /// The peers behind it, in order; the last is the destination. With none, the neighbour is.
    pub names: Vec<[u8; PeerName::LEN]>,
}

impl Route {
    /// The largest frame whose records one of the first hop's paths takes behind these names. Where the hop has one over UDP alone,
    /// frames are to fit that: what is too long for it would be lost, and nobody told.
    fn room(&self) -> usize {
        let takes = |path: &Arc<dyn HopPath>| path.max_relayed();
        let longest = takes(&self.hop.primary).max(self.hop.fallback.as_ref().map_or(0, takes));
        longest.saturating_sub(self.names.len() * PeerName::LEN + UNICAST_OVERHEAD)
    }
}

/// The way to one peer through others.
pub struct RelayPath {
    sealer: ArcSwap<Sealer>,
    route: ArcSwapOption<Route>,
    max_frame: usize,
    trains: TrainNumbers,
    closed: AtomicBool,
    counters: PathCounters,
}

impl RelayPath {
    /// A way for frames of up to `max_frame` bytes. It has no route yet. The sealer is the session's, whichever paths use it beside
    /// this one: its counter must be one (P4.4).
    pub fn new(sealer: Arc<Sealer>, max_frame: usize) -> Self {
        Self {
            sealer: ArcSwap::new(sealer),
            route: ArcSwapOption::empty(),
            max_frame,
            trains: TrainNumbers::default(),
            closed: AtomicBool::new(false),
            counters: PathCounters::default(),
        }
    }

    /// Sends another way from now on, or nowhere. `false` when the route has more names than a record can have (P6.4); then it is as
    /// if there were none.
    pub fn set_route(&self, route: Option<Route>) -> bool {
        let fits = route.as_ref().is_none_or(|route| Hops::new(&route.names).is_some());
        self.route.store(route.filter(|_| fits).map(Arc::new));
        fits
    }

    /// The way that records take.
    pub fn route(&self) -> Option<Arc<Route>> {
        self.route.load_full()
    }

    /// Takes up the key of a new session.
    pub fn rekey(&self, sealer: Arc<Sealer>) {
        self.sealer.store(sealer);
    }

    /// The cipher in use.
    pub fn cipher(&self) -> Cipher {
        self.sealer.load().cipher()
    }

    /// Whether a new session is due (P6.3).
    pub fn rekey_is_due(&self) -> bool {
        self.sealer.load().is_due()
    }

    /// Refuses from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl FramePath for RelayPath {
    fn kind(&self) -> PathKind {
        PathKind::Relay
    }

    fn max_frame(&self) -> usize {
        self.route.load().as_ref().map_or(self.max_frame, |route| route.room().min(self.max_frame))
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        if frame.longest_segment() > self.max_frame {
            return Err(self.counters.dropped(Drop::TooBig, frames));
        }
        let route = self.route.load();
        let Some(route) = &*route else { return Err(self.counters.dropped(Drop::NoRoute, frames)) };
        // Checked when the route was set.
        let hops = Hops::new(&route.names).unwrap_or_default();
        // One hop for the whole frame: its last segment, which is shorter, must not overtake the others.
        let hop = route.hop.for_record(hops, frame.longest_segment() + UNICAST_OVERHEAD);
        let sealer = self.sealer.load();
        let mut record = std::mem::take(&mut batch.record);
        let (mut done, mut refused, mut bytes) = (0, None, 0);
        let sealed = for_each_payload(frame, None, 0, &self.trains, |parts, bytes_of| {
            record.clear();
            sealer.seal(parts, &mut record)?;
            done += 1;
            match give(hop, hops, &record, batch) {
                Ok(()) => bytes += bytes_of as u64,
                // The hop has counted the record; here it is a frame.
                Err(reason) => refused = Some((reason, refused.map_or(1, |(_, n)| n + 1))),
            }
            Ok::<_, SealError>(())
        });
        record.clear();
        batch.record = record;
        let not_taken = refused.map_or(0, |(_, n)| n);
        if done > not_taken {
            self.counters.sent(done - not_taken, bytes);
        }
        let mut result = Ok(());
        if let Some((reason, n)) = refused {
            result = Err(self.counters.dropped(reason, n));
        }
        if sealed.is_err() {
            result = Err(self.counters.dropped(Drop::KeyUsedUp, frames.saturating_sub(done)));
        }
        result
    }

    fn flush(&self, batch: &mut Batch) {
        flush(batch);
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

/// What would have gone straight to the peer, by way of others (P4.12).
impl SealedPath for RelayPath {
    fn send_sealed(&self, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        let route = self.route.load();
        let Some(route) = &*route else { return Err(self.counters.dropped(Drop::NoRoute, 1)) };
        let hops = Hops::new(&route.names).unwrap_or_default();
        // The hop has counted what it did not take.
        give(route.hop.for_record(hops, record.len()), hops, record, batch)
    }

    fn flush_sealed(&self, batch: &mut Batch) {
        flush(batch);
    }
}

/// Lays a record out for `hop`, after sending what waits for another.
fn give(hop: &Arc<dyn HopPath>, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
    if batch.via.as_ref().is_some_and(|via| !Arc::ptr_eq(via, hop)) {
        flush(batch);
    }
    let result = hop.relay(hops, record, batch);
    // The hop may have sent what waited, and cleared the batch.
    if batch.via.is_none() {
        batch.via = Some(Arc::clone(hop));
    }
    result
}

fn flush(batch: &mut Batch) {
    if let Some(via) = batch.via.take() {
        via.flush(batch);
    }
    batch.clear();
}

#[cfg(test)]
mod tests;
