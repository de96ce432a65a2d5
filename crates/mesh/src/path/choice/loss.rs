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

/// The records of the path, in windows. What lies between samples that follow each other counts; a window may have gaps.
#[derive(Debug, Default)]
pub(super) struct Loss {
    base: Option<Sample>,
    window: Window,
    /// The window before was bad.
    was_bad: bool,
    latest: Option<(Instant, Lost)>,
}

/// What was counted of a window so far.
#[derive(Debug, Default)]
struct Window {
    elapsed: Duration,
    sent: u64,
    /// Records overtake probes now and then: for a moment more may have arrived than were sent.
    opened: u64,
}

impl Window {
    fn add(&mut self, from: &Sample, to: &Sample) -> Option<()> {
        let elapsed = to.at.checked_duration_since(from.at)?;
        let (sent, opened) = (to.sent.checked_sub(from.sent)?, to.opened.checked_sub(from.opened)?);
        self.elapsed = self.elapsed.saturating_add(elapsed);
        self.sent = self.sent.saturating_add(sent);
        self.opened = self.opened.saturating_add(opened);
        Some(())
    }
}

impl Loss {
    /// Takes a sample; gives what was lost if that is too much.
    pub(super) fn take(&mut self, sample: Sample) -> Option<Lost> {
        let base = self.base.replace(sample)?;
        if self.window.add(&base, &sample).is_none()
            || self.window.elapsed >= STALE && self.window.sent < ENOUGH
        {
            // Counts of something else, or of too long ago.
            (self.window, self.was_bad) = (Window::default(), false);
        }
        if self.window.elapsed < WINDOW || self.window.sent < ENOUGH {
            return None;
        }
        let Window { elapsed, sent, opened } = std::mem::take(&mut self.window);
        let lost = Lost { lost: sent.saturating_sub(opened), sent };
        self.latest = Some((sample.at, lost));
        let is_flooded = opened as f64 > PLENTY as f64 * elapsed.as_secs_f64();
        let is_bad = lost.is_over(BAD) && !is_flooded;
        let was_bad = std::mem::replace(&mut self.was_bad, is_bad);
        (is_bad && (was_bad || lost.is_over(AWFUL))).then_some(lost)
    }

    /// What is between the last sample and the next does not count. A path that loses so much that it is in doubt every few seconds
    /// shall be judged all the same.
    pub(super) const fn interrupt(&mut self) {
        self.base = None;
    }

    /// What was counted so far is of another time.
    pub(super) fn clear(&mut self) {
        *self = Self { latest: self.latest, ..Self::default() };
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
    fn a_window_with_gaps_is_judged_and_one_of_another_time_is_not() {
        let (mut loss, mut at, mut sent) = (Loss::default(), start(), 0);
        let mut part = |loss: &mut Loss| {
            loss.interrupt();
            assert_eq!(loss.take(Sample { at, sent, opened: sent }), None);
            (at, sent) = (at + WINDOW / 2, sent + 60);
            let verdict = loss.take(Sample { at, sent, opened: sent - 15 });
            verdict.is_some()
        };
        assert_eq!([0; 4].map(|_| part(&mut loss)), [false, false, false, true], "each two are a window");
        loss.clear();
        assert_eq!([0; 3].map(|_| part(&mut loss)), [false; 3]);
        loss.clear();
        assert_eq!([0; 4].map(|_| part(&mut loss)), [false, false, false, true]);
    }

    #[test]
    fn it_is_told_in_words() {
        assert_eq!(Lost { lost: 31, sent: 200 }.to_string(), "16 % of 200 records");
    }
}
