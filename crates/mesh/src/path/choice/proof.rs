//! What a path that failed has to show before frames return to it: answers to small probes in a row.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From probe to probe.
pub(super) const PACE: Duration = Duration::from_millis(200);
/// A probe that is not answered for the longer of this and so many round trips is lost.
const LATE: (Duration, u32) = (Duration::from_secs(1), 4);
/// Of a path that broke and is back: the latest so many probes, of which so many may be lost. One that loses one record in twenty
/// each way passes at once nine times in ten.
const BACK: Demand = Demand { probes: 10, lost: 2 };
/// Of a path that was far worse than the link: so many, of which so many may be lost. One that loses one in ten fails.
const BETTER: Demand = Demand { probes: 60, lost: 3 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Demand {
    probes: usize,
    lost: usize,
}

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is still open.
    Open,
    /// The path has proved itself.
    Passed,
    /// It has not.
    Failed,
}

/// The probes of one proof.
#[derive(Debug)]
pub(super) struct Proof {
    is_strict: bool,
    next_at: Instant,
    /// Not answered yet: token, and when it was sent.
    pending: VecDeque<(u64, Instant)>,
    /// Whether each of the latest was answered.
    outcomes: VecDeque<bool>,
}

impl Proof {
    /// Of a path that was worse than the link (`is_strict`), or of one that did not work.
    pub(super) const fn new(now: Instant, is_strict: bool) -> Self {
        Self { is_strict, next_at: now, pending: VecDeque::new(), outcomes: VecDeque::new() }
    }

    const fn demand(&self) -> Demand {
        if self.is_strict { BETTER } else { BACK }
    }

    /// When the next probe is due.
    pub(super) const fn next_at(&self) -> Instant {
        self.next_at
    }

    /// A probe goes out.
    pub(super) fn asked(&mut self, now: Instant, token: u64) {
        self.next_at = now + PACE;
        self.pending.push_back((token, now));
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, token: u64) {
        if let Some(at) = self.pending.iter().position(|(pending, _)| *pending == token) {
            self.pending.remove(at);
            self.take(true);
        }
    }

    /// Looks how it goes.
    pub(super) fn progress(&mut self, now: Instant, rtt: Duration) -> Progress {
        let late = LATE.0.max(rtt.saturating_mul(LATE.1));
        while self.pending.pop_front_if(|(_, at)| now >= *at + late).is_some() {
            self.take(false);
        }
        let Demand { probes, lost } = self.demand();
        let lost_so_far = self.outcomes.iter().filter(|answered| !**answered).count();
        if self.is_strict && lost_so_far > lost {
            Progress::Failed
        } else if self.outcomes.len() == probes && lost_so_far <= lost {
            Progress::Passed
        } else {
            Progress::Open
        }
    }

    fn take(&mut self, answered: bool) {
        if self.outcomes.len() == self.demand().probes {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(answered);
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answered = self.outcomes.iter().filter(|answered| **answered).count();
        write!(f, "{answered} of {} probes answered, {} wanted", self.outcomes.len(), self.demand().probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const RTT: Duration = Duration::from_millis(10);

    /// Probes one after the other until it is over, of which those are lost; gives how long it took.
    fn run(is_strict: bool, is_lost: impl Fn(u64) -> bool) -> (Progress, Duration) {
        let begin = start();
        let mut proof = Proof::new(begin, is_strict);
        let mut now = begin;
        for token in 0..200 {
            proof.asked(now, token);
            if !is_lost(token) {
                proof.answered(token);
            }
            match proof.progress(now, RTT) {
                Progress::Open => now = proof.next_at(),
                over => return (over, now - begin),
            }
        }
        (Progress::Open, now - begin)
    }

    #[test]
    fn a_clean_path_is_back_in_two_seconds_and_better_in_twelve() {
        assert_eq!(run(false, |_| false), (Progress::Passed, PACE * 9));
        assert_eq!(run(true, |_| false), (Progress::Passed, PACE * 59));
    }

    #[test]
    fn losses_delay_the_one_and_end_the_other() {
        let (progress, took) = run(false, |n| n < 5);
        assert!(progress == Progress::Passed && took < PACE * 20, "{took:?}");
        assert_eq!(run(false, |n| n % 3 == 0).0, Progress::Open, "for ever");
        assert_eq!(run(true, |n| n % 25 == 0).0, Progress::Passed);
        assert_eq!(run(true, |n| n % 10 == 0).0, Progress::Failed);
    }

    #[test]
    fn an_answer_that_comes_late_or_twice_does_not_count() {
        let now = start();
        let mut proof = Proof::new(now, false);
        proof.asked(now, 7);
        assert_eq!(proof.progress(now + LATE.0, RTT), Progress::Open);
        proof.answered(7);
        proof.asked(now, 8);
        proof.answered(8);
        proof.answered(8);
        assert_eq!(proof.to_string(), "1 of 2 probes answered, 10 wanted");
    }
}
