//! What was sent and what arrived between two answers.

use std::fmt;
use std::time::{Duration, Instant};

/// Fewest lost records that are held against anything: fewer come about on every network.
const BAD: u64 = 10;
/// Lost records of a thousand from which trains are suspected. On a path that loses 2 % TCP gets a small part of what the path
/// could carry; where that is the radio's or the cable's fault, comparing costs a second, see [`Trust`](super::Trust).
const LOSSY: u64 = 20;
/// The same when records also arrive damaged.
const CORRUPT: u64 = 1;

/// Counts since the path was made, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the probe was sent.
    pub at: Instant,
    /// Records with frames sent by then.
    pub sent: u64,
    /// Those of them that went in trains.
    pub trained: u64,
    /// Those that had arrived and opened before the probe did.
    pub opened: u64,
    /// Records that had arrived and not opened.
    pub forged: u64,
}

impl Sample {
    /// What lies between this one and a later one; nothing if they do not belong together.
    pub(super) fn to(&self, later: &Self) -> Option<Window> {
        let sent = later.sent.checked_sub(self.sent)?;
        Some(Window {
            elapsed: later.at.checked_duration_since(self.at)?,
            sent,
            trained: later.trained.checked_sub(self.trained)?,
            // Records overtake probes now and then: more may open than were sent.
            bad: sent.saturating_sub(later.opened.checked_sub(self.opened)?),
            forged: later.forged.checked_sub(self.forged)?,
        })
    }
}

/// Counts between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) elapsed: Duration,
    pub(super) sent: u64,
    pub(super) trained: u64,
    /// Sent and not opened.
    pub(super) bad: u64,
    pub(super) forged: u64,
}

impl Window {
    /// Share of records that did not arrive, or not as they were sent: 0 to 1.
    pub(super) const fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.bad as f64 / self.sent as f64 }
    }

    /// Records that arrived, a second.
    pub(super) fn rate(&self) -> f64 {
        (self.sent - self.bad) as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Records that were sent, a second.
    pub(super) fn offered(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Whether trains may have to do with so much being lost. Forged records alone prove nothing: anybody can send them.
    pub(super) const fn is_suspicious(&self) -> bool {
        let limit = if self.is_damaged() { CORRUPT } else { LOSSY };
        self.bad >= BAD
            && self.bad as u128 * 1000 >= self.sent as u128 * limit as u128
            && self.trained as u128 * 2 >= self.bad as u128
    }

    /// Whether most of what is missing came damaged.
    pub(super) const fn is_damaged(&self) -> bool {
        self.forged >= BAD && self.forged as u128 * 2 >= self.bad as u128
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            elapsed: self.elapsed.saturating_add(other.elapsed),
            sent: self.sent.saturating_add(other.sent),
            trained: self.trained.saturating_add(other.trained),
            bad: self.bad.saturating_add(other.bad),
            forged: self.forged.saturating_add(other.forged),
        }
    }
}

/// A share as people write it: two significant digits are all that the counts are good for.
pub(super) struct Share(pub(super) f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent >= 10.0 || percent == 0.0 {
            write!(f, "{percent:.0} %")
        } else {
            write!(f, "{percent:.1} %")
        }
    }
}
