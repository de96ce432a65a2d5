//! What a path loses of the frames that take it (P4.10), and whether that is too much.

use std::time::{Duration, Instant};

/// A window is judged when it is so long and so many records were sent in it: by chance a path that loses one in twenty is then
/// called bad in one window of a hundred, and never in two that follow each other.
const WINDOW: Duration = Duration::from_secs(3);
const ENOUGH: u64 = 100;
/// One that gathers less in this time begins anew.
const STALE: Duration = Duration::from_secs(60);
/// Records of a hundred, lost in each of two windows, from which a path counts as failed.
const BAD: u64 = 10;
/// Lost in one window.
const AWFUL: u64 = 30;
/// A path that brings more records in a second is not far worse than a link, whatever is lost beyond that: somebody floods it.
const PLENTY: u64 = 10_000;

/// What had been sent and what had arrived of it at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When that which was sent had been.
    pub at: Instant,
    /// Records with frames sent by then.
    pub sent: u64,
    /// Those of them that arrived.
    pub opened: u64,
}

/// What became of the records of some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// So many were lost,
    pub lost: u64,
    /// of so many.
    pub sent: u64,
}

impl Lost {
    const fn is_over(self, percent: u64) -> bool {
        self.lost as u128 * 100 > self.sent as u128 * percent as u128
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = self.lost as f64 * 100.0 / self.sent.max(1) as f64;
        write!(f, "{percent:.0} % of {} records", self.sent)
    }
}

/// The records of the path, in windows.
#[derive(Debug, Default)]
pub(super) struct Loss {
    base: Option<Sample>,
    /// The window before was bad.
    bad: bool,
    latest: Option<(Instant, Lost)>,
}

impl Loss {
    /// Takes a sample; gives what was lost if that is too much.
    pub(super) fn take(&mut self, sample: Sample) -> Option<Lost> {
        let window = self.base.and_then(|base| {
            let elapsed = sample.at.checked_duration_since(base.at)?;
            let sent = sample.sent.checked_sub(base.sent)?;
            // Records overtake probes now and then: more may arrive than were sent.
            let opened = sample.opened.checked_sub(base.opened)?.min(sent);
            Some((elapsed, Lost { lost: sent - opened, sent }))
        });
        let Some((elapsed, lost)) = window else {
            self.base = Some(sample);
            return None;
        };
        if elapsed < WINDOW || lost.sent < ENOUGH {
            if elapsed >= STALE {
                self.base = Some(sample);
                self.bad = false;
            }
            return None;
        }
        self.base = Some(sample);
        self.latest = Some((sample.at, lost));
        let arrived = (lost.sent - lost.lost) as f64;
        let is_flooded = arrived > PLENTY as f64 * elapsed.as_secs_f64();
        let was_bad = std::mem::replace(&mut self.bad, lost.is_over(BAD) && !is_flooded);
        (self.bad && (was_bad || lost.is_over(AWFUL))).then_some(lost)
    }

    /// What was counted so far does not belong to what comes.
    pub(super) fn interrupt(&mut self) {
        (self.base, self.bad) = (None, false);
    }

    /// What the last window lost, and when it ended.
    pub(super) const fn latest(&self) -> Option<(Instant, Lost)> {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    /// The verdicts of as many windows, each of three seconds with so many records sent and lost.
    fn verdicts(windows: &[(u64, u64)]) -> Vec<bool> {
        let (mut loss, mut at) = (Loss::default(), start());
        let (mut sent, mut opened) = (1000, 17);
        assert_eq!(loss.take(Sample { at, sent, opened }), None);
        let verdict = |&(records, lost): &(u64, u64)| {
            at += WINDOW;
            (sent, opened) = (sent + records, opened + records - lost);
            loss.take(Sample { at, sent, opened }).is_some()
        };
        windows.iter().map(verdict).collect()
    }

    #[test]
    fn two_bad_windows_or_an_awful_one_are_too_much() {
        assert_eq!(verdicts(&[(100, 10), (100, 10), (100, 10)]), [false; 3], "one in ten is not over it");
        assert_eq!(verdicts(&[(100, 11), (100, 11)]), [false, true]);
        assert_eq!(verdicts(&[(100, 11), (100, 0), (100, 11)]), [false; 3]);
        assert_eq!(verdicts(&[(100, 31)]), [true]);
        assert_eq!(verdicts(&[(99, 90), (99, 0)]), [false, true], "together they are enough");
    }

    #[test]
    fn a_flood_is_no_failure_of_the_path() {
        assert_eq!(verdicts(&[(100_000, 60_000), (100_000, 60_000)]), [false, false]);
        assert_eq!(verdicts(&[(100_000, 75_000)]), [true], "so little does not come of plenty");
    }

    #[test]
    fn what_lies_on_both_sides_of_an_interruption_is_not_compared() {
        let (mut loss, at) = (Loss::default(), start());
        loss.take(Sample { at, sent: 0, opened: 0 });
        loss.interrupt();
        assert_eq!(loss.take(Sample { at: at + WINDOW, sent: 1000, opened: 0 }), None);
        assert_eq!(loss.take(Sample { at: at + WINDOW * 2, sent: 2000, opened: 1000 }), None);
        assert_eq!(loss.latest().unwrap().1, Lost { lost: 0, sent: 1000 });
        assert_eq!(loss.take(Sample { at: at + WINDOW * 3, sent: 10, opened: 0 }), None, "it went backwards");
    }

    #[test]
    fn it_is_told_in_words() {
        assert_eq!(Lost { lost: 31, sent: 200 }.to_string(), "16 % of 200 records");
    }
}
