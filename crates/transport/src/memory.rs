//! The in-memory implementation: the model that the others are held against, and what simulations use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use packet::{SuperFrame, VnetHdr};
use wire::PeerName;

use crate::{Batch, Drop, FramePath, FrameSink, PathCounters, PathKind, TapFrame};

/// One direction between two peers of one process. Frames arrive when the sender flushes.
pub struct MemoryPath {
    from: PeerName,
    sink: Arc<dyn FrameSink>,
    max_frame: usize,
    /// Bytes that may wait in a batch before frames are dropped.
    room: usize,
    closed: AtomicBool,
    counters: PathCounters,
    peer: Mutex<Option<Arc<Self>>>,
}

impl MemoryPath {
    /// Two paths, from `a` to the sink of `b` and back.
    pub fn pair(
        (a, sink_a): (PeerName, Arc<dyn FrameSink>),
        (b, sink_b): (PeerName, Arc<dyn FrameSink>),
        max_frame: usize,
        room: usize,
    ) -> (Arc<Self>, Arc<Self>) {
        let path = |from, sink| {
            Arc::new(Self {
                from,
                sink,
                max_frame,
                room,
                closed: AtomicBool::new(false),
                counters: PathCounters::default(),
                peer: Mutex::new(None),
            })
        };
        let (to_b, to_a) = (path(a, sink_b), path(b, sink_a));
        *to_b.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&to_a));
        *to_a.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&to_b));
        (to_b, to_a)
    }

    /// Closes both directions.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Taken out first: the other end closes this one in turn, and must find the lock free.
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(peer) = peer {
            peer.close();
        }
    }
}

impl FramePath for MemoryPath {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        if frame.longest_segment() > self.max_frame {
            return Err(self.counters.dropped(Drop::TooBig, frames));
        }
        let bytes = frame.frame();
        if batch.bytes.len() + bytes.len() > self.room {
            return Err(self.counters.dropped(Drop::QueueFull, frames));
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        batch.bytes.extend_from_slice(&len.to_be_bytes());
        let mut hdr = [0; VnetHdr::LEN];
        frame.hdr().write_host(&mut hdr);
        batch.bytes.extend_from_slice(&hdr);
        batch.bytes.extend_from_slice(bytes);
        batch.frames += frames;
        batch.frame_bytes += bytes.len() as u64;
        Ok(())
    }

    fn flush(&self, batch: &mut Batch) {
        self.counters.sent(batch.frames, batch.frame_bytes);
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut rest = &batch.bytes[..];
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let Some((frame, tail)) = tail.split_at_checked(VnetHdr::LEN + u32::from_be_bytes(*len) as usize)
            else {
                break;
            };
            rest = tail;
            let Ok(frame) = TapFrame::checked(frame) else { continue };
            if let Some(peer) = &peer {
                peer.counters.received(frame.frame().segments() as u64, frame.frame().frame().len() as u64);
            }
            self.sink.deliver(self.from, frame);
        }
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Ends, Harness};

    struct Memory;

    impl Harness for Memory {
        fn connect(&mut self, a: (PeerName, Arc<dyn FrameSink>), b: (PeerName, Arc<dyn FrameSink>)) -> Ends {
            let (to_b, to_a) = MemoryPath::pair(a, b, 1390, 1 << 20);
            let closer = Arc::clone(&to_b);
            Ends { to_b, to_a, close: Box::new(move || closer.close()) }
        }
    }

    #[test]
    fn it_fulfils_the_contract() {
        conformance::run(&mut Memory);
    }
}
