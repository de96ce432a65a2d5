//! One session: which of its keys are in use, which are on their way in and out, and when to renew them (P6.3).

use std::time::{Duration, Instant};

/// How long old keys go on opening once both ends use the new ones (P6.3).
pub(super) const OLD_KEYS: Duration = Duration::from_secs(20);
/// A session on which no frame went either way for this long ends (P6.3).
pub(super) const IDLE: Duration = Duration::from_secs(5 * 60);
/// No keys are sealed with for longer than this (P6.3).
pub(super) const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// When who offered the keys offers new ones: early enough for an offer that is lost a few times.
pub(super) const RENEW: Duration = Duration::from_secs(55 * 60);
/// How much later the other end does, should the first not have.
const SECOND: Duration = Duration::from_secs(2 * 60);
/// How soon a renewal is tried again that could not begin or was not answered.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// The same for who answered and does not know yet whether the answer arrived.
const CONFIRM: Duration = Duration::from_secs(5);
/// Frames go out and nothing opens for this long: the other end may have lost the session, and a new offer finds out.
/// A way that carries frames in one direction alone renews its keys every half minute, which is two parcels.
const LISTEN: Duration = Duration::from_secs(20);
/// Frames that go out so soon after something opened are no question that waits for an answer.
const FRESH: Duration = Duration::from_secs(10);
/// Who uses a session that has been idle for nearly as long as ends it cannot know whether the other end still has it.
const NEARLY_IDLE: Duration = Duration::from_secs(4 * 60 + 50);
/// Most indices that still open beside the newest.
const MAX_OLD: usize = 4;

/// One set of keys.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) index: u32,
    since: Instant,
    /// We offered, so that the other end had the keys first.
    offered: bool,
    /// The other end has shown that it has the keys.
    confirmed: bool,
}

impl Epoch {
    /// Keys of an answer that arrived.
    pub(super) const fn offered(now: Instant, index: u32) -> Self {
        Self { index, since: now, offered: true, confirmed: true }
    }

    /// Keys of an answer that we send.
    pub(super) const fn answered(now: Instant, index: u32) -> Self {
        Self { index, since: now, offered: false, confirmed: false }
    }
}

/// The answer that was given last, to be given again to the same offer (P6.2).
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) offer: [u8; 32],
    pub(super) body: Vec<u8>,
}

/// What is agreed on with one peer.
#[derive(Debug)]
pub(super) struct Session {
    /// The run of the other end.
    pub(super) incarnation: u64,
    pub(super) used: Instant,
    pub(super) answered: Option<Answered>,
    /// When something opened last, or keys were agreed on.
    heard: Instant,
    /// Since when frames have gone out without anything coming back.
    unanswered: Option<Instant>,
    renew_at: Instant,
    /// What we seal with.
    current: Epoch,
    /// What we answered with and seal with once the other end does.
    pending: Option<Epoch>,
    /// What still opens, oldest first; until when, if both ends have left it.
    old: Vec<(Epoch, Option<Instant>)>,
}

impl Session {
    pub(super) fn new(now: Instant, incarnation: u64, current: Epoch) -> Self {
        Self {
            incarnation,
            used: now,
            answered: None,
            heard: now,
            unanswered: None,
            renew_at: renewal(&current),
            current,
            pending: None,
            old: Vec::new(),
        }
    }

    /// The other end answered our offer: these are the keys now.
    ///
    /// The old ones open until something opened under the new ones, however long that takes: the other end seals with
    /// the old ones until it hears from us.
    pub(super) fn agreed(&mut self, now: Instant, epoch: Epoch) {
        self.is_heard(now);
        let left = std::mem::replace(&mut self.current, epoch);
        self.old.push((left, None));
        self.old.extend(self.pending.take().map(|left| (left, None)));
        self.renew_at = renewal(&self.current);
    }

    /// We answer an offer of the other end. Whether to seal with its keys at once: not while we have others that the
    /// other end is known to have.
    ///
    /// That is use of the session: were it to end before the answer arrives, nobody could repeat the answer, and the offer is
    /// none that is answered a second time.
    pub(super) fn answer(&mut self, now: Instant, epoch: Epoch) -> bool {
        self.used = self.used.max(now);
        if self.current.confirmed {
            self.old.extend(self.pending.replace(epoch).map(|left| (left, None)));
            return false;
        }
        let left = std::mem::replace(&mut self.current, epoch);
        self.old.push((left, Some(now + OLD_KEYS)));
        self.renew_at = renewal(&self.current);
        true
    }

    /// Records opened under this index. Tells whether to seal with its keys from now on.
    pub(super) fn opened(&mut self, now: Instant, index: u32) -> bool {
        self.is_heard(now);
        if self.pending.as_ref().is_some_and(|p| p.index == index) {
            self.take_up(now);
            self.current.confirmed = true;
            return true;
        }
        if self.current.index == index {
            self.current.confirmed = true;
            for (_, until) in &mut self.old {
                until.get_or_insert(now + OLD_KEYS);
            }
        }
        !self.current.confirmed && self.take_back(now, index)
    }

    /// Frames went either way, or wait to. Tells whether the other end may have lost the session.
    pub(super) fn used(&mut self, now: Instant) -> bool {
        let (patience, fresh) =
            if self.current.confirmed { (LISTEN, FRESH) } else { (CONFIRM, Duration::ZERO) };
        if now >= self.heard + fresh {
            self.unanswered.get_or_insert(now);
        }
        let in_doubt =
            self.unanswered.is_some_and(|since| now >= since + patience) || now >= self.used + NEARLY_IDLE;
        self.used = self.used.max(now);
        if in_doubt {
            self.unanswered = Some(now);
        }
        in_doubt
    }

    /// Puts the end of old keys into effect; gives the indices that open no more, and, when we begin to seal with keys
    /// that we answered with, their index.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> (Vec<u32>, Option<u32>) {
        let mut ended = Vec::new();
        let late = self.old.len().saturating_sub(MAX_OLD);
        ended.extend(self.old.drain(..late).map(|(epoch, _)| epoch.index));
        let over = |(_, until): &mut (Epoch, Option<Instant>)| until.is_some_and(|until| until <= now);
        ended.extend(self.old.extract_if(.., over).map(|(epoch, _)| epoch.index));
        let too_old = now >= self.current.since + MAX_AGE && self.pending.is_some();
        if too_old {
            self.take_up(now);
        }
        (ended, too_old.then_some(self.current.index))
    }

    /// Whether it is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.used + IDLE || now >= self.current.since + MAX_AGE
    }

    /// Whether to offer new keys now; asked again after a minute while that brings none.
    pub(super) fn is_to_be_renewed(&mut self, now: Instant) -> bool {
        let due = now >= self.renew_at;
        if due {
            self.renew_at = now + RENEW_AGAIN;
        }
        due
    }

    /// When to look again.
    pub(super) fn next_due(&self) -> Instant {
        let end = (self.used + IDLE).min(self.current.since + MAX_AGE).min(self.renew_at);
        self.old.iter().filter_map(|(_, until)| *until).fold(end, Instant::min)
    }

    /// All indices that open.
    pub(super) fn indices(&self) -> Vec<u32> {
        let old = self.old.iter().map(|(epoch, _)| epoch);
        old.chain(&self.pending).chain([&self.current]).map(|epoch| epoch.index).collect()
    }

    const fn is_heard(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = None;
    }

    /// Seals again with old keys under which a record opened: the other end has these. Whether it has those that took
    /// their place nobody knows; its offer may have been given up before the answer came.
    fn take_back(&mut self, now: Instant, index: u32) -> bool {
        let is_it = |(epoch, _): &(Epoch, _)| epoch.index == index && now < epoch.since + MAX_AGE;
        let Some(at) = self.old.iter().position(is_it) else { return false };
        let (epoch, _) = self.old.remove(at);
        let doubtful = std::mem::replace(&mut self.current, Epoch { confirmed: true, ..epoch });
        self.old.extend(self.pending.replace(doubtful).map(|left| (left, None)));
        self.renew_at = renewal(&self.current);
        true
    }

    /// Seals with the keys that we answered with.
    fn take_up(&mut self, now: Instant) {
        if let Some(epoch) = self.pending.take() {
            let left = std::mem::replace(&mut self.current, epoch);
            self.old.push((left, None));
            for (_, until) in &mut self.old {
                until.get_or_insert(now + OLD_KEYS);
            }
            self.renew_at = renewal(&self.current);
        }
    }
}

fn renewal(epoch: &Epoch) -> Instant {
    epoch.since + if epoch.offered { RENEW } else { RENEW + SECOND }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    struct Rig {
        start: Instant,
        session: Session,
    }

    impl Rig {
        fn at(&self, s: u64) -> Instant {
            self.start + Duration::from_secs(s)
        }

        /// A session that we offered, with index 1.
        fn offered() -> Self {
            let start = start();
            Self { start, session: Session::new(start, 1, Epoch::offered(start, 1)) }
        }

        fn answered() -> Self {
            let start = start();
            Self { start, session: Session::new(start, 1, Epoch::answered(start, 1)) }
        }

        fn ended(&mut self, s: u64) -> Vec<u32> {
            let now = self.at(s);
            self.session.handle_timeout(now).0
        }
    }

    #[test]
    fn who_offered_opens_with_the_old_keys_until_20_s_after_the_first_record_under_the_new() {
        let mut rig = Rig::offered();
        rig.session.agreed(rig.at(100), Epoch::offered(rig.at(100), 2));
        rig.session.used(rig.at(290));
        assert_eq!(rig.ended(290), []);
        assert!(!rig.session.opened(rig.at(290), 1), "the other end has not heard from us");
        assert!(!rig.session.opened(rig.at(300), 2));
        assert_eq!(rig.session.next_due(), rig.at(320));
        assert_eq!(rig.ended(319), []);
        assert_eq!(rig.ended(320), [1]);
        assert_eq!(rig.session.indices(), [2]);
    }

    #[test]
    fn who_answered_changes_its_keys_with_the_first_record_under_the_new() {
        let mut rig = Rig::offered();
        assert!(!rig.session.answer(rig.at(100), Epoch::answered(rig.at(100), 2)));
        assert!(!rig.session.opened(rig.at(101), 1));
        assert!(rig.session.opened(rig.at(102), 2));
        assert!(!rig.session.opened(rig.at(103), 2), "it is told once");
        assert_eq!(rig.ended(122), [1]);
    }

    #[test]
    fn keys_that_the_other_end_never_had_give_way_at_once() {
        let mut rig = Rig::answered();
        assert!(rig.session.answer(rig.at(1), Epoch::answered(rig.at(1), 2)));
        assert_eq!(rig.ended(21), [1]);
    }

    #[test]
    fn keys_that_the_other_end_has_after_all_are_taken_back() {
        let mut rig = Rig::answered();
        rig.session.answer(rig.at(1), Epoch::answered(rig.at(1), 2));
        assert!(rig.session.opened(rig.at(2), 1), "seal with these again");
        assert_eq!(rig.ended(21), []);
        assert!(!rig.session.opened(rig.at(21), 1));
        assert!(rig.session.opened(rig.at(30), 2), "its record was late");
        assert_eq!(rig.ended(50), [1]);
    }

    #[test]
    fn who_answered_doubts_keys_under_which_nothing_opens() {
        let mut rig = Rig::answered();
        assert!(!rig.session.used(rig.at(40)));
        assert!(!rig.session.used(rig.at(44)));
        assert!(rig.session.used(rig.at(45)));
        rig.session.opened(rig.at(45), 1);
        assert!(!rig.session.used(rig.at(46)));
        assert!(!rig.session.used(rig.at(61)));
    }

    #[test]
    fn doubt_grows_while_nothing_comes_back_and_after_a_long_pause() {
        let mut rig = Rig::offered();
        assert!(!rig.session.used(rig.at(10)));
        assert!(!rig.session.used(rig.at(29)));
        assert!(rig.session.used(rig.at(30)));
        assert!(!rig.session.used(rig.at(41)), "once in 20 s");
        rig.session.opened(rig.at(41), 1);
        rig.session.used(rig.at(50));
        assert!(!rig.session.used(rig.at(330)), "nothing was sent so long after something opened");
        rig.session.opened(rig.at(330), 1);
        assert!(rig.session.used(rig.at(620)));
    }

    #[test]
    fn both_ends_renew_within_the_hour_and_who_offered_is_first() {
        let (mut first, mut second) = (Rig::offered(), Rig::answered());
        assert!(!first.session.is_to_be_renewed(first.at(55 * 60 - 1)));
        assert!(first.session.is_to_be_renewed(first.at(55 * 60)));
        assert!(!first.session.is_to_be_renewed(first.at(56 * 60 - 1)));
        assert!(first.session.is_to_be_renewed(first.at(56 * 60)), "again, as nothing came of it");
        assert!(!second.session.is_to_be_renewed(second.at(57 * 60 - 1)));
        assert!(second.session.is_to_be_renewed(second.at(57 * 60)));
    }

    #[test]
    fn an_hour_is_the_end_of_keys_unless_newer_ones_wait() {
        let mut rig = Rig::offered();
        rig.session.used(rig.at(3599));
        assert!(!rig.session.is_over(rig.at(3599)));
        assert!(rig.session.is_over(rig.at(3600)));
        rig.session.answer(rig.at(3500), Epoch::answered(rig.at(3500), 2));
        assert_eq!(rig.session.handle_timeout(rig.at(3600)), (vec![], Some(2)));
        assert!(!rig.session.is_over(rig.at(3600)));
    }

    #[test]
    fn five_minutes_without_a_frame_are_the_end() {
        let mut rig = Rig::offered();
        rig.session.used(rig.at(100));
        assert!(!rig.session.is_over(rig.at(399)));
        assert_eq!(rig.session.next_due(), rig.at(400));
        assert!(rig.session.is_over(rig.at(400)));
    }

    #[test]
    fn an_offer_that_is_answered_at_the_last_moment_keeps_the_session() {
        let mut rig = Rig::offered();
        rig.session.used(rig.at(100));
        rig.session.answer(rig.at(399), Epoch::answered(rig.at(399), 2));
        assert!(!rig.session.is_over(rig.at(698)));
        assert!(rig.session.is_over(rig.at(699)));
    }

    #[test]
    fn of_old_keys_four_are_kept() {
        let mut rig = Rig::offered();
        for n in 2..9 {
            rig.session.agreed(rig.at(n), Epoch::offered(rig.at(n), n as u32));
        }
        assert_eq!(rig.ended(9), [1, 2, 3]);
        assert_eq!(rig.session.indices(), [4, 5, 6, 7, 8]);
    }
}
