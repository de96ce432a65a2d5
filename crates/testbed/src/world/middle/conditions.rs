//! What a way does to packets.

use std::time::Duration;

/// What becomes of packets on the way through a [`Middle`](super::Middle); the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// How much later a packet arrives, in each direction.
    pub delay: Duration,
    /// Of 10 000 packets, how many are lost.
    pub lost: u32,
    /// Of 10 000 packets, how many are held back by another `late_by`, so that others overtake them.
    pub late: u32,
    /// How long those are held back.
    pub late_by: Duration,
    /// Bits a second that pass; what comes faster waits, for [`QUEUE`] at most.
    pub rate: Option<u64>,
    /// The longest IP packet that passes. Longer ones are lost; the hop does not fragment.
    pub mtu: Option<usize>,
    /// Whether their senders are told so by ICMP.
    pub too_big_told: bool,
    /// Whether UDP is lost.
    pub no_udp: bool,
}

/// How much waits before a hop that is slower than its senders: what home routers hold.
pub const QUEUE: Duration = Duration::from_millis(100);
