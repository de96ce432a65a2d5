//! Whether it is in doubt that a path works: probes without an answer, and frames that go out while none come in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moments kept at which probes went out: those of some seconds.
const MOMENTS: usize = 16;
/// Probes closer together than this are one moment.
const MOMENT: Duration = Duration::from_millis(50);
/// How long the answers to two moments' probes may be out while nothing else arrives either, and times round-trip time.
const SHORT: (Duration, u32) = (Duration::from_millis(750), 4);
/// The same while frames arrive: then it is only one direction that may be broken, and mostly neither is.
const LONG: (Duration, u32) = (Duration::from_millis(1500), 6);
/// For how long frames that arrived show that others will.
const HEARD: (Duration, u32) = (Duration::from_secs(1), 4);

/// What was asked and not answered.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// When probes went out that are younger than the newest that was answered.
    asked: VecDeque<Instant>,
    /// When the newest probe that was answered had been sent.
    proven_at: Option<Instant>,
    /// When frames were last seen to have arrived.
    heard_at: Option<Instant>,
    /// Something says that the path may not work: only a probe sent later shows that it does.
    alarmed_at: Option<Instant>,
    since: Option<Instant>,
}

impl Doubt {
    pub(super) fn asked(&mut self, now: Instant) {
        if self.asked.back().is_some_and(|last| now < *last + MOMENT) {
            return;
        }
        if self.asked.len() >= MOMENTS {
            // The first tells since when; those in between are of no use.
            self.asked.remove(1);
        }
        self.asked.push_back(now);
    }

    /// A probe that was sent then was answered.
    pub(super) fn answered(&mut self, sent_at: Instant) {
        self.proven_at = self.proven_at.max(Some(sent_at));
        self.asked.retain(|at| *at > sent_at);
    }

    /// Frames arrived.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
    }

    /// The path may not work any more.
    pub(super) fn alarm(&mut self, now: Instant) {
        self.alarmed_at = Some(now);
    }

    /// Begins anew, for a path that just came up or that no frames take.
    pub(super) fn clear(&mut self) {
        *self = Self { proven_at: self.proven_at, ..Self::default() };
    }

    /// Looks again. `true` when doubt begins.
    pub(super) fn update(&mut self, now: Instant, rtt: Duration) -> bool {
        let alarmed = self.alarmed_at.is_some_and(|at| self.proven_at.is_none_or(|proven| proven < at));
        if !alarmed && self.ends_at(now, rtt).is_none_or(|at| now < at) {
            self.since = None;
            self.alarmed_at = None;
            return false;
        }
        self.since.replace(self.since.unwrap_or(now)).is_none()
    }

    /// Since when there is doubt.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// How long ago the newest probe went out that was answered.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.asked.front().map(|at| now.saturating_duration_since(*at))
    }

    /// When to look again although nothing happens.
    pub(super) fn next(&self, now: Instant, rtt: Duration) -> Option<Instant> {
        let quiet = self.heard_at.map(|at| at + most(HEARD, rtt));
        let ends = self.ends_at(now, rtt);
        if self.since.is_some() {
            return None;
        }
        ends.into_iter().chain(quiet.filter(|_| ends.is_some())).filter(|at| *at > now).min()
    }

    /// When confidence ends, as things are.
    fn ends_at(&self, now: Instant, rtt: Duration) -> Option<Instant> {
        let first = self.asked.front().filter(|_| self.asked.len() > 1)?;
        let heard = self.heard_at.is_some_and(|at| now < at + most(HEARD, rtt));
        Some(*first + most(if heard { LONG } else { SHORT }, rtt))
    }
}

fn most((least, times): (Duration, u32), rtt: Duration) -> Duration {
    least.max(rtt.saturating_mul(times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const RTT: Duration = Duration::from_millis(10);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn one_lost_probe_is_no_reason_for_doubt_and_two_moments_are() {
        let (now, mut doubt) = (start(), Doubt::default());
        doubt.asked(now);
        doubt.asked(now + ms(1));
        assert!(!doubt.update(now + ms(5000), RTT), "one round is one moment");
        doubt.asked(now + ms(500));
        assert!(!doubt.update(now + ms(749), RTT));
        assert_eq!(doubt.next(now + ms(749), RTT), Some(now + ms(750)));
        assert!(doubt.update(now + ms(750), RTT));
        assert!(!doubt.update(now + ms(900), RTT), "it began before");
        assert_eq!(doubt.since(), Some(now + ms(750)));
        doubt.answered(now + ms(500));
        assert!(!doubt.update(now + ms(901), RTT));
        assert_eq!((doubt.since(), doubt.next(now + ms(901), RTT)), (None, None));
    }

    #[test]
    fn frames_that_arrive_give_it_more_time_for_as_long_as_they_do() {
        let (now, mut doubt) = (start(), Doubt::default());
        doubt.asked(now);
        doubt.asked(now + ms(500));
        doubt.heard(now + ms(400));
        assert!(!doubt.update(now + ms(1399), RTT));
        assert_eq!(doubt.next(now + ms(1399), RTT), Some(now + ms(1400)));
        assert!(doubt.update(now + ms(1400), RTT));
        doubt.heard(now + ms(1401));
        doubt.update(now + ms(1401), RTT);
        assert_eq!(doubt.since(), None);
        assert!(doubt.update(now + ms(1500), RTT), "answers are out for too long, whatever arrives");
    }

    #[test]
    fn a_long_way_gets_more_time() {
        let (now, mut doubt) = (start(), Doubt::default());
        doubt.asked(now);
        doubt.asked(now + ms(500));
        assert!(!doubt.update(now + ms(1999), ms(500)));
        assert!(doubt.update(now + ms(2000), ms(500)));
    }

    #[test]
    fn an_alarm_ends_with_the_answer_to_a_later_probe() {
        let (now, mut doubt) = (start(), Doubt::default());
        doubt.asked(now);
        doubt.alarm(now + ms(10));
        assert!(doubt.update(now + ms(10), RTT));
        doubt.answered(now);
        doubt.update(now + ms(12), RTT);
        assert!(doubt.since().is_some(), "that was before");
        doubt.asked(now + ms(100));
        doubt.answered(now + ms(100));
        doubt.update(now + ms(110), RTT);
        assert_eq!(doubt.since(), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_tells_since_when() {
        let (now, mut doubt) = (start(), Doubt::default());
        (0..100).for_each(|n| doubt.asked(now + ms(500) * n));
        assert_eq!(doubt.asked.len(), MOMENTS);
        assert_eq!(doubt.silent_for(now + ms(60_000)), Some(ms(60_000)));
    }
}
