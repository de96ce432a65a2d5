//! [`WaitingPath`]: where frames wait while keys are being agreed on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use packet::{MAX_FRAME, SuperFrame, VnetHdr};
use transport::{Batch, Drop, FramePath, PathCounters, PathKind};

/// Frames that wait at most, super-frames counting as one.
const MAX_FRAMES: usize = 64;
/// Their bytes at most.
const MAX_BYTES: usize = 256 * 1024;

/// The way to a peer there is no session with yet. The first frame asks for one, and goes with it.
pub struct WaitingPath {
    queue: Mutex<Queue>,
    /// Where everything goes once there is a session.
    into: OnceLock<Arc<dyn FramePath>>,
    ask: Box<dyn Fn() + Send + Sync>,
    asked: AtomicBool,
    /// Whether a frame came since the control side last looked.
    wanted: AtomicBool,
    counters: PathCounters,
}

#[derive(Default)]
struct Queue {
    frames: Vec<(VnetHdr, Vec<u8>)>,
    bytes: usize,
    closed: bool,
}

impl WaitingPath {
    /// An empty one. `ask` is called for the first frame, from the thread that sends it, and must not block.
    pub fn new(ask: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            queue: Mutex::default(),
            into: OnceLock::new(),
            ask,
            asked: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            counters: PathCounters::default(),
        }
    }

    /// Whether frames came since this was asked last. The control side looks once a second for as long as there is no session, and
    /// tries again if so.
    pub fn wants(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Sends what waits in the order it came; from then on everything goes straight to `into`, which counts it. Only the first call
    /// has an effect.
    pub fn drain(&self, into: Arc<dyn FramePath>) {
        let mut queue = self.lock();
        if queue.closed || self.into.get().is_some() {
            return;
        }
        let mut batch = Batch::new();
        for (hdr, bytes) in queue.take() {
            // It was one when it came, so it is one now; what the path does not take it counts.
            if let Ok(frame) = SuperFrame::checked(hdr, &bytes) {
                let _ = into.send(&frame, &mut batch);
            }
        }
        into.flush(&mut batch);
        // Whoever sends meanwhile waits for the queue, and then looks here again: nothing overtakes what waited.
        let _ = self.into.set(into);
    }

    /// Drops what waits for this reason, which is counted, and refuses from now on.
    pub fn close(&self, reason: Drop) {
        let mut queue = self.lock();
        queue.closed = true;
        for (hdr, bytes) in queue.take() {
            let frames = SuperFrame::checked(hdr, &bytes).map_or(1, |frame| frame.segments());
            self.counters.drops.add(reason, frames as u64);
        }
    }

    /// Frames that wait.
    pub fn waiting(&self) -> usize {
        self.lock().frames.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Vec<(VnetHdr, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }
}

impl FramePath for WaitingPath {
    fn kind(&self) -> PathKind {
        self.into.get().map_or(PathKind::Relay, |into| into.kind())
    }

    fn max_frame(&self) -> usize {
        // Until there is a path nobody knows.
        self.into.get().map_or(MAX_FRAME, |into| into.max_frame())
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        if let Some(into) = self.into.get() {
            return into.send(frame, batch);
        }
        let frames = frame.segments() as u64;
        let mut queue = self.lock();
        if let Some(into) = self.into.get() {
            drop(queue);
            return into.send(frame, batch);
        }
        if queue.closed {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        // A frame that finds no room shows as well that somebody waits.
        self.wanted.store(true, Ordering::Relaxed);
        let bytes = frame.frame();
        if queue.frames.len() >= MAX_FRAMES || queue.bytes + bytes.len() > MAX_BYTES {
            return Err(self.counters.dropped(Drop::QueueFull, frames));
        }
        queue.bytes += bytes.len();
        queue.frames.push((frame.hdr(), bytes.to_vec()));
        drop(queue);
        if !self.asked.swap(true, Ordering::Relaxed) {
            (self.ask)();
        }
        Ok(())
    }

    fn flush(&self, batch: &mut Batch) {
        if let Some(into) = self.into.get() {
            into.flush(batch);
        }
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
