//! How rounds of probes follow each other (P4.9).

use std::time::Duration;

/// From round to round where it is open whether the path works.
pub(super) const EAGER: Duration = Duration::from_millis(500);
/// From an answered round to the next, and from round to round once nothing was answered for [`PATIENCE`].
pub(super) const CALM: Duration = Duration::from_secs(3);
/// From round to round once nothing was answered for [`HOPE`]. Shorter than the half minute for which NATs remember what
/// was sent and not answered: so two ends behind such NATs meet although neither knows when the other sends.
const RARE: Duration = Duration::from_secs(20);
/// How long rounds stay eager without an answer. Where UDP is blocked it mostly stays so.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long they stay calm after that.
const HOPE: Duration = Duration::from_secs(60);
/// Eager rounds that a path which works may leave unanswered, besides the calm one before them.
const LOST: u32 = 4;

/// How long to wait for the next round where nothing was answered for `tried`.
pub(super) fn gap(tried: Duration) -> Duration {
    if tried < PATIENCE {
        EAGER
    } else if tried < HOPE {
        CALM
    } else {
        RARE
    }
}

/// How long after the first round without an answer a path of this round-trip time is given up: the last of the rounds
/// behind it has time to be answered.
pub(super) fn doubt(rtt: Duration) -> Duration {
    EAGER * LOST + EAGER.max(rtt.saturating_mul(4))
}
