//! [`Queue`]: what waits for a link's writer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use transport::Batch;

use crate::fair::{Fair, Waiting};
use crate::flow;
use crate::pace::QUEUE_MOST;
use crate::record::layout;

/// Control messages that may wait. A peer that does not read for so long is not there.
const CONTROL_LIMIT: usize = 1024;
/// A buffer larger than this is given back by a link that is quiet, in bytes.
pub(crate) const KEEP: usize = 16 * 1024;

/// Control messages and frames that wait. The lock is held for a copy at the longest, never while something is sealed or sent.
#[derive(Default)]
pub(crate) struct Queue {
    inside: Mutex<Inside>,
    /// Whether the writer has something to do, so that frames must not pass by the queue. Changes under the lock only.
    pending: AtomicBool,
    closed: AtomicBool,
}

#[derive(Default)]
struct Inside {
    control: VecDeque<Vec<u8>>,
    frames: Fair,
    /// Bytes of frames that may wait.
    limit: Limit,
    key_update: bool,
    ending: Ending,
}

struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(QUEUE_MOST)
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
    /// Send the frames that were handed over.
    Frames(Sent),
    /// Say that nothing more will come.
    Farewell,
    /// Wait.
    Nothing,
    /// Go.
    End,
}

/// How much was handed to the writer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Segments of the frames.
    pub(crate) frames: u64,
    /// Bytes of these, without what precedes a frame on the wire.
    pub(crate) frame_bytes: u64,
}

impl Queue {
    /// Queues a control message; `false` when there is no room, or the link ends. After the `last` one no other is taken.
    pub(crate) fn push_control(&self, message: Vec<u8>, last: bool) -> bool {
        let mut inside = self.lock();
        if inside.ending != Ending::No || (!last && inside.control.len() >= CONTROL_LIMIT) {
            return false;
        }
        inside.control.push_back(message);
        if last {
            inside.ending = Ending::Soon;
        }
        self.pending.store(true, Ordering::Release);
        true
    }

    /// Queues the frames of a batch, laid out and not closed. Gives how many segments had to go for it, of these or of others.
    pub(crate) fn push_frames(&self, batch: &Batch) -> u64 {
        let mut inside = self.lock();
        let limit = inside.limit.0;
        let (mut start, mut dropped) = (0, 0);
        for end in &batch.ends {
            let mut bytes = Vec::with_capacity(end.at.saturating_sub(start));
            layout::extract(&batch.bytes, start..end.at, &mut bytes);
            let flow = flow::of(&bytes);
            let waiting = Waiting { bytes, frames: end.frames, frame_bytes: end.frame_bytes };
            dropped += inside.frames.push(flow, waiting, limit).iter().map(|lost| lost.frames).sum::<u64>();
            start = end.at;
        }
        self.pending.store(true, Ordering::Release);
        dropped
    }

    /// The other end wants a key update before the next record with content (RFC 8446 section 4.6.3).
    pub(crate) fn want_key_update(&self) {
        self.lock().key_update = true;
        self.pending.store(true, Ordering::Release);
    }

    /// From now on so many bytes of frames may wait.
    pub(crate) fn allow(&self, limit: usize) {
        self.lock().limit = Limit(limit);
    }

    /// No further frames are taken, and those that wait are gone. Gives how many segments these were.
    pub(crate) fn close(&self) -> u64 {
        self.closed.store(true, Ordering::Release);
        self.lock().frames.clear()
    }

    /// Lets the writer end once the control messages that wait are out.
    pub(crate) fn end(&self) {
        let mut inside = self.lock();
        inside.ending = inside.ending.max(Ending::Soon);
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

    /// What to do next; control goes first. Frames are laid out in `out`, which is empty: about `chunk` bytes, whole messages, so
    /// that what is sent between two chunks tears none apart.
    pub(crate) fn next(&self, chunk: usize, out: &mut Vec<u8>) -> Work {
        let mut inside = self.lock();
        if std::mem::take(&mut inside.key_update) {
            return Work::KeyUpdate;
        }
        if let Some(message) = inside.control.pop_front() {
            return Work::Control(message);
        }
        match inside.ending {
            Ending::Soon => {
                inside.ending = Ending::Done;
                return Work::Farewell;
            }
            Ending::Done => return Work::End,
            Ending::No => {}
        }
        let mut sent = Sent::default();
        while out.len() < chunk
            && let Some(Waiting { bytes, frames, frame_bytes }) = inside.frames.pop()
        {
            layout::append(out, 0, &bytes);
            sent.frames += frames;
            sent.frame_bytes += frame_bytes;
        }
        if sent != Sent::default() {
            layout::close(out, 0);
            return Work::Frames(sent);
        }
        self.pending.store(false, Ordering::Release);
        Work::Nothing
    }

    /// Gives the memory back; for a link that is quiet.
    pub(crate) fn rest(&self) {
        let mut inside = self.lock();
        if inside.frames.is_empty() {
            inside.frames.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use transport::BatchEnd;

    use super::*;

    const CHUNK: usize = 128 * 1024;

    /// Messages of these lengths, filled with their number, each standing for two segments. They are of one flow.
    pub(crate) fn batch(lengths: &[usize]) -> Batch {
        filled(0, lengths)
    }

    fn filled(first: u8, lengths: &[usize]) -> Batch {
        let mut batch = Batch::new();
        let mut end = 0;
        for (i, len) in lengths.iter().enumerate() {
            layout::append(&mut batch.bytes, 0, &vec![first + i as u8; *len]);
            end += len;
            batch.ends.push(BatchEnd { at: end, frames: 2, frame_bytes: *len as u64 - 1 });
        }
        batch
    }

    fn content(records: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records.chunks(layout::FULL) {
            out.extend_from_slice(&record[crate::record::HEADER..record.len() - crate::record::TRAILER]);
        }
        out
    }

    /// Everything that waits.
    fn drain(queue: &Queue, chunk: usize) -> (Vec<u8>, u64) {
        let (mut all, mut frames, mut out) = (Vec::new(), 0, Vec::new());
        loop {
            out.clear();
            match queue.next(chunk, &mut out) {
                Work::Frames(sent) => frames += sent.frames,
                work => {
                    assert_eq!(work, Work::Nothing);
                    return (all, frames);
                }
            }
            all.extend(content(&out));
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_is_whole() {
        let queue = Queue::default();
        queue.allow(200_000);
        let (mut dropped, mut pushed) = (0, 0);
        for _ in 0..10 {
            // Types of P2.7: a frame, a relayed record and a group frame, of three flows.
            dropped += queue.push_frames(&filled(0x40, &[30_000, 1000, 200]));
            pushed += 6;
        }
        assert!(dropped > 0);
        let (bytes, frames) = drain(&queue, CHUNK);
        assert_eq!(frames + dropped, pushed);
        assert!(bytes.len() <= 200_000);
        let count = |filling: u8| bytes.iter().filter(|b| **b == filling).count();
        assert_eq!((count(0x41), count(0x42)), (10_000, 2000), "the small flows lose nothing");
        assert_eq!(count(0x40) % 30_000, 0, "whole frames");
    }

    #[test]
    fn a_chunk_is_about_as_long_as_it_is_wanted() {
        let queue = Queue::default();
        (0..20).for_each(|_| assert_eq!(queue.push_frames(&batch(&[9000])), 0));
        let mut out = Vec::new();
        assert_eq!(queue.next(16 * 1024, &mut out), Work::Frames(Sent { frames: 4, frame_bytes: 2 * 8999 }));
        assert_eq!(content(&out).len(), 18_000);
    }

    #[test]
    fn control_goes_before_frames_and_the_farewell_after_the_last_word() {
        let (queue, mut out) = (Queue::default(), Vec::new());
        queue.push_frames(&batch(&[60]));
        assert!(queue.push_control(vec![1], false));
        queue.want_key_update();
        assert_eq!(queue.next(CHUNK, &mut out), Work::KeyUpdate);
        assert_eq!(queue.next(CHUNK, &mut out), Work::Control(vec![1]));
        assert_eq!(queue.next(CHUNK, &mut out), Work::Frames(Sent { frames: 2, frame_bytes: 59 }));
        assert!(queue.is_pending());
        out.clear();
        assert_eq!(queue.next(CHUNK, &mut out), Work::Nothing);
        assert!(!queue.is_pending());
        assert!(queue.push_control(vec![2], true));
        assert!(!queue.push_control(vec![3], false), "nothing follows the last word");
        assert_eq!(queue.next(CHUNK, &mut out), Work::Control(vec![2]));
        assert_eq!(queue.next(CHUNK, &mut out), Work::Farewell);
        assert_eq!(queue.next(CHUNK, &mut out), Work::End);
    }

    #[test]
    fn control_messages_are_bounded() {
        let queue = Queue::default();
        assert_eq!((0..2000).filter(|_| queue.push_control(vec![0; 9], false)).count(), CONTROL_LIMIT);
        assert!(queue.push_control(vec![1], true), "the last word always finds room");
    }

    #[test]
    fn closing_forgets_frames_and_keeps_control() {
        let (queue, mut out) = (Queue::default(), Vec::new());
        queue.push_frames(&batch(&[50_000]));
        queue.push_control(vec![1], false);
        assert_eq!(queue.close(), 2);
        queue.end();
        assert_eq!(queue.next(CHUNK, &mut out), Work::Control(vec![1]));
        assert_eq!(queue.next(CHUNK, &mut out), Work::Farewell);
    }
}
