//! [`Batch`]: scratch space of one sending thread.

use std::sync::Arc;

use crate::HopPath;

/// One frame of a batch, or one relayed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEnd {
    /// Where what follows it begins.
    pub at: usize,
    /// Segments it stands for.
    pub frames: u64,
    /// Its bytes, without what precedes it on the wire.
    pub frame_bytes: u64,
}

/// Bytes on their way out, kept by the thread that sends, so that paths need neither allocate nor lock per frame.
///
/// Which of its fields a path uses, and how, is the path's affair; between a flush and the next send it is empty.
#[derive(Default)]
pub struct Batch {
    /// What will be sent.
    pub bytes: Vec<u8>,
    /// Length of each datagram in `bytes` but the last.
    pub segment: usize,
    /// Datagrams in `bytes`.
    pub datagrams: usize,
    /// Frames in `bytes`, counted as their segments.
    pub frames: u64,
    /// Bytes of those frames.
    pub frame_bytes: u64,
    /// Where each frame ends: for a path that may have to drop some of them after all.
    pub ends: Vec<BatchEnd>,
    /// The neighbour's path that `bytes` is laid out for, where that is not the path the batch belongs to.
    pub via: Option<Arc<dyn HopPath>>,
    /// One record that is being made before it is laid out for `via`.
    pub record: Vec<u8>,
}

impl Batch {
    /// An empty batch with room for a whole super-frame.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(80 * 1024), ..Self::default() }
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what waited; keeps the space.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.segment = 0;
        self.datagrams = 0;
        self.frames = 0;
        self.frame_bytes = 0;
        self.ends.clear();
        self.via = None;
        self.record.clear();
    }
}
