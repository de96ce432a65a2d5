//! [`FramePath`], [`HopPath`], [`FrameSink`] and [`RecordSink`].

use std::net::SocketAddr;

use packet::SuperFrame;
use wire::{GroupHeader, Hops, PeerName};

use crate::{Batch, Drop, Outbox, PathCounters, TapFrame};

/// What a path is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Sealed records over UDP.
    Udp,
    /// Inside the link.
    Tls,
    /// Through peers in between.
    Relay,
    /// In memory, for tests.
    Memory,
}

impl PathKind {
    /// As shown to people and used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Relay => "relay",
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

/// One way to carry things to a neighbour that are not for it alone. What was appended to a batch is sent by
/// [`FramePath::flush`], together with what [`FramePath::send`] left there.
pub trait HopPath: FramePath {
    /// Takes a frame for everyone (P7.1). Its `n`-th segment has the number `group.sequence` + `n`.
    ///
    /// # Errors
    /// When the frame is dropped; it is counted already.
    fn send_group(&self, group: &GroupHeader, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop>;

    /// The largest frame for everyone that fits, after segmentation, in bytes: its group header takes room too.
    fn max_group_frame(&self) -> usize {
        self.max_frame()
    }

    /// The longest relayed record that fits: names and inner record, in bytes.
    fn max_relayed(&self) -> usize;

    /// Takes a record of other peers' session (P6.4), for the neighbour itself if there are no `hops`.
    ///
    /// # Errors
    /// When the record is dropped; it is counted already.
    fn relay(&self, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop>;
}

/// One more way to the peer of a session, for records that are sealed already: what goes that way is what would have gone over UDP,
/// byte for byte, so the receiver drops what it gets twice (P4.4).
pub trait SealedPath: Send + Sync + 'static {
    /// Takes a record. It may stay in `batch`, which belongs to this path alone, until [`SealedPath::flush_sealed`].
    ///
    /// # Errors
    /// When the record is dropped; it is counted already.
    fn send_sealed(&self, record: &[u8], batch: &mut Batch) -> Result<(), Drop>;

    /// Sends what `batch` still holds.
    fn flush_sealed(&self, batch: &mut Batch);
}

/// A neighbour's link carries them as relayed records without names (P4.12).
impl<P: HopPath> SealedPath for P {
    fn send_sealed(&self, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        self.relay(Hops::default(), record, batch)
    }

    fn flush_sealed(&self, batch: &mut Batch) {
        self.flush(batch);
    }
}

/// Where frames and records from peers go. No method may block.
///
/// What has to travel on is put into `out`, which whoever called flushes at the end of its batch.
pub trait FrameSink: Send + Sync + 'static {
    /// Takes one frame that `peer` sent to this host alone.
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>);

    /// Whether it also takes super-frames made of UDP datagrams that arrived one by one.
    fn takes_udp_trains(&self) -> bool {
        false
    }

    /// Takes note of a frame for everyone that the neighbour `from` passed on (P7), and passes it on. `true`: this host is to have it
    /// too, by [`deliver`](Self::deliver) as a frame of its source, before any that comes later.
    fn take_group(&self, from: PeerName, group: &GroupHeader, frame: TapFrame<'_>, out: &mut Outbox) -> bool;

    /// Takes such a frame, and delivers it at once if it is for this host.
    fn deliver_group(&self, from: PeerName, group: &GroupHeader, frame: TapFrame<'_>, out: &mut Outbox) {
        if self.take_group(from, group, frame, out) {
            self.deliver(group.source, frame);
        }
    }

    /// Takes a record that the neighbour `from` relayed (P6.4), for this host if there are no `hops` left. The record is changed: it
    /// is opened in place.
    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox);

    /// Takes a record that came straight from `from`, of a session the receiver does not know.
    ///
    /// # Errors
    /// When nobody else knows it either, or it is of no use; the receiver counts it.
    fn record(&self, from: SocketAddr, record: &mut [u8], out: &mut Outbox) -> Result<(), Drop> {
        let _ = (from, record, out);
        Err(Drop::UnknownSession)
    }
}

/// Where records for this host go whose session is with a peer that is no neighbour.
pub trait RecordSink: Send + Sync + 'static {
    /// Opens a record where it lies and hands on what is in it. It came straight from the address `from`, or through a relay.
    ///
    /// # Errors
    /// When it is of no use; whoever called counts it.
    fn record(&self, from: Option<SocketAddr>, record: &mut [u8], out: &mut Outbox) -> Result<(), Drop>;
}
