//! [`Queue`]: what waits for a link's writer.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use transport::{Batch, BatchEnd};

use crate::record::layout;

/// Bytes of frames that may wait. At 1 Gb/s this is 4 ms; when they are reached, new frames are dropped (C4), which is what tells the
/// senders inside to slow down.
const FRAMES_LIMIT: usize = 512 * 1024;
/// Frames are sealed in chunks of at most so many bytes, 128 KiB in whole records. A control message waits for no more than this, and
/// what the kernel holds unsent (`handshake::UNSENT`).
const CHUNK: usize = 8 * layout::FULL;
/// Control messages that may wait. A peer that does not read for so long is not there.
const CONTROL_LIMIT: usize = 1024;
/// A buffer larger than this is given back by a link that is quiet, in bytes.
pub(crate) const KEEP: usize = 16 * 1024;

/// Control messages and frames that wait. The lock is held for a copy at the longest, never while something is sealed or sent.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Whether the writer has something to do, so that frames must not pass by the queue. Changes under the lock only.
    pending: AtomicBool,
    /// Content of frames that wait here, or that the writer took and has not sealed yet.
    unsealed: AtomicUsize,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    control: VecDeque<Vec<u8>>,
    frames: Chunks,
    key_update: bool,
    ending: Ending,
}

/// Frames laid out for sealing, in chunks.
///
/// A chunk ends where a frame ends: what is sent between two of them does not tear a message apart.
#[derive(Default)]
pub(crate) struct Chunks {
    pub(crate) bytes: Vec<u8>,
    /// Where the closed chunks end.
    ends: VecDeque<usize>,
    /// Where the last one begins, which is not closed.
    base: usize,
}

impl Chunks {
    /// The next chunk that was not asked for yet.
    pub(crate) fn next_end(&mut self) -> Option<usize> {
        self.ends.pop_front()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.base = 0;
    }

    /// Gives the memory back, unless it is used.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            *self = Self::default();
        }
    }

    fn close(&mut self) {
        if self.bytes.len() > self.base {
            layout::close(&mut self.bytes, self.base);
            self.base = self.bytes.len();
            self.ends.push_back(self.base);
        }
    }

    /// Makes sure that a batch of this length stays in one chunk.
    fn make_room(&mut self, batch: usize) {
        if self.bytes.len() - self.base + batch > CHUNK {
            self.close();
        }
    }

    fn copy(&mut self, batch: &Batch, content: Range<usize>) {
        layout::copy(&batch.bytes, content, &mut self.bytes, self.base);
    }
}

#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    #[default]
    No,
    /// What waits goes out, and then the farewell.
    Soon,
    /// The farewell is made.
    Done,
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The other end wants a key update.
    KeyUpdate,
    /// One control message.
    Control(Vec<u8>),
    /// The next of the frames that it took.
    Frames,
    /// Say that nothing more will come.
    Farewell,
    /// Wait.
    Nothing,
    /// Go.
    End,
}

/// What became of the frames of a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Segments of those that wait now.
    pub(crate) frames: u64,
    /// Bytes of those, without what precedes a frame on the wire.
    pub(crate) frame_bytes: u64,
    /// Segments of those that found no room.
    pub(crate) dropped: u64,
}

impl Queue {
    /// Queues a control message; `false` when there is no room, or the link ends. After the `last` one no other is taken.
    pub(crate) fn push_control(&self, message: Vec<u8>, last: bool) -> bool {
        let mut waiting = self.lock();
        if waiting.ending != Ending::No || (!last && waiting.control.len() >= CONTROL_LIMIT) {
            return false;
        }
        waiting.control.push_back(message);
        if last {
            waiting.ending = Ending::Soon;
        }
        self.pending.store(true, Ordering::Release);
        true
    }

    /// Queues the frames of a batch, laid out and not closed, as far as there is room: the newest are dropped, each by itself.
    pub(crate) fn push_frames(&self, batch: &Batch) -> Queued {
        let mut waiting = self.lock();
        let (mut queued, mut taken) = (Queued::default(), self.unsealed.load(Ordering::Acquire));
        let before = taken;
        waiting.frames.make_room(batch.bytes.len());
        let mut run: Range<usize> = 0..0;
        let mut start = 0;
        for &BatchEnd { at: end, frames, frame_bytes } in &batch.ends {
            let len = end - start;
            if taken + len <= FRAMES_LIMIT {
                taken += len;
                queued.frames += frames;
                queued.frame_bytes += frame_bytes;
                run.end = end;
            } else {
                queued.dropped += frames;
                waiting.frames.copy(batch, run);
                run = end..end;
            }
            start = end;
        }
        waiting.frames.copy(batch, run);
        self.unsealed.fetch_add(taken - before, Ordering::AcqRel);
        self.pending.store(true, Ordering::Release);
        queued
    }

    /// The other end wants a key update before the next record with content (RFC 8446 section 4.6.3).
    pub(crate) fn want_key_update(&self) {
        self.lock().key_update = true;
        self.pending.store(true, Ordering::Release);
    }

    /// No further frames are taken, and those that wait are gone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut waiting = self.lock();
        waiting.frames.close();
        let mut start = 0;
        while let Some(end) = waiting.frames.next_end() {
            self.sealed(layout::closed_content_len(end - start));
            start = end;
        }
        waiting.frames = Chunks::default();
    }

    /// Lets the writer end once the control messages that wait are out.
    pub(crate) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ending = waiting.ending.max(Ending::Soon);
        self.pending.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending != Ending::No
    }

    /// Whether the writer has something to do. Asked under the writer's lock before frames pass by the queue, so that none overtakes
    /// another (C2).
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// What to do next; control goes first. `rest` says that the writer still has frames to seal; if it has none, it gets those that
    /// wait here in exchange for the empty `spare`.
    pub(crate) fn next(&self, rest: bool, spare: &mut Chunks) -> Work {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.key_update) {
            return Work::KeyUpdate;
        }
        if let Some(message) = waiting.control.pop_front() {
            return Work::Control(message);
        }
        match waiting.ending {
            Ending::Soon => {
                waiting.ending = Ending::Done;
                return Work::Farewell;
            }
            Ending::Done => return Work::End,
            Ending::No => {}
        }
        if !rest && !waiting.frames.bytes.is_empty() {
            waiting.frames.close();
            std::mem::swap(&mut waiting.frames, spare);
            return Work::Frames;
        }
        if rest {
            return Work::Frames;
        }
        self.pending.store(false, Ordering::Release);
        Work::Nothing
    }

    /// Says how much content of frames no longer waits.
    pub(crate) fn sealed(&self, content: usize) {
        self.unsealed.fetch_sub(content, Ordering::AcqRel);
    }

    /// Gives the memory back; for a link that is quiet.
    pub(crate) fn rest(&self) {
        self.lock().frames.shrink();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Frames of these lengths, filled with their number, each standing for two segments.
    pub(crate) fn batch(lengths: &[usize]) -> Batch {
        let mut batch = Batch::new();
        let mut end = 0;
        for (i, len) in lengths.iter().enumerate() {
            layout::append(&mut batch.bytes, 0, &vec![i as u8; *len]);
            end += len;
            batch.ends.push(BatchEnd { at: end, frames: 2, frame_bytes: *len as u64 - 1 });
        }
        batch
    }

    fn content(mut chunks: Chunks) -> Vec<u8> {
        let (mut out, mut start) = (Vec::new(), 0);
        while let Some(end) = chunks.next_end() {
            for record in chunks.bytes[start..end].chunks(layout::FULL) {
                out.extend_from_slice(&record[crate::record::HEADER..record.len() - crate::record::TRAILER]);
            }
            assert!(end - start <= CHUNK);
            start = end;
        }
        out
    }

    #[test]
    fn what_finds_no_room_is_dropped_frame_by_frame() {
        let queue = Queue::default();
        for _ in 0..8 {
            let full = queue.push_frames(&batch(&[32_000, 33_000]));
            assert_eq!(full, Queued { frames: 4, frame_bytes: 64_998, dropped: 0 });
        }
        // 4288 bytes are left.
        let last = queue.push_frames(&batch(&[3000, 60_000, 1000, 2000, 288]));
        assert_eq!(last, Queued { frames: 6, frame_bytes: 4285, dropped: 4 });
        let mut taken = Chunks::default();
        assert_eq!(queue.next(false, &mut taken), Work::Frames);
        let content = content(taken);
        assert_eq!(content.len(), 524_288);
        let tail = [vec![0; 3000], vec![2; 1000], vec![4; 288]].concat();
        assert!(content[520_000..] == tail, "the frames that stay are whole and in order");
        // Taken is not sealed: there is no room yet.
        assert_eq!(queue.push_frames(&batch(&[60])).dropped, 2);
        queue.sealed(1000);
        assert_eq!(queue.push_frames(&batch(&[60])).dropped, 0);
    }

    #[test]
    fn control_goes_before_frames_and_the_farewell_after_the_last_word() {
        let (queue, mut frames) = (Queue::default(), Chunks::default());
        queue.push_frames(&batch(&[60]));
        assert!(queue.push_control(vec![1], false));
        queue.want_key_update();
        assert_eq!(queue.next(false, &mut frames), Work::KeyUpdate);
        assert_eq!(queue.next(false, &mut frames), Work::Control(vec![1]));
        assert_eq!(queue.next(false, &mut frames), Work::Frames);
        assert!(queue.is_pending());
        assert_eq!(queue.next(false, &mut frames), Work::Nothing);
        assert!(!queue.is_pending());
        assert!(queue.push_control(vec![2], true));
        assert!(!queue.push_control(vec![3], false), "nothing follows the last word");
        assert_eq!(queue.next(false, &mut frames), Work::Control(vec![2]));
        assert_eq!(queue.next(false, &mut frames), Work::Farewell);
        assert_eq!(queue.next(false, &mut frames), Work::End);
    }

    #[test]
    fn control_messages_are_bounded() {
        let queue = Queue::default();
        assert_eq!((0..2000).filter(|_| queue.push_control(vec![0; 9], false)).count(), CONTROL_LIMIT);
        assert!(queue.push_control(vec![1], true), "the last word always finds room");
    }

    #[test]
    fn closing_forgets_frames_and_keeps_control() {
        let (queue, mut frames) = (Queue::default(), Chunks::default());
        queue.push_frames(&batch(&[50_000]));
        queue.push_control(vec![1], false);
        queue.close();
        queue.end();
        assert_eq!(queue.unsealed.load(Ordering::Relaxed), 0);
        assert_eq!(queue.next(false, &mut frames), Work::Control(vec![1]));
        assert_eq!(queue.next(false, &mut frames), Work::Farewell);
    }
}
