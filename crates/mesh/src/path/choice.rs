//! Which way frames to one peer take: its path over UDP, or the other one there is, the link or a relay.
//!
//! [`PathProber`](crate::PathProber) says whether the path works at all. That is known for certain only seconds after it broke, so:
//!
//! | the path | frames take |
//! |---|---|
//! | works | it |
//! | leaves probes unanswered, while frames go out and none come in | both, and the receiver drops what it has had (P4.4) |
//! | does not work | the other |
//! | works again | the other, until a row of probes was answered |
//! | loses or delays far more than the link | the other, for a while that grows from time to time; then it has to prove itself |
//!
//! The first path that comes up is taken at once. Where there is no other way, a path that works is never left.

mod doubt;
mod loss;
mod proof;
mod setback;

use std::time::{Duration, Instant};

use doubt::Doubt;
use loss::Loss;
pub use loss::{Lost, Sample};
use proof::{Progress, Proof};
use setback::{Setback, Setbacks};

/// How often counts are looked at while frames go out.
const LOOK: Duration = Duration::from_millis(250);
/// From probe to probe while frames go out.
const PACE: Duration = Duration::from_millis(500);
/// A path is far worse than the link when its round trips take so many times as long, and so much more, for so long.
const SLOWER: u32 = 3;
const SLOWER_BY: Duration = Duration::from_millis(50);
const SLOW_FOR: Duration = Duration::from_secs(10);
/// It may return when they take no more than so many times as long, and so much more.
const FAIR: u32 = 2;
const FAIR_BY: Duration = Duration::from_millis(30);
/// A probe that is wanted at once waits for so long after another.
const SOONEST: Duration = Duration::from_millis(100);
/// For so long after a path was in doubt and answered, what others say counts for nothing: two ends shall not keep each other in
/// doubt, nor shall anybody else.
const ASSURED: Duration = Duration::from_secs(5);
/// Tokens of these probes. Nobody has to be kept from guessing them: an answer is authentic, and proves no path.
const FIRST_TOKEN: u64 = 1 << 63;

/// What else there is for frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// Nothing.
    Nothing,
    /// The link.
    Link,
    /// Peers in between. What they would lose is not known, so a path that works is never worse.
    Relay,
}

/// What frames take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The path over UDP.
    Udp,
    /// That and the other one.
    Both,
    /// The other one.
    Other,
}

/// Why frames take what they take, of a bounded number of reasons: for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// UDP has not worked yet.
    Untried,
    /// It answered for the first time.
    Answered,
    /// It did not answer any more.
    Silent,
    /// The system says that the peer cannot be reached.
    Unreachable,
    /// It lost too much.
    Lossy,
    /// It took too long.
    Slow,
    /// It proved itself after one of these.
    Proven,
}

impl Cause {
    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Answered => "answered",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Lossy => "lossy",
            Self::Slow => "slow",
            Self::Proven => "proven",
        }
    }
}

#[derive(Debug)]
enum State {
    /// The path does not work.
    Down,
    /// It is left alone until then.
    Resting(Instant),
    Proving(Proof),
    Used,
}

/// Decides for one peer.
#[derive(Debug)]
pub struct Choice {
    other: Other,
    state: State,
    cause: Cause,
    /// Since when frames take what they take, but for both ways.
    since: Instant,
    doubt: Doubt,
    loss: Loss,
    /// What it lost, or how slow it was, when it was last found to be worse than the link.
    verdict: Option<String>,
    slow_since: Option<Instant>,
    /// It was worse than the link and has to show that it is not.
    is_strict: bool,
    setbacks: Setbacks,
    rtt: Duration,
    link_rtt: Option<Duration>,
    /// When timers were looked at last.
    timed_at: Instant,
    /// Records with frames that went out and came in until the last look.
    traffic: (u64, u64),
    looked_at: Option<Instant>,
    /// Frames went out between the last two looks.
    is_active: bool,
    token: u64,
    asked_at: Option<Instant>,
    /// A probe is due at once.
    in_haste: bool,
    /// The prober shall begin a round.
    wants_round: bool,
    /// Until when it counts for nothing what others say.
    assured_until: Option<Instant>,
    doubts: u64,
}

impl Choice {
    /// Nothing is known of the path yet.
    pub fn new(now: Instant, other: Other) -> Self {
        Self {
            other,
            state: State::Down,
            cause: Cause::Untried,
            since: now,
            doubt: Doubt::default(),
            loss: Loss::default(),
            verdict: None,
            slow_since: None,
            is_strict: false,
            setbacks: Setbacks::default(),
            rtt: Duration::ZERO,
            link_rtt: None,
            timed_at: now,
            traffic: (0, 0),
            looked_at: None,
            is_active: false,
            token: FIRST_TOKEN,
            asked_at: None,
            in_haste: false,
            wants_round: false,
            assured_until: None,
            doubts: 0,
        }
    }

    /// What the prober says: the path's round-trip time if it works. If not, `is_unreachable` tells that the system says so.
    pub fn handle_path(&mut self, now: Instant, rtt: Option<Duration>, is_unreachable: bool) {
        match (rtt, &self.state) {
            (Some(rtt), State::Down) => {
                self.rtt = rtt;
                self.doubt.clear();
                self.loss.clear();
                if self.cause == Cause::Untried || self.other == Other::Nothing {
                    self.take_up(now, Cause::Answered);
                } else {
                    self.wait_or_prove(now);
                }
            }
            (Some(rtt), _) => self.rtt = rtt,
            (None, State::Down) => {}
            (None, before) => {
                if matches!(before, State::Used) {
                    self.setbacks.add(now, Setback::Broke);
                    self.cause = if is_unreachable { Cause::Unreachable } else { Cause::Silent };
                    self.since = now;
                }
                self.doubt.clear();
                self.state = State::Down;
            }
        }
        self.handle_timeout(now);
    }

    /// A probe goes out, whoever wants it.
    pub fn handle_probe(&mut self, now: Instant) {
        self.asked_at = Some(now);
        self.doubt.asked(now);
    }

    /// A probe was answered that had been sent then.
    pub fn handle_answer(&mut self, now: Instant, token: u64, sent_at: Instant) {
        self.doubt.answered(sent_at);
        if let State::Proving(proof) = &mut self.state {
            proof.answered(token);
        }
        self.handle_timeout(now);
    }

    /// What had been sent and had arrived when a probe did, while frames took this path alone.
    pub fn handle_sample(&mut self, now: Instant, sample: Sample) {
        // A record that came by the other way as well did not arrive by this one, for all that the counts tell.
        if self.way() != Way::Udp {
            return self.loss.interrupt();
        }
        if let Some(lost) = self.loss.take(sample)
            && self.other == Other::Link
        {
            self.reject(now, Cause::Lossy, format!("UDP lost {lost}"));
        }
    }

    /// What was counted so far tells nothing: records were lost because they were too long.
    pub fn forget_counts(&mut self) {
        self.loss.interrupt();
    }

    /// So many records with frames went out and came in on this path so far: once a second, and when it is due.
    pub fn handle_look(&mut self, now: Instant, sent: u64, opened: u64) {
        let (sent_before, opened_before) = std::mem::replace(&mut self.traffic, (sent, opened));
        self.is_active = sent != sent_before && self.looked_at.is_some();
        if opened != opened_before {
            self.doubt.heard(now);
        }
        self.looked_at = Some(now);
        self.handle_timeout(now);
    }

    /// The link's round-trip time, as far as it is known.
    pub fn handle_link(&mut self, now: Instant, rtt: Option<Duration>) {
        self.link_rtt = rtt;
        let slow = self.is_used() && self.other == Other::Link && rtt.is_some_and(|link| self.is_slow(link));
        self.slow_since = slow.then(|| self.slow_since.unwrap_or(now));
        if self.slow_since.is_some_and(|since| now >= since + SLOW_FOR) {
            let link = rtt.unwrap_or_default().as_millis();
            let text =
                format!("round trips over UDP took {} ms, over the link {link} ms", self.rtt.as_millis());
            self.reject(now, Cause::Slow, text);
        }
    }

    /// The path may not work any more: the system refused a record, or this host slept.
    pub fn handle_alarm(&mut self, now: Instant) {
        if self.is_used() {
            self.doubt.alarm(now);
            self.in_haste = true;
            self.handle_timeout(now);
        }
    }

    /// Somebody says that the path does not work. Records of it came by the other way: the peer is in doubt, so our answers may be
    /// lost too. Or somebody on the way says that the peer cannot be reached (ICMP), which anybody can say.
    pub fn handle_hint(&mut self, now: Instant) {
        if self.doubt.since().is_none() && self.assured_until.is_none_or(|until| now >= until) {
            self.handle_alarm(now);
        }
    }

    /// The network changed: a path that was found bad is tried anew.
    pub fn restart(&mut self, now: Instant) {
        self.setbacks.excuse();
        if matches!(self.state, State::Resting(_)) {
            self.wait_or_prove(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.timed_at = now;
        match &mut self.state {
            State::Down => {}
            State::Resting(until) => {
                if now >= *until {
                    self.wait_or_prove(now);
                }
            }
            State::Proving(proof) => match proof.progress(now, self.rtt) {
                Progress::Open => {}
                Progress::Passed
                    if self.is_strict && self.link_rtt.is_some_and(|link| !self.is_fair(link)) =>
                {
                    self.fail_again(now);
                }
                Progress::Passed => self.take_up(now, Cause::Proven),
                Progress::Failed => self.fail_again(now),
            },
            State::Used => {
                let before = self.doubt.since();
                if self.doubt.update(now, self.rtt) {
                    self.doubts += 1;
                    (self.in_haste, self.wants_round) = (true, true);
                    self.loss.interrupt();
                } else if before.is_some() && self.doubt.since().is_none() {
                    self.assured_until = Some(now + ASSURED);
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`handle_look`](Self::handle_look) is due, or a probe.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Down => None,
            State::Resting(until) => Some(*until),
            State::Proving(proof) => Some(proof.next_at()),
            State::Used => {
                let look = self.looked_at.filter(|_| self.is_active).map(|at| at + LOOK);
                let haste = self.in_haste.then(|| self.asked_at.map_or(self.timed_at, |at| at + SOONEST));
                look.into_iter().chain(self.doubt.next(self.timed_at, self.rtt)).chain(haste).min()
            }
        }
    }

    /// Whether counts are to be looked at.
    pub fn wants_look(&self, now: Instant) -> bool {
        self.is_active && self.looked_at.is_none_or(|at| now >= at + LOOK)
    }

    /// The token of a small probe to be sent now, if one is due.
    pub fn poll_probe(&mut self, now: Instant) -> Option<u64> {
        let since_last = |gap| self.asked_at.is_none_or(|at| now >= at + gap);
        let is_due = match &self.state {
            State::Down | State::Resting(_) => false,
            State::Proving(proof) => proof.next_at() <= now,
            State::Used if self.in_haste => since_last(SOONEST),
            State::Used => since_last(PACE) && (self.is_active || self.doubt.since().is_some()),
        };
        if !is_due {
            return None;
        }
        self.in_haste = false;
        self.token = self.token.wrapping_add(1).max(FIRST_TOKEN);
        if let State::Proving(proof) = &mut self.state {
            proof.asked(now, self.token);
        }
        self.handle_probe(now);
        Some(self.token)
    }

    /// Whether the prober shall ask again at once; asked once.
    pub const fn take_round(&mut self) -> bool {
        std::mem::replace(&mut self.wants_round, false)
    }

    /// What frames take.
    pub const fn way(&self) -> Way {
        match (&self.state, self.doubt.since(), self.other) {
            (State::Used, None, _) | (State::Used, _, Other::Nothing) => Way::Udp,
            (State::Used, Some(_), _) => Way::Both,
            _ => Way::Other,
        }
    }

    /// Whether frames take another way, and lose nothing if they stay there for a moment longer.
    pub fn can_wait(&self) -> bool {
        self.way() == Way::Other && self.other != Other::Nothing
    }

    /// Why frames take it.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// What the choice adds to what the prober says, for people.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            State::Down => None,
            State::Resting(_) => {
                let why = self.verdict.as_deref().unwrap_or("UDP broke again and again");
                Some(format!("{why}: it is tried again from time to time"))
            }
            State::Proving(proof) => Some(format!("UDP works again and has to prove itself: {proof}")),
            State::Used if self.doubt.since().is_some() => {
                Some("no answer over UDP at the moment: frames go both ways".to_owned())
            }
            State::Used if self.cause == Cause::Proven => {
                Some("UDP works again and has proved itself".to_owned())
            }
            State::Used => None,
        }
    }

    /// All that is known, for people: one line each.
    pub fn story(&self, now: Instant) -> Vec<String> {
        let secs = |at: Instant| now.saturating_duration_since(at).as_secs();
        let mut lines = Vec::new();
        if let Some(since) = self.doubt.since().filter(|_| self.is_used()) {
            let silent = self.doubt.silent_for(now).unwrap_or_default().as_secs_f64();
            lines.push(format!("in doubt for {} s, probes unanswered for {silent:.1} s", secs(since)));
        }
        if let State::Resting(until) = self.state {
            lines.push(format!("tried again in {} s", until.saturating_duration_since(now).as_secs()));
        }
        if let Some((at, lost)) = self.loss.latest() {
            lines.push(format!("lost {lost} in the seconds before {} s ago", secs(at)));
        }
        if self.cause != Cause::Untried {
            let what = if self.is_used() { "frames take UDP" } else { "frames do not take UDP" };
            lines.push(format!("{what} since {} s ago ({})", secs(self.since), self.cause.name()));
        }
        if self.doubts > 0 {
            lines.push(format!("in doubt {} times so far", self.doubts));
        }
        lines
    }

    /// How often there was doubt.
    pub const fn doubts(&self) -> u64 {
        self.doubts
    }

    const fn is_used(&self) -> bool {
        matches!(self.state, State::Used)
    }

    fn is_slow(&self, link: Duration) -> bool {
        self.rtt > link.saturating_mul(SLOWER).saturating_add(SLOWER_BY)
    }

    fn is_fair(&self, link: Duration) -> bool {
        self.rtt <= link.saturating_mul(FAIR).saturating_add(FAIR_BY)
    }

    fn take_up(&mut self, now: Instant, cause: Cause) {
        self.state = State::Used;
        (self.cause, self.since, self.is_strict, self.slow_since) = (cause, now, false, None);
        self.setbacks.used(now);
        self.doubt.clear();
        self.loss.clear();
    }

    /// It is far worse than the link.
    fn reject(&mut self, now: Instant, cause: Cause, verdict: String) {
        (self.cause, self.since, self.verdict) = (cause, now, Some(verdict));
        (self.is_strict, self.slow_since) = (true, None);
        self.fail_again(now);
    }

    fn fail_again(&mut self, now: Instant) {
        self.setbacks.add(now, Setback::Worse);
        self.wait_or_prove(now);
    }

    fn wait_or_prove(&mut self, now: Instant) {
        self.state = match self.setbacks.rests_until(now) {
            Some(until) => State::Resting(until),
            None => State::Proving(Proof::new(now, self.is_strict)),
        };
    }
}
