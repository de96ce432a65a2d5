//! [`FramePath`] and [`FrameSink`].

use packet::SuperFrame;
use wire::PeerName;

use crate::{Batch, Drop, PathCounters, TapFrame};

/// What a path is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Sealed records over UDP.
    Udp,
    /// Inside the link.
    Tls,
    /// In memory, for tests.
    Memory,
}

impl PathKind {
    /// As shown to people and used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Memory => "memory",
        }
    }
}

/// One way to carry frames to one peer.
pub trait FramePath: Send + Sync + 'static {
    /// What it is made of.
    fn kind(&self) -> PathKind;

    /// The largest Ethernet frame, after segmentation, that fits, in bytes.
    fn max_frame(&self) -> usize;

    /// Takes a frame. It may stay in `batch` until [`FramePath::flush`].
    ///
    /// The caller flushes before it uses the same batch with another path.
    ///
    /// # Errors
    /// When the frame is dropped; it is counted already.
    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop>;

    /// Sends what `batch` still holds.
    fn flush(&self, batch: &mut Batch);

    /// What went through, and what did not.
    fn counters(&self) -> &PathCounters;
}

/// Where frames from peers go.
pub trait FrameSink: Send + Sync + 'static {
    /// Takes one frame of `peer`. Must not block.
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>);

    /// Whether it also takes super-frames made of UDP datagrams that arrived one by one.
    fn takes_udp_trains(&self) -> bool {
        false
    }
}
