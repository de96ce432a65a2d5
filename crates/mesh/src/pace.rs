//! How often we may state what changed about us.
//!
//! A statement costs every peer its length. One host whose thousand links come and go would flood everybody. So statements
//! take from an allowance, the more the larger the network is: a few in a row go at once, a lasting change of state goes out at
//! the rate at which the allowance grows, and none waits longer than the bound.

use std::time::{Duration, Instant};

/// How much may be stated at once.
const BURST: u64 = 16 * 1024;
/// What the allowance grows by in a second.
const RATE: u64 = 4 * 1024;
/// Peers for which a statement takes its length once more.
const PEERS: u64 = 32;
/// Longest wait of a change that is stated in less than [`SMALL`] bytes, and of any other.
const LONGEST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
const SMALL: usize = 4096;

/// The allowance.
#[derive(Debug)]
pub(crate) struct Pace {
    left: u64,
    counted: Instant,
}

impl Pace {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { left: BURST, counted: now }
    }

    /// When a statement of `len` bytes may be made to a network of `peers`, about a change at `changed`. When that is now or
    /// earlier, the statement is taken to be made.
    pub(crate) fn take(&mut self, now: Instant, len: usize, peers: usize, changed: Instant) -> Instant {
        self.grow(now);
        let cost = cost(len, peers);
        let lacks = cost.min(BURST).saturating_sub(self.left);
        let at = (now + Duration::from_millis(lacks * 1000 / RATE)).min(changed + longest(len));
        if at <= now {
            self.left = self.left.saturating_sub(cost);
        }
        at
    }

    fn grow(&mut self, now: Instant) {
        let grown = now.saturating_duration_since(self.counted).as_millis().min(10_000) as u64 * RATE / 1000;
        // What is less than a byte goes on growing.
        if grown > 0 {
            self.left = (self.left + grown).min(BURST);
            self.counted = now;
        }
    }
}

fn longest(len: usize) -> Duration {
    let [small, large] = LONGEST;
    if len < SMALL { small } else { large }
}

/// What a statement takes.
fn cost(len: usize, peers: usize) -> u64 {
    len as u64 * (PEERS + peers as u64) / PEERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_small_host_in_a_small_network_never_waits() {
        let (now, len) = (start(), 200);
        let mut pace = Pace::new(now);
        for n in 0..1000 {
            let at = now + ms(100 * n);
            assert_eq!(pace.take(at, len, 10, at), at, "change {n}");
        }
    }

    #[test]
    fn in_a_large_network_two_changes_go_at_once_and_then_one_a_second() {
        let (now, len) = (start(), 264);
        let mut pace = Pace::new(now);
        let mut stated = 0;
        let mut changed = now;
        for n in 0..100 {
            let at = now + ms(100 * n);
            if pace.take(at, len, 1000, changed) <= at {
                stated += 1;
                changed = at + ms(100);
            }
            if n == 9 {
                assert!((2..=3).contains(&stated), "{stated} in the first second");
            }
        }
        assert!((9..=12).contains(&stated), "{stated} in ten seconds");
    }

    #[test]
    fn a_hub_that_states_more_than_the_allowance_waits_two_seconds_at_most() {
        let now = start();
        let mut pace = Pace::new(now);
        assert_eq!(pace.take(now, 14_000, 1000, now), now);
        assert_eq!(pace.take(now + ms(100), 14_000, 1000, now + ms(100)), now + ms(2100));
        assert_eq!(pace.take(now + ms(2100), 14_000, 1000, now + ms(100)), now + ms(2100));
        assert!(
            pace.take(now + ms(2101), 100, 10, now + ms(2101)) > now + ms(2101),
            "the allowance is used up"
        );
    }

    proptest! {
        #[test]
        fn who_waits_as_long_as_told_may_state(
            lens in proptest::collection::vec((0usize..70_000, 0usize..5000, 0u64..3000), 1..20),
        ) {
            let mut now = start();
            let mut pace = Pace::new(now);
            for (len, peers, pause) in lens {
                now += ms(pause);
                let changed = now;
                let at = pace.take(now, len, peers, changed);
                prop_assert!(at <= changed + longest(len));
                if at > now {
                    // To the millisecond: what is less may take one more look.
                    now = at + ms(1);
                    prop_assert!(pace.take(now, len, peers, changed) <= now);
                }
            }
        }
    }
}
