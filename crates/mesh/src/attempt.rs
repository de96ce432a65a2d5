//! The tries to reach one target or one address: when the next is due, and what the last one met.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use wire::RefuseCode;

use crate::backoff::Backoff;
use crate::mesh::{DialId, LinkId};
use crate::view::ConnectionState;

/// A link that lived longer than this proved the way to be good: it is dialled again at once when it is lost.
const PROVEN_AFTER: Duration = Duration::from_secs(60);
/// After this many failures in a row the way is held for closed: one may be chance.
const CLOSED_AFTER: u32 = 2;

/// What a link was worth that is lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// For so long it was up.
    pub(crate) lived: Duration,
    /// It had worked, and then one end heard nothing any more: a way that became too narrow for its segments looks like that, and short
    /// ones (P2.12) may pass.
    pub(crate) fell_silent: bool,
}

/// Why there is no link (any more).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    /// For people.
    pub(crate) reason: &'a str,
    /// When the other end refused.
    pub(crate) code: Option<RefuseCode>,
}

/// The tries to reach one target or one address.
#[derive(Debug)]
pub(crate) struct Attempt {
    progress: Progress,
    /// When the last try began.
    begun: Option<Instant>,
    backoff: Backoff,
    error: Option<String>,
    is_final: bool,
    /// Failures in a row.
    failures: u32,
    /// The last one was that the other end has all its links.
    is_full: bool,
    /// A young link that fell silent was dialled again at once, and none lived long since then.
    hurried: bool,
    /// Where the last try went.
    pub(crate) address: Option<SocketAddr>,
}

/// How far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The next try may begin then.
    Due(Instant),
    /// One is under way.
    Dialling(DialId),
    /// It led to this link.
    Linked(LinkId),
    /// It leads to this host itself: no more tries.
    Oneself,
}

impl Attempt {
    /// The first try may begin at `due`.
    pub(crate) const fn new(due: Instant) -> Self {
        Self {
            progress: Progress::Due(due),
            begun: None,
            backoff: Backoff::new(),
            error: None,
            is_final: false,
            failures: 0,
            is_full: false,
            hurried: false,
            address: None,
        }
    }

    pub(crate) const fn progress(&self) -> Progress {
        self.progress
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        if let Progress::Due(at) = self.progress { Some(at) } else { None }
    }

    pub(crate) const fn is_dialling(&self) -> bool {
        matches!(self.progress, Progress::Dialling(_))
    }

    /// Whether it was tried and led nowhere so far: the last try failed, or is under way for so long.
    pub(crate) fn is_vain(&self, now: Instant, patience: Duration) -> bool {
        let is_slow = || self.begun.is_some_and(|begun| now >= begun + patience);
        self.error.is_some() || (self.is_dialling() && is_slow())
    }

    /// Whether only a change on one of the hosts can help.
    pub(crate) const fn is_final(&self) -> bool {
        self.is_final
    }

    /// Whether there is little hope that the next try leads to a link.
    pub(crate) const fn is_closed(&self) -> bool {
        self.failures >= CLOSED_AFTER || self.is_full || self.is_final
    }

    /// Whether the other end had all its links when it was tried last.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// The next try begins no sooner than this.
    pub(crate) fn not_before(&mut self, due: Instant) {
        if let Progress::Due(at) = &mut self.progress {
            *at = due.max(*at);
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(crate) const fn state(&self) -> ConnectionState {
        match self.progress {
            Progress::Dialling(_) => ConnectionState::Connecting,
            Progress::Linked(_) => ConnectionState::Established,
            Progress::Oneself => ConnectionState::Failed,
            Progress::Due(_) if self.error.is_none() => ConnectionState::Waiting,
            Progress::Due(_) if self.is_final => ConnectionState::Failed,
            Progress::Due(_) => ConnectionState::Retrying,
        }
    }

    /// Someone asked for it, or something changed: all that was learned from failures is void.
    pub(crate) fn anew(&mut self, due: Instant) {
        if matches!(self.progress, Progress::Due(_) | Progress::Oneself) {
            *self = Self { address: self.address, ..Self::new(due) };
        }
    }

    pub(crate) const fn begin(&mut self, now: Instant, id: DialId) {
        self.progress = Progress::Dialling(id);
        self.begun = Some(now);
    }

    pub(crate) fn linked(&mut self, link: LinkId) {
        self.progress = Progress::Linked(link);
        self.forgive();
    }

    /// The peer is linked by another way. The next try is due as soon as that is over.
    pub(crate) fn stand_by(&mut self, now: Instant) {
        self.progress = Progress::Due(now);
        self.forgive();
    }

    /// One of the two ends did not need the link (P8.3). That is no failure; but there is no hurry either.
    pub(crate) fn unneeded(&mut self, now: Instant, rng: &mut StdRng) {
        if matches!(self.progress, Progress::Due(_) | Progress::Linked(_)) {
            self.progress = Progress::Due(now + self.backoff.next(rng));
            self.forgive();
        }
    }

    pub(crate) fn oneself(&mut self) {
        self.progress = Progress::Oneself;
        self.error = Some("is this host itself".to_owned());
        self.is_final = true;
    }

    /// A try failed.
    pub(crate) fn failed(&mut self, now: Instant, failure: Failure<'_>, rng: &mut StdRng) {
        self.is_final = failure.code.is_some_and(RefuseCode::is_final);
        self.is_full = failure.code == Some(RefuseCode::LimitReached);
        self.failures = self.failures.saturating_add(1);
        let wait = if self.is_final { self.backoff.longest(rng) } else { self.backoff.next(rng) };
        self.progress = Progress::Due(now + wait);
        self.error = Some(failure.reason.to_owned());
    }

    /// A link to the peer that this leads to was lost.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        past: Past,
        head_start: Duration,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) {
        if matches!(self.progress, Progress::Dialling(_) | Progress::Oneself) {
            return;
        }
        self.failed(now, failure, rng);
        // Who says goodbye is not back at once.
        let goodbye = failure.code == Some(RefuseCode::ShuttingDown);
        if self.is_final || self.is_full || goodbye {
            return;
        }
        let is_proven = past.lived > PROVEN_AFTER;
        if is_proven {
            self.backoff = Backoff::new();
            self.hurried = false;
        }
        if is_proven || past.fell_silent && !self.hurried {
            self.hurried = !is_proven;
            self.failures = 0;
            self.progress = Progress::Due(now + head_start);
        }
    }

    fn forgive(&mut self) {
        self.error = None;
        (self.is_final, self.is_full, self.failures) = (false, false, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;
    use rand::SeedableRng;

    const MINUTE: Duration = Duration::from_secs(60);

    fn failure(code: Option<RefuseCode>) -> Failure<'static> {
        Failure { reason: "said no", code }
    }

    const fn broke(lived: Duration) -> Past {
        Past { lived, fell_silent: false }
    }

    fn wait(a: &Attempt, now: Instant) -> f64 {
        a.due().unwrap().saturating_duration_since(now).as_secs_f64()
    }

    #[test]
    fn a_final_refusal_leads_to_the_longest_wait_and_asking_anew_ends_it() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        a.failed(now, failure(Some(RefuseCode::PasswordWrong)), &mut rng);
        assert!(wait(&a, now) >= 180.0);
        assert_eq!((a.state(), a.error()), (ConnectionState::Failed, Some("said no")));
        a.anew(now);
        assert_eq!((a.state(), a.due()), (ConnectionState::Waiting, Some(now)));
        a.failed(now, failure(Some(RefuseCode::LimitReached)), &mut rng);
        assert!(wait(&a, now) <= 3.0, "the wait begins small again");
        assert_eq!(a.state(), ConnectionState::Retrying);
    }

    #[test]
    fn a_link_that_lived_more_than_a_minute_is_dialled_again_at_once() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        let lost = |a: &mut Attempt, lived, code, rng: &mut StdRng| {
            a.linked(LinkId(1));
            a.lost(now, broke(lived), Duration::ZERO, failure(code), rng);
            wait(a, now)
        };
        assert!(lost(&mut a, MINUTE, None, &mut rng) >= 1.0);
        assert!(lost(&mut a, MINUTE * 2, None, &mut rng) <= 0.0);
        assert!(lost(&mut a, MINUTE * 2, Some(RefuseCode::NotUnderstood), &mut rng) >= 180.0);
    }

    #[test]
    fn short_lived_links_do_not_reset_the_wait() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        for _ in 0..8 {
            a.linked(LinkId(1));
            a.lost(now, broke(Duration::from_secs(1)), Duration::ZERO, failure(None), &mut rng);
        }
        assert!(wait(&a, now) > 17.0, "2 s × 1.5⁷ × 0.5 at the least");
    }

    #[test]
    fn a_young_link_that_fell_silent_is_dialled_at_once_but_not_again_and_again() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        let mut silent = |a: &mut Attempt, lived, code| {
            a.linked(LinkId(1));
            a.lost(now, Past { lived, fell_silent: true }, Duration::ZERO, failure(code), &mut rng);
            wait(a, now)
        };
        let young = Duration::from_secs(9);
        assert!(silent(&mut a, young, None) <= 0.0);
        assert_eq!((a.is_closed(), a.error()), (false, Some("said no")));
        for _ in 0..8 {
            assert!(silent(&mut a, young, Some(RefuseCode::Silent)) >= 1.0);
        }
        assert!(silent(&mut a, young, None) > 17.0, "the wait has grown");
        assert!(silent(&mut a, MINUTE * 2, None) <= 0.0);
        assert!(silent(&mut a, young, Some(RefuseCode::Silent)) <= 0.0, "one lived long since");
        for code in [RefuseCode::NotUnderstood, RefuseCode::LimitReached, RefuseCode::ShuttingDown] {
            assert!(silent(&mut Attempt::new(now), young, Some(code)) >= 1.0, "{code:?}");
        }
    }

    #[test]
    fn a_way_is_closed_after_two_failures_in_a_row_or_when_the_other_end_is_full() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        a.failed(now, failure(None), &mut rng);
        assert!(!a.is_closed());
        a.failed(now, failure(None), &mut rng);
        assert!(a.is_closed());
        a.linked(LinkId(1));
        assert!(!a.is_closed());
        a.lost(now, broke(MINUTE * 2), Duration::ZERO, failure(Some(RefuseCode::LimitReached)), &mut rng);
        assert!(a.is_closed() && a.is_full() && wait(&a, now) >= 1.0);
    }

    #[test]
    fn a_link_that_was_not_needed_was_no_failure_and_waits_longer_each_time() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        for _ in 0..10 {
            a.linked(LinkId(1));
            a.unneeded(now, &mut rng);
            assert_eq!((a.state(), a.is_closed()), (ConnectionState::Waiting, false));
        }
        assert!(wait(&a, now) > 25.0);
        a.begin(now, DialId(1));
        a.unneeded(now, &mut rng);
        assert!(a.is_dialling());
    }

    #[test]
    fn what_is_this_host_itself_is_not_tried_again_until_asked() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let mut a = Attempt::new(now);
        a.oneself();
        a.lost(now, broke(MINUTE * 2), Duration::ZERO, failure(None), &mut rng);
        assert_eq!((a.due(), a.error()), (None, Some("is this host itself")));
        a.anew(now);
        assert_eq!(a.due(), Some(now));
    }

    #[test]
    fn a_try_is_in_vain_when_it_failed_or_takes_too_long() {
        let (now, mut rng) = (start(), StdRng::from_seed([1; 32]));
        let (patience, mut a) = (Duration::from_secs(2), Attempt::new(now));
        assert!(!a.is_vain(now + MINUTE, patience), "it was not tried");
        a.begin(now, DialId(1));
        assert!(!a.is_vain(now + Duration::from_millis(1999), patience));
        assert!(a.is_vain(now + patience, patience));
        a.failed(now, failure(None), &mut rng);
        assert!(a.is_vain(now, patience));
        a.begin(now + MINUTE, DialId(2));
        assert!(a.is_vain(now + MINUTE, patience), "it failed before");
        a.linked(LinkId(1));
        assert!(!a.is_vain(now + MINUTE * 2, patience));
    }

    #[test]
    fn asking_anew_does_not_disturb_a_try_under_way() {
        let now = start();
        let mut a = Attempt::new(now);
        a.begin(now, DialId(4));
        a.anew(now);
        assert_eq!(a.progress(), Progress::Dialling(DialId(4)));
    }
}
