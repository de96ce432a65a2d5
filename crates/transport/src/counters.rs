//! What went through a path and what was dropped, by reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a frame or record was dropped. The names are those of the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    /// The queue towards the network was full.
    QueueFull,
    /// Larger than the path carries.
    TooBig,
    /// The path is closed.
    Closed,
    /// The kernel refused to send.
    SendError,
    /// The session's key is used up.
    KeyUsedUp,
    /// A record that does not open.
    Forged,
    /// A record seen before, or too old.
    Replayed,
    /// A record or payload that is not understood.
    Malformed,
    /// A record for a session that is not known.
    UnknownSession,
    /// The TAP took no more.
    TapFull,
    /// No path to the peer is up.
    NoPath,
    /// Destination 01:80:c2:00:00:0x (IEEE 802.1D), or a source that is a group address.
    Filtered,
    /// A frame came back that this host, or another peer, had sent: a loop or a hairpin port.
    Loop,
    /// The destination is on the sender's side already.
    Local,
    /// A frame for everyone that was here before (P7.2), or of a source too many to tell.
    Duplicate,
    /// The next peer on the way of a record or parcel is no neighbour (P6.1).
    NoRoute,
}

impl Drop {
    /// Every reason, in order.
    pub const ALL: [Self; 16] = [
        Self::QueueFull,
        Self::TooBig,
        Self::Closed,
        Self::SendError,
        Self::KeyUsedUp,
        Self::Forged,
        Self::Replayed,
        Self::Malformed,
        Self::UnknownSession,
        Self::TapFull,
        Self::NoPath,
        Self::Filtered,
        Self::Loop,
        Self::Local,
        Self::Duplicate,
        Self::NoRoute,
    ];

    /// As shown in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooBig => "too_big",
            Self::Closed => "closed",
            Self::SendError => "send_error",
            Self::KeyUsedUp => "key_used_up",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Malformed => "malformed",
            Self::UnknownSession => "unknown_session",
            Self::TapFull => "tap_full",
            Self::NoPath => "no_path",
            Self::Filtered => "filtered",
            Self::Loop => "loop",
            Self::Local => "local",
            Self::Duplicate => "duplicate",
            Self::NoRoute => "no_route",
        }
    }
}

/// A count for each reason.
#[derive(Debug, Default)]
pub struct DropCounters([AtomicU64; Drop::ALL.len()]);

impl DropCounters {
    /// Counts `n` drops.
    pub fn add(&self, reason: Drop, n: u64) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(n, Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, reason: Drop) -> u64 {
        self.0.get(reason as usize).map_or(0, |c| c.load(Relaxed))
    }

    /// All that are not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (Drop, u64)> + '_ {
        Drop::ALL.into_iter().map(|reason| (reason, self.get(reason))).filter(|(_, n)| *n > 0)
    }
}

/// Counts of one path. A super-frame counts as the frames it stands for, a relayed record as one frame.
#[derive(Debug, Default)]
pub struct PathCounters {
    /// Frames sent.
    pub tx_frames: AtomicU64,
    /// Their bytes, Ethernet headers included.
    pub tx_bytes: AtomicU64,
    /// Frames received.
    pub rx_frames: AtomicU64,
    /// Their bytes.
    pub rx_bytes: AtomicU64,
    /// What was dropped, either way.
    pub drops: DropCounters,
}

impl PathCounters {
    /// Counts what was sent.
    pub fn sent(&self, frames: u64, bytes: u64) {
        self.tx_frames.fetch_add(frames, Relaxed);
        self.tx_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts what arrived.
    pub fn received(&self, frames: u64, bytes: u64) {
        self.rx_frames.fetch_add(frames, Relaxed);
        self.rx_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a drop and gives it back, for `return Err(..)`.
    pub fn dropped(&self, reason: Drop, frames: u64) -> Drop {
        self.drops.add(reason, frames);
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_counts_in_a_place_of_its_own() {
        let counters = DropCounters::default();
        for (i, reason) in Drop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.name());
            counters.add(reason, i as u64 + 1);
        }
        assert!(counters.nonzero().enumerate().all(|(i, (_, n))| n == i as u64 + 1));
        assert_eq!(counters.nonzero().count(), Drop::ALL.len());
    }
}
