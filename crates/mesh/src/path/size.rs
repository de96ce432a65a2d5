//! How long records may be on the way in use: searched for, watched, and tried again (P4.11; after RFC 8899).
//!
//! A search asks about several lengths at once, and then about those between the longest that passes and the shortest that
//! does not, until there is nothing in between. What is answered counts at once; only silence has to be waited for. That a length
//! does not pass any more is believed when it stays unanswered again and again while short records are answered: a record that
//! gets lost now and then is no narrow way, and a way that answers nothing is the affair of the rounds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ResizeCause;

/// Lengths asked about at once.
const AT_ONCE: u16 = 8;
/// How often a length is asked about before it is taken for too long (RFC 8899 section 5.1.2, MAX_PROBES).
const ASKED: u8 = 3;
/// From the end of a search to the next try to grow.
const GROW: Duration = Duration::from_secs(60);
/// How long an answer is waited for at least, and at most.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// Repetitions, so far apart, before a length that passed before is taken for too long. Where one record in ten gets lost all of
/// them do once in months.
const TRIES: u8 = 7;
const TRY_GAP: Duration = Duration::from_millis(100);
/// Short records that have to be answered meanwhile.
const HEARD: u8 = 4;

/// The longest record that passes.
#[derive(Debug)]
pub(super) struct Size {
    base: u16,
    full: u16,
    passes: u16,
    /// Answers to what was sent before are of another way.
    since: Option<Instant>,
    search: Option<Search>,
    /// Why there is one, or was the last.
    cause: ResizeCause,
    check: Option<Check>,
    grow_at: Option<Instant>,
    /// Of the way, as known last.
    rtt: Duration,
    out: VecDeque<u16>,
}

/// A step of the search.
#[derive(Debug)]
struct Search {
    /// The shortest that is taken not to pass; more than the full length as long as none is.
    fails: u16,
    /// Those asked about in this step, the shortest first.
    asked: Vec<u16>,
    /// How often each step asks, and how often this one still may.
    times: u8,
    left: u8,
    /// When answers are no longer waited for.
    ends: Instant,
}

/// Whether a length that passed before still does.
#[derive(Debug, Clone, Copy)]
struct Check {
    since: Instant,
    /// Repetitions sent.
    tries: u8,
    /// Short records sent since then that were answered.
    heard: u8,
    due: Instant,
}

impl Size {
    /// Nothing is known yet. What of `base` bytes does not pass is no way.
    pub(super) const fn new(base: u16, full: u16) -> Self {
        Self {
            base,
            full,
            passes: base,
            since: None,
            search: None,
            cause: ResizeCause::NewWay,
            check: None,
            grow_at: None,
            rtt: Duration::ZERO,
            out: VecDeque::new(),
        }
    }

    /// The longest record that passes.
    pub(super) const fn passes(&self) -> u16 {
        self.passes
    }

    pub(super) const fn is_full(&self) -> bool {
        self.passes >= self.full
    }

    /// How it came to that.
    pub(super) const fn cause(&self) -> ResizeCause {
        self.cause
    }

    /// Whether a longer one is being looked for.
    pub(super) const fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Whether what passed may not pass any more, or was found not to a moment ago.
    pub(super) const fn is_doubted(&self) -> bool {
        let repeated = if let Some(check) = &self.check { check.tries > 0 } else { false };
        repeated || self.search.is_some()
    }

    /// Another way is in use, or none was before; a record of this length has passed it.
    pub(super) fn start(&mut self, now: Instant, passes: u16, rtt: Duration) {
        self.stop();
        (self.since, self.rtt) = (Some(now), rtt);
        self.passes = passes.clamp(self.base, self.full);
        self.look_for_more(now, ASKED, ResizeCause::NewWay);
    }

    /// Another way is in use that is likely to be like the one before: seen from here only an address has changed.
    pub(super) fn carry_over(&mut self, now: Instant, rtt: Duration) {
        self.stop();
        (self.since, self.rtt) = (Some(now), rtt);
        if self.passes > self.base {
            self.check = Some(Check { since: now, tries: 0, heard: 1, due: now });
        }
        self.look_for_more(now, ASKED, ResizeCause::NewWay);
    }

    /// No way is in use.
    pub(super) fn stop(&mut self) {
        (self.since, self.search, self.check, self.grow_at) = (None, None, None, None);
        self.out.clear();
    }

    /// A probe of this length, sent at that time, was answered on the way in use.
    pub(super) fn answered(&mut self, now: Instant, length: u16, sent_at: Instant, rtt: Duration) {
        let length = length.min(self.full);
        if self.since.is_none() || length < self.base {
            return;
        }
        self.rtt = rtt;
        if let Some(check) = self.check.as_mut().filter(|check| sent_at >= check.since) {
            if length >= self.passes {
                self.check = None;
            } else {
                check.heard = check.heard.saturating_add(1);
            }
        }
        // What was sent before this way was in use, or before it was found too long, proves nothing about now.
        if length <= self.passes || self.since.is_some_and(|since| sent_at < since) {
            return;
        }
        self.passes = length;
        let Some(search) = &mut self.search else {
            return self.look_for_more(now, ASKED, ResizeCause::TriedAgain);
        };
        if length >= search.fails {
            // An answer that came late.
            search.fails = self.full.saturating_add(1);
        }
        if search.asked.last().is_none_or(|&longest| length >= longest) {
            self.step(now);
        }
    }

    /// A probe as long as what passes was sent on the way in use, with a short one.
    pub(super) fn asked(&mut self, now: Instant) {
        if self.passes > self.base && self.check.is_none() {
            self.check = Some(Check { since: now, tries: 0, heard: 0, due: now + self.patience() });
        }
    }

    /// Whether such a probe is not under way now.
    pub(super) const fn may_be_asked(&self) -> bool {
        self.since.is_some() && self.passes > self.base && self.check.is_none()
    }

    /// This host itself takes no record of this length.
    pub(super) fn refused(&mut self, now: Instant, length: u16) {
        if self.since.is_none() || length <= self.base {
            return;
        }
        if length <= self.passes {
            self.shrink(now, ResizeCause::Refused(length));
        }
        if let Some(search) = &mut self.search {
            search.fails = search.fails.min(length);
            search.asked.retain(|&asked| asked < length);
            self.out.retain(|&asked| asked < length);
            if search.asked.last().is_none_or(|&longest| longest <= self.passes) {
                self.step(now);
            }
        }
    }

    /// Looks for more at once.
    pub(super) fn grow(&mut self, now: Instant) {
        if self.since.is_some() && self.search.is_none() {
            self.look_for_more(now, ASKED, ResizeCause::TriedAgain);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(check) = self.check.filter(|check| now >= check.due) {
            self.check = self.go_on(now, check);
        }
        if self.grow_at.is_some_and(|at| now >= at) {
            // Once only: mostly it is in vain.
            self.look_for_more(now, 1, ResizeCause::TriedAgain);
        }
        let Some(search) = self.search.as_mut().filter(|search| now >= search.ends) else { return };
        if search.left == 0 {
            let passes = self.passes;
            search.fails = search.asked.iter().copied().find(|&asked| asked > passes).unwrap_or(search.fails);
            self.step(now);
        } else {
            search.left -= 1;
            self.ask(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let check = self.check.map(|check| check.due);
        let search = self.search.as_ref().map(|search| search.ends);
        check.into_iter().chain(search).chain(self.grow_at).min()
    }

    /// The length of the next probe to send on the way in use.
    pub(super) fn poll_length(&mut self) -> Option<u16> {
        self.out.pop_front()
    }

    /// What becomes of a check whose time has come.
    fn go_on(&mut self, now: Instant, mut check: Check) -> Option<Check> {
        if check.tries == 0 && check.heard == 0 {
            return None;
        }
        if check.tries < TRIES {
            self.out.extend([self.passes, self.base]);
            check.tries += 1;
            check.due = now + if check.tries < TRIES { TRY_GAP } else { TRY_GAP.max(self.patience()) };
            return Some(check);
        }
        if check.heard >= HEARD {
            self.shrink(now, ResizeCause::Vanished(self.passes));
        }
        None
    }

    /// What passed does not any more.
    fn shrink(&mut self, now: Instant, cause: ResizeCause) {
        (self.since, self.check, self.search) = (Some(now), None, None);
        self.passes = self.base;
        self.out.clear();
        self.look_for_more(now, ASKED, cause);
    }

    fn look_for_more(&mut self, now: Instant, times: u8, cause: ResizeCause) {
        (self.grow_at, self.cause) = (None, cause);
        self.search =
            Some(Search { fails: self.full.saturating_add(1), asked: Vec::new(), times, left: 0, ends: now });
        self.step(now);
    }

    /// Asks about what is between the longest that passes and the shortest that does not, if there is something.
    fn step(&mut self, now: Instant) {
        let Some(search) = &mut self.search else { return };
        let (lowest, highest) = (self.passes, search.fails.saturating_sub(1).min(self.full));
        if highest <= lowest {
            self.search = None;
            self.grow_at = (!self.is_full()).then(|| now + GROW);
            return;
        }
        let (room, steps) = (u32::from(highest - lowest), u32::from(AT_ONCE.min(highest - lowest)));
        // No more than `room`, which has 16 bits.
        search.asked = (1..=steps).map(|n| lowest + (room * n / steps) as u16).collect();
        search.left = search.times.saturating_sub(1);
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        let patience = self.patience();
        let Some(search) = &mut self.search else { return };
        search.ends = now + patience;
        self.out.extend(search.asked.iter().rev().filter(|&&asked| asked > self.passes));
    }

    fn patience(&self) -> Duration {
        self.rtt.saturating_mul(2).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }
}
