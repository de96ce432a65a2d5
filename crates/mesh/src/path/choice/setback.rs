//! How long a path that failed is left alone: a path that fails again and again is tried less and less often.

use std::time::{Duration, Instant};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setback {
    /// It did not work any more.
    Broke,
    /// It worked far worse than the link.
    Worse,
}

/// How long a path is left alone after each of a row of setbacks.
#[derive(Debug)]
struct Row {
    /// The first is shorter where paths break: when it is back it is back.
    first: Duration,
    base: Duration,
    most: Duration,
    /// A path that was used for so long begins a new row.
    over: Duration,
}

const BROKE: Row = Row {
    first: Duration::ZERO,
    base: Duration::from_secs(5),
    most: Duration::from_secs(300),
    over: Duration::from_secs(60),
};
const WORSE: Row = Row {
    first: Duration::from_secs(20),
    base: Duration::from_secs(40),
    most: Duration::from_secs(600),
    over: Duration::from_secs(600),
};
/// Doublings after which every row is at its most.
const DOUBLINGS: u32 = 8;

impl Row {
    /// After so many setbacks before this one.
    fn rest(&self, before: u32) -> Duration {
        match before {
            0 => self.first,
            n => (self.base * (1 << (n - 1).min(DOUBLINGS))).min(self.most),
        }
    }
}

/// The setbacks of one path.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    /// In a row, of each kind.
    broke: u32,
    worse: u32,
    used_since: Option<Instant>,
    rests_until: Option<Instant>,
}

impl Setbacks {
    /// Frames take the path from now on.
    pub(super) const fn used(&mut self, now: Instant) {
        self.used_since = Some(now);
        self.rests_until = None;
    }

    /// One more.
    pub(super) fn add(&mut self, now: Instant, what: Setback) {
        let used = self.used_since.take().map(|since| now.saturating_duration_since(since));
        let (count, row) = match what {
            Setback::Broke => (&mut self.broke, BROKE),
            Setback::Worse => (&mut self.worse, WORSE),
        };
        if used.is_some_and(|used| used >= row.over) {
            *count = 0;
        }
        self.rests_until = self.rests_until.max(Some(now + row.rest(*count)));
        *count = count.saturating_add(1);
    }

    /// The network changed: what was true of the path need not be any more.
    pub(super) const fn excuse(&mut self) {
        self.rests_until = None;
    }

    /// Until when the path is left alone.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.rests_until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    /// How long it rests after each of a row of setbacks, when it was used for so long before each.
    fn rests(what: Setback, used: u64, times: usize) -> Vec<u64> {
        let (mut now, mut setbacks) = (start(), Setbacks::default());
        let mut one = || {
            setbacks.used(now);
            now += Duration::from_secs(used);
            setbacks.add(now, what);
            let rest = setbacks.rests_until(now).map_or(Duration::ZERO, |until| until - now);
            now += rest;
            assert_eq!(setbacks.rests_until(now), None);
            rest.as_secs()
        };
        (0..times).map(|_| one()).collect()
    }

    #[test]
    fn rests_grow_while_it_fails_soon_after_each() {
        assert_eq!(rests(Setback::Broke, 1, 9), [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(rests(Setback::Worse, 1, 7), [20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn a_path_that_was_good_for_long_is_forgiven() {
        assert_eq!(rests(Setback::Broke, 60, 3), [0; 3]);
        assert_eq!(rests(Setback::Worse, 600, 3), [20; 3]);
    }

    #[test]
    fn no_number_of_setbacks_is_too_many() {
        assert_eq!(rests(Setback::Worse, 0, 100)[99], 600);
        let (now, mut setbacks) = (start(), Setbacks::default());
        setbacks.add(now, Setback::Worse);
        setbacks.add(now, Setback::Broke);
        assert_eq!(setbacks.rests_until(now), Some(now + WORSE.first), "the longer one counts");
        setbacks.excuse();
        assert_eq!(setbacks.rests_until(now), None);
    }
}
