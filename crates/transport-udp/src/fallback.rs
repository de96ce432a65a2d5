//! The other way that records can take: while it is in doubt that they arrive, and when the kernel refuses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use transport::{Batch, SealedPath};

use crate::UdpPath;

/// What a path over UDP has beside itself. Asked about once for each batch; everything else happens only in doubt.
#[derive(Default)]
pub(crate) struct Fallback {
    path: ArcSwapOption<Arc<dyn SealedPath>>,
    in_doubt: AtomicBool,
    /// The memory of what goes that way, kept from batch to batch.
    batch: Mutex<Batch>,
    /// The error that the kernel refused records with; 0 for none.
    failure: AtomicI32,
    copied: AtomicU64,
    rescued: AtomicU64,
    /// Whether records of this path came by the other way since that was asked.
    peer_doubts: AtomicBool,
}

impl Fallback {
    pub(crate) fn set(&self, path: Option<Arc<dyn SealedPath>>) {
        self.path.store(path.map(Arc::new));
    }

    pub(crate) fn set_doubt(&self, in_doubt: bool) {
        self.in_doubt.store(in_doubt, Ordering::Relaxed);
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// Sends the batch, which went over UDP, by the other way too.
    #[cold]
    pub(crate) fn copy(&self, batch: &Batch) {
        let taken = self.give(batch);
        self.copied.fetch_add(taken, Ordering::Relaxed);
    }

    /// Sends the batch, which the kernel refused, by the other way. `false` where there is none, or it took nothing.
    #[cold]
    pub(crate) fn rescue(&self, batch: &Batch) -> bool {
        let taken = self.give(batch);
        self.rescued.fetch_add(taken, Ordering::Relaxed);
        taken > 0
    }

    /// The kernel refused records with this error.
    #[cold]
    pub(crate) fn failed(&self, errno: i32) {
        self.failure.store(errno, Ordering::Relaxed);
    }

    pub(crate) fn take_failure(&self) -> Option<i32> {
        // Asked again and again, and mostly in vain: the cache line stays with those who send.
        if self.failure.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.failure.swap(0, Ordering::Relaxed)).filter(|errno| *errno != 0)
    }

    /// A record of this path came by the other way. `true` if that is news.
    pub(crate) fn note_peer_doubt(&self) -> bool {
        !self.peer_doubts.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn take_peer_doubt(&self) -> bool {
        self.peer_doubts.load(Ordering::Relaxed) && self.peer_doubts.swap(false, Ordering::Relaxed)
    }

    /// Records that went by both ways, and those that only the other took.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.copied.load(Ordering::Relaxed), self.rescued.load(Ordering::Relaxed))
    }

    /// Gives the records of a batch to the other way, in order; how many it took.
    fn give(&self, from: &Batch) -> u64 {
        let path = self.path.load();
        let Some(path) = path.as_deref() else { return 0 };
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let records = from.bytes.chunks(from.segment.max(1));
        let taken = records.filter(|record| path.send_sealed(record, &mut batch).is_ok()).count();
        path.flush_sealed(&mut batch);
        batch.clear();
        taken as u64
    }
}

impl UdpPath {
    /// Has records go by this way too while they are [in doubt](Self::set_doubt), and alone when the kernel refuses them (P4.12).
    /// It must lead to the same peer, and the peer must take them there.
    pub fn set_fallback(&self, path: Option<Arc<dyn SealedPath>>) {
        self.fallback.set(path);
    }

    /// Says whether it is in doubt that records arrive.
    pub fn set_doubt(&self, in_doubt: bool) {
        self.fallback.set_doubt(in_doubt);
    }

    /// The error number that the kernel refused records with, once.
    pub fn take_failure(&self) -> Option<i32> {
        self.fallback.take_failure()
    }

    /// Whether records of this path came by the other way, once: the peer is in doubt.
    pub fn take_peer_doubt(&self) -> bool {
        self.fallback.take_peer_doubt()
    }

    /// How many records went both ways so far, and how many only the other because the kernel refused them.
    pub fn sent_otherwise(&self) -> (u64, u64) {
        self.fallback.counts()
    }
}

#[cfg(test)]
mod tests {
    use transport::Drop;

    use super::*;

    /// Remembers what it takes, and refuses what is short.
    #[derive(Default)]
    struct Other(Mutex<Vec<Vec<u8>>>, AtomicU64);

    impl SealedPath for Other {
        fn send_sealed(&self, record: &[u8], _: &mut Batch) -> Result<(), Drop> {
            if record.len() < 3 {
                return Err(Drop::QueueFull);
            }
            self.0.lock().unwrap().push(record.to_vec());
            Ok(())
        }

        fn flush_sealed(&self, _: &mut Batch) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn batch(bytes: &[u8]) -> Batch {
        Batch { bytes: bytes.to_vec(), segment: 4, datagrams: bytes.len().div_ceil(4), ..Batch::default() }
    }

    #[test]
    fn a_batch_is_given_record_by_record_and_counted() {
        let (fallback, other) = (Fallback::default(), Arc::new(Other::default()));
        assert!(!fallback.rescue(&batch(b"aaaabbbb")), "there is no other way");
        fallback.set(Some(other.clone()));
        fallback.copy(&batch(b"aaaabbbbccc"));
        assert!(fallback.rescue(&batch(b"ddddee")));
        assert!(!fallback.rescue(&batch(b"ff")), "nothing was taken");
        assert_eq!(*other.0.lock().unwrap(), [&b"aaaa"[..], b"bbbb", b"ccc", b"dddd"]);
        assert_eq!((fallback.counts(), other.1.load(Ordering::Relaxed)), ((3, 1), 3));
        fallback.set(None);
        assert!(!fallback.rescue(&batch(b"gggg")));
    }

    #[test]
    fn failures_and_doubts_are_told_once() {
        let fallback = Fallback::default();
        assert_eq!((fallback.take_failure(), fallback.take_peer_doubt()), (None, false));
        fallback.failed(1);
        fallback.failed(101);
        assert_eq!((fallback.take_failure(), fallback.take_failure()), (Some(101), None));
        assert!(fallback.note_peer_doubt() && !fallback.note_peer_doubt());
        assert!(fallback.take_peer_doubt() && !fallback.take_peer_doubt());
    }
}
