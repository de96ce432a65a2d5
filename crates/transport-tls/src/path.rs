//! [`TlsPath`]: frames inside the link.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use packet::SuperFrame;
use tokio::sync::Notify;
use transport::{Batch, Drop, FramePath, PathCounters, PathKind};
use wire::encode_frame_header;

/// Bytes of frames that may wait for the writer. At 1 Gb/s this is 4 ms; when it is full, new frames are dropped (C4), which is
/// what tells the senders inside to slow down.
const QUEUE_LIMIT: usize = 512 * 1024;
/// A batch is handed over at this size, so that the writer starts while more is being read from the TAP.
const BATCH_LIMIT: usize = 64 * 1024;

/// The frame path of one link.
#[derive(Default)]
pub struct TlsPath {
    queue: Mutex<Vec<u8>>,
    waiting: Notify,
    closed: AtomicBool,
    counters: PathCounters,
}

impl TlsPath {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until frames wait.
    pub(crate) async fn wait(&self) {
        self.waiting.notified().await;
    }

    /// Swaps what waits for the empty `spare`.
    pub(crate) fn take(&self, spare: &mut Vec<u8>) {
        debug_assert!(spare.is_empty());
        std::mem::swap(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner), spare);
    }
}

impl FramePath for TlsPath {
    fn kind(&self) -> PathKind {
        PathKind::Tls
    }

    fn max_frame(&self) -> usize {
        packet::MAX_FRAME
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        let bytes = frame.frame();
        if batch.bytes.len() + bytes.len() > BATCH_LIMIT {
            self.flush(batch);
        }
        batch.bytes.extend_from_slice(&encode_frame_header(&frame.hdr(), bytes.len()));
        batch.bytes.extend_from_slice(bytes);
        batch.frames += frames;
        batch.frame_bytes += bytes.len() as u64;
        Ok(())
    }

    fn flush(&self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        // The lock is taken once a batch, and held for one memcpy on either side.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            self.counters.drops.add(Drop::Closed, batch.frames);
        } else if queue.len() >= QUEUE_LIMIT {
            self.counters.drops.add(Drop::QueueFull, batch.frames);
        } else {
            queue.extend_from_slice(&batch.bytes);
            self.counters.sent(batch.frames, batch.frame_bytes);
        }
        drop(queue);
        self.waiting.notify_one();
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}
