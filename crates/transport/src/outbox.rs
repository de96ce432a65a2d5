//! [`Outbox`]: what one thread has on its way out, for all the paths it goes by.

use std::sync::Arc;

use crate::{Batch, FramePath, HopPath};

/// Paths that can wait to be flushed at once. A batch that goes to more of them is sent in parts.
const MAX_WAITING: usize = 64;

/// What one thread keeps from batch to batch: the memory of its outgoing frames.
#[derive(Default)]
pub struct Outbox {
    /// Paths that were sent to in this batch, each with what waits for it. Their number and memory are those of the largest batch
    /// so far; [`MAX_WAITING`] bounds them.
    waiting: Vec<(Arc<dyn FramePath>, Batch)>,
    /// Memory of paths that were flushed.
    spare: Vec<Batch>,
    /// Where in `waiting` the last frame went: the next one mostly goes there too.
    last: usize,
    /// Those that hold frames for this host back until the batch ends; [`MAX_WAITING`] bounds them too.
    holding: Vec<Arc<dyn Holding>>,
}

/// What holds back frames that arrived, because more of the same super-frame may follow.
pub trait Holding: Send + Sync {
    /// Hands them over.
    fn release(&self, out: &mut Outbox);
}

impl Outbox {
    /// One without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where what goes to `path` waits. What waits longest is sent first when there are too many paths.
    #[inline]
    pub fn batch(&mut self, path: &Arc<dyn FramePath>) -> &mut Batch {
        self.find(Arc::as_ptr(path).cast(), || Arc::clone(path))
    }

    /// The same for a neighbour's path. One that is also used by [`batch`](Self::batch) has one batch for both.
    #[inline]
    pub fn hop_batch(&mut self, path: &Arc<dyn HopPath>) -> &mut Batch {
        self.find(Arc::as_ptr(path).cast(), || Arc::<dyn HopPath>::clone(path))
    }

    fn find(&mut self, path: *const (), owned: impl FnOnce() -> Arc<dyn FramePath>) -> &mut Batch {
        let same = |(other, _): &(Arc<dyn FramePath>, Batch)| Arc::as_ptr(other).cast::<()>() == path;
        // A flood goes to all peers in one order each time: the next is where the last one's neighbour is.
        let next = if self.last + 1 < self.waiting.len() { self.last + 1 } else { 0 };
        if self.waiting.get(next).is_some_and(same) {
            self.last = next;
        } else if !self.waiting.get(self.last).is_some_and(same) {
            self.last = self.waiting.iter().position(same).unwrap_or_else(|| {
                if self.waiting.len() >= MAX_WAITING {
                    self.send();
                }
                self.waiting.push((owned(), self.spare.pop().unwrap_or_default()));
                self.waiting.len() - 1
            });
        }
        &mut self.waiting[self.last].1
    }

    /// Has `held` hand over what it holds back when this batch ends.
    pub fn hold<H: Holding + 'static>(&mut self, held: &Arc<H>) {
        let address = Arc::as_ptr(held).cast::<()>();
        if self.holding.iter().any(|other| Arc::as_ptr(other).cast::<()>() == address) {
            return;
        }
        if self.holding.len() >= MAX_WAITING {
            self.release();
        }
        self.holding.push(Arc::clone(held) as Arc<dyn Holding>);
    }

    /// Hands over what is held back, and sends what waits.
    pub fn flush(&mut self) {
        self.release();
        self.send();
    }

    fn release(&mut self) {
        let mut holding = std::mem::take(&mut self.holding);
        holding.drain(..).for_each(|held| held.release(self));
        self.holding = holding;
    }

    fn send(&mut self) {
        for (path, mut batch) in self.waiting.drain(..) {
            path.flush(&mut batch);
            self.spare.push(batch);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.holding.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering::Relaxed;

    use packet::{SuperFrame, VnetHdr};
    use wire::{GroupHeader, Hops, PeerName};

    use super::*;
    use crate::memory::MemoryPath;
    use crate::{FrameSink, TapFrame};

    const ME: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
    const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);

    /// Remembers the lengths of frames, and of records with a thousand added.
    #[derive(Default)]
    struct Heard(Mutex<Vec<usize>>);

    impl FrameSink for Heard {
        fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
            self.0.lock().unwrap().push(frame.frame().frame().len());
        }

        fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
            unreachable!("no frame for everyone was sent")
        }

        fn relay(&self, _: PeerName, _: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
            self.0.lock().unwrap().push(1000 + record.len());
        }
    }

    fn path(heard: &Arc<Heard>) -> Arc<MemoryPath> {
        let nowhere = Arc::new(Heard::default());
        MemoryPath::pair((ME, nowhere), (P, Arc::clone(heard) as Arc<dyn FrameSink>), 1500, 1 << 20).0
    }

    #[test]
    fn frames_and_records_for_one_neighbour_share_a_batch_and_so_keep_their_order() {
        let (heard, mut out) = (Arc::new(Heard::default()), Outbox::new());
        let (one, two) = (path(&heard), path(&heard));
        let as_frames = Arc::clone(&one) as Arc<dyn FramePath>;
        let [as_hop, other] = [one, two].map(|path| path as Arc<dyn HopPath>);
        for len in [60, 61, 62] {
            let bytes = vec![0; len];
            let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
            as_frames.send(&frame, out.batch(&as_frames)).unwrap();
            as_hop.relay(Hops::default(), &bytes, out.hop_batch(&as_hop)).unwrap();
            other.relay(Hops::default(), &[0; 99], out.hop_batch(&other)).unwrap();
        }
        assert!(!out.is_empty());
        out.flush();
        assert_eq!(*heard.0.lock().unwrap(), [60, 1060, 61, 1061, 62, 1062, 1099, 1099, 1099]);
        assert!(out.is_empty());
    }

    #[test]
    fn more_paths_than_can_wait_are_sent_in_parts() {
        let (heard, mut out) = (Arc::new(Heard::default()), Outbox::new());
        let paths: Vec<_> = (0..MAX_WAITING * 2 + 3).map(|_| path(&heard) as Arc<dyn HopPath>).collect();
        for path in &paths {
            path.relay(Hops::default(), &[0; 5], out.hop_batch(path)).unwrap();
            assert!(out.waiting.len() <= MAX_WAITING);
        }
        assert_eq!(heard.0.lock().unwrap().len(), MAX_WAITING * 2);
        out.flush();
        assert!(paths.iter().all(|path| path.counters().tx_frames.load(Relaxed) == 1));
        assert_eq!(heard.0.lock().unwrap().len(), paths.len());
    }
}
