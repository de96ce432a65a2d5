//! From a round-trip time to a class of cost (P8.1).
//!
//! Classes instead of times, so that a link is not stated anew with every measurement. They saturate, because beyond a
//! point a long time measures queues and not the way (RFC 9616 section 3), and are left only with some distance, so
//! that a time near a bound does not go back and forth.

use std::time::Duration;

/// The class of everything that takes longer than 128 ms.
pub const MAX_CLASS: u8 = 8;
/// The class of a link that carries control and no frames: its two ends have no transport in common that works. Whatever way there is
/// else is better.
pub const CONTROL_ONLY: u8 = 9;

/// The class of a round-trip time: the least whose bound holds it.
pub fn class(rtt: Duration) -> u8 {
    (0..MAX_CLASS).find(|&c| rtt <= bound(c)).unwrap_or(MAX_CLASS)
}

/// The class after a new smoothed time: the one that was, unless the time is a quarter beyond its bounds.
pub fn next_class(current: u8, rtt: Duration) -> u8 {
    let current = current.min(MAX_CLASS);
    let above = current < MAX_CLASS && rtt > bound(current) * 5 / 4;
    let below = current > 0 && rtt < bound(current - 1) * 3 / 4;
    if above || below { class(rtt) } else { current }
}

/// What a link of this class adds to the cost of a path. The one on top makes a hop cost something even where the time
/// does not. A link without frames weighs more than the fifteen slowest that a path may have.
pub const fn weight(class: u8) -> u32 {
    (1 << if class <= MAX_CLASS { class } else { MAX_CLASS + 5 }) + 1
}

const fn bound(class: u8) -> Duration {
    Duration::from_millis(1 << class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn a_class_holds_up_to_its_bound_and_the_last_holds_the_rest() {
        for (time, expected) in
            [(0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (128_000, 7), (128_001, 8), (60_000_000, 8)]
        {
            assert_eq!(class(us(time)), expected, "{time} µs");
        }
    }

    #[test]
    fn a_class_is_left_only_a_quarter_beyond_its_bounds() {
        // Class 3 holds 4 to 8 ms.
        for (time, expected) in
            [(10_000, 3), (10_001, 4), (3000, 3), (2999, 2), (5000, 3), (500_000, 8), (10, 0)]
        {
            assert_eq!(next_class(3, us(time)), expected, "{time} µs");
        }
        assert_eq!(next_class(8, us(97_000)), 8);
        assert_eq!(next_class(8, us(95_000)), 7);
        assert_eq!(next_class(200, us(200_000)), 8);
    }

    #[test]
    fn weights_double_and_saturate() {
        assert_eq!([0, 1, 7, 8, 9, 255].map(weight), [2, 3, 129, 257, 8193, 8193]);
        assert!(weight(CONTROL_ONLY) > weight(MAX_CLASS) * wire::MAX_HOPS as u32);
    }

    proptest! {
        #[test]
        fn a_class_that_was_just_taken_is_not_left_for_the_same_time(current in 0_u8..12, time in 0_u64..400_000) {
            let first = next_class(current, us(time));
            prop_assert_eq!(next_class(first, us(time)), first);
        }

        #[test]
        fn a_time_that_wavers_by_a_tenth_changes_the_class_at_most_once(
            base in 100_u64..300_000, percent in proptest::collection::vec(95_u64..=105, 1..40),
        ) {
            let (mut now, mut changes) = (class(us(base)), 0);
            for p in percent {
                let next = next_class(now, us(base * p / 100));
                changes += usize::from(next != now);
                now = next;
            }
            prop_assert!(changes <= 1);
        }
    }
}
