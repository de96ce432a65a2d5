//! Whether records over UDP reach a neighbour (P4.9).
//!
//! Two probes go out in each round, one of the size of the largest record and one small: if only the small one is
//! answered, something on the way drops what is large, and the path is of no use. Rounds follow each other by 0.5 s
//! until one is answered, then 3 s after that one; so a path survives the loss of six rounds in a row, and is still
//! given up 6.5 s after the last answer.

mod flight;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::links::smooth;
use flight::Flight;

/// From round to round until one is answered (P4.9).
const EAGER: Duration = Duration::from_millis(500);
/// From an answered round to the next (P4.9), and from round to round once nothing was answered for [`PATIENCE`].
const CALM: Duration = Duration::from_secs(3);
/// How long an answer holds: two calm rounds and half a second (P4.9).
const TRUST: Duration = Duration::from_millis(6500);
/// How long rounds stay eager without an answer. Where UDP is blocked it mostly stays so: then a probe each 3 s
/// will do.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds without an answer after which a path that never worked is called down.
const GIVE_UP: u32 = 5;
/// Rounds without an answer after which a rival address is asked again.
const DOUBT: u32 = 2;
/// Most changes kept for a caller that does not take them.
const MAX_EVENTS: usize = 16;
/// Most addresses tried.
const MAX_CANDIDATES: usize = 8;

/// A probe to be sent: a record of exactly `length` bytes to this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Where.
    pub to: SocketAddr,
    /// To come back in the answer; nobody can guess it.
    pub token: u64,
    /// Length of the whole record, in bytes.
    pub length: u16,
}

/// What is known of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// Nothing yet.
    Probing,
    /// Full-size records get through.
    Up {
        /// Smoothed round-trip time.
        rtt: Duration,
        /// Where to.
        address: SocketAddr,
    },
    /// They do not.
    Down,
}

/// The path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEvent {
    /// It works now.
    Up,
    /// It does not work, or not any more.
    Down,
}

/// Probes the path to one neighbour.
#[derive(Debug)]
pub struct PathProber {
    full: u16,
    small: u16,
    long: Option<u16>,
    candidates: Vec<SocketAddr>,
    best: Option<SocketAddr>,
    rival: Option<Rival>,
    state: PathState,
    flight: Flight,
    /// Rounds since the last answer to a full-size probe.
    unanswered: u32,
    answered_at: Option<Instant>,
    /// When the newest probe of each size that was answered had been sent.
    full_sent_at: Option<Instant>,
    small_sent_at: Option<Instant>,
    long_sent_at: Option<Instant>,
    round_at: Option<Instant>,
    next_at: Instant,
    eager_until: Instant,
    unreachable: bool,
    unsent: u32,
    seen: Option<SocketAddr>,
    /// When each address answered last; those that are no candidates any more leave with the next.
    answers: Vec<(SocketAddr, Instant)>,
    transmits: VecDeque<Probe>,
    events: VecDeque<PathEvent>,
}

/// An address that the peer sent from while another one works: it takes over if it is the first of the two to
/// answer.
#[derive(Debug, Clone, Copy)]
struct Rival {
    address: SocketAddr,
    since: Instant,
    declined: bool,
}

impl PathProber {
    /// Probes with records of `full` and `small` bytes, at the addresses where the peer may be.
    pub fn new(now: Instant, seed: [u8; 32], full: u16, small: u16, candidates: Vec<SocketAddr>) -> Self {
        let mut prober = Self {
            full,
            small,
            long: None,
            candidates: Vec::new(),
            best: None,
            rival: None,
            state: PathState::Probing,
            flight: Flight::new(StdRng::from_seed(seed)),
            unanswered: 0,
            answered_at: None,
            full_sent_at: None,
            small_sent_at: None,
            long_sent_at: None,
            round_at: None,
            next_at: now,
            eager_until: now + PATIENCE,
            unreachable: false,
            unsent: 0,
            seen: None,
            answers: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        for address in candidates.into_iter().take(MAX_CANDIDATES) {
            prober.add_candidate(address);
        }
        if prober.candidates.is_empty() {
            prober.go_down(now);
        }
        prober
    }

    /// Also asks, where the path works, whether records of `length` bytes pass: as long as relayed ones get (P6.4). The path is none
    /// the worse for it if they do not.
    #[must_use]
    pub const fn with_long(mut self, length: u16) -> Self {
        self.long = Some(length);
        self
    }

    /// An answer arrived: to the probe with this token, for a record of `length` bytes, which came from `seen` as
    /// the peer sees us. The answer itself came from `from`.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        token: u64,
        length: u16,
        seen: SocketAddr,
        from: SocketAddr,
    ) {
        let Some((probe, sent_at)) = self.flight.take(token) else { return };
        let rtt = now.saturating_duration_since(sent_at);
        // What took this long proves nothing about now, and what arrived shorter than it was sent did not arrive.
        if rtt >= TRUST || length < probe.length {
            return;
        }
        self.seen = Some(seen);
        self.answers.retain(|(address, _)| *address != probe.to && self.candidates.contains(address));
        self.answers.push((probe.to, now));
        if probe.length < self.full {
            self.small_sent_at = self.small_sent_at.max(Some(sent_at));
        } else if probe.length == self.full {
            self.full_answered(now, &probe, sent_at);
        } else {
            self.long_sent_at = self.long_sent_at.max(Some(sent_at));
        }
        if from != probe.to {
            self.handle_address(now, from);
        }
    }

    /// An authenticated record that is no answer came from this address, the newest so far. If it is not the one in
    /// use the peer may have moved (a NAT re-mapped, or it roamed): the address is probed, and takes over if it
    /// answers first.
    pub fn handle_address(&mut self, now: Instant, address: SocketAddr) {
        if self.best == Some(address) || self.rival.is_some_and(|r| r.address == address) {
            return;
        }
        self.add_candidate(address);
        if self.is_up() {
            self.rival = Some(Rival { address, since: now, declined: false });
            self.hurry(now);
        } else {
            // The first record shows that the peer has the keys now; a probe that came too early for it is repeated at
            // once, whatever the pace, and this one time only.
            if self.best.replace(address).is_none() {
                self.next_at = self.next_at.min(now);
            }
            self.hurry(now);
        }
    }

    /// Another address at which the peer may be; nothing is known of it.
    pub fn suggest(&mut self, now: Instant, address: SocketAddr) {
        if !self.candidates.contains(&address) && self.candidates.len() < MAX_CANDIDATES {
            self.add_candidate(address);
            if !self.is_up() {
                self.eager_until = now + PATIENCE;
                self.hurry(now);
            }
        }
    }

    /// The system refused to send a record; `unreachable` if it said that the host, the network or the port cannot
    /// be reached.
    pub fn handle_send_error(&mut self, now: Instant, unreachable: bool) {
        if !unreachable {
            self.unsent = self.unsent.saturating_add(1);
            return;
        }
        self.unreachable = true;
        if self.is_up() {
            self.go_down(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_up() && self.answered_at.is_none_or(|at| now >= at + TRUST) {
            self.go_down(now);
        }
        if now >= self.next_at && !self.candidates.is_empty() {
            self.begin_round(now);
        }
    }

    /// When [`PathProber::handle_timeout`] must be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let next = (!self.candidates.is_empty()).then_some((self.next_at, "a UDP probe is due"));
        let trust =
            self.answered_at.filter(|_| self.is_up()).map(|at| (at + TRUST, "trust in the UDP path ends"));
        next.into_iter().chain(trust).min()
    }

    /// The next probe to send.
    pub fn poll_transmit(&mut self) -> Option<Probe> {
        self.transmits.pop_front()
    }

    /// The next change of the path.
    pub fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    /// What is known of the path.
    pub const fn state(&self) -> &PathState {
        &self.state
    }

    /// Whether the path works, and for long records too.
    pub fn passes_long(&self) -> bool {
        // The newest answers of both kinds are of rounds close to each other.
        let is_recent = |long: Instant| self.full_sent_at.is_none_or(|full| full < long + TRUST);
        self.is_up() && self.long_sent_at.is_some_and(is_recent)
    }

    /// The addresses at which the peer was or is tried, and when each answered last.
    pub fn candidates(&self) -> impl Iterator<Item = (SocketAddr, Option<Instant>)> {
        let answered = |to| self.answers.iter().find(|(address, _)| *address == to).map(|&(_, at)| at);
        self.candidates.iter().map(move |&address| (address, answered(address)))
    }

    /// The address to send to, whether or not it is known to work.
    pub fn best_address(&self) -> Option<SocketAddr> {
        self.best.or_else(|| self.candidates.first().copied())
    }

    /// Our own address as the peer sees it.
    pub const fn seen_address(&self) -> Option<SocketAddr> {
        self.seen
    }

    /// Why the path is in its state, for people.
    pub fn reason(&self) -> String {
        let (sent, full, small) = (self.unanswered, self.full, self.small);
        let Some(address) = self.best_address() else {
            return "no UDP address of the peer is known".to_owned();
        };
        match self.state {
            PathState::Up { .. } => "UDP probe answered".to_owned(),
            _ if self.small_sent_at > self.full_sent_at && self.unanswered > 1 => {
                format!("UDP works only up to {small} bytes, {full} needed")
            }
            PathState::Probing => format!("waiting for an answer to UDP probes ({sent} sent)"),
            PathState::Down if self.unreachable => format!("UDP to {address}: unreachable"),
            PathState::Down => {
                let unsent = match self.unsent {
                    0 => String::new(),
                    n => format!(", {n} refused by the system"),
                };
                format!("no answer to UDP probes ({sent} sent{unsent}): UDP {} blocked?", address.port())
            }
        }
    }

    const fn is_up(&self) -> bool {
        matches!(self.state, PathState::Up { .. })
    }

    fn full_answered(&mut self, now: Instant, probe: &Probe, sent_at: Instant) {
        let before = match (self.state, &mut self.rival) {
            (PathState::Up { rtt, address }, rival) if address == probe.to => {
                if let Some(rival) = rival.as_mut().filter(|r| sent_at >= r.since) {
                    rival.declined = true;
                }
                Some(rtt)
            }
            (PathState::Up { .. }, Some(rival)) if rival.address == probe.to && !rival.declined => {
                self.rival = None;
                None
            }
            // A late answer from an address that another one was faster than.
            (PathState::Up { .. }, _) => return,
            (PathState::Probing | PathState::Down, _) => {
                self.note(PathEvent::Up);
                // What was said of an earlier way need not hold for this one.
                self.long_sent_at = None;
                if let Some(long) = self.long {
                    let probe = self.flight.send(now, probe.to, long);
                    self.transmits.push_back(probe);
                }
                None
            }
        };
        self.best = Some(probe.to);
        let rtt = smooth(before, now.saturating_duration_since(sent_at));
        self.state = PathState::Up { rtt, address: probe.to };
        self.answered_at = Some(now);
        self.full_sent_at = self.full_sent_at.max(Some(sent_at));
        (self.unanswered, self.unsent, self.unreachable) = (0, 0, false);
        self.next_at = self.round_at.unwrap_or(now) + CALM;
        if self.rival.is_some_and(|r| !r.declined) {
            self.hurry(now);
        }
    }

    fn begin_round(&mut self, now: Instant) {
        if self.state == PathState::Probing && self.unanswered >= GIVE_UP {
            self.go_down(now);
        }
        if self.unanswered >= DOUBT
            && let Some(rival) = self.rival.as_mut().filter(|r| r.declined)
        {
            *rival = Rival { address: rival.address, since: now, declined: false };
        }
        if self.small_sent_at.is_some_and(|at| now >= at + TRUST) {
            self.small_sent_at = None;
        }
        let to = match (self.state, self.rival) {
            (PathState::Up { address, .. }, Some(rival)) if !rival.declined => vec![address, rival.address],
            (PathState::Up { address, .. }, _) => vec![address],
            _ => self.candidates.clone(),
        };
        // What the system said of earlier rounds, it says again if it still holds.
        self.unreachable = false;
        self.transmits.clear();
        for to in to {
            self.transmits.push_back(self.flight.send(now, to, self.full));
            if self.small < self.full {
                self.transmits.push_back(self.flight.send(now, to, self.small));
            }
        }
        if let (PathState::Up { address, .. }, Some(long)) = (self.state, self.long) {
            self.transmits.push_back(self.flight.send(now, address, long));
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.round_at = Some(now);
        self.next_at = now + if self.is_up() || now < self.eager_until { EAGER } else { CALM };
    }

    fn go_down(&mut self, now: Instant) {
        if self.is_up() {
            self.eager_until = now + PATIENCE;
            self.hurry(now);
        }
        self.state = PathState::Down;
        self.rival = None;
        self.note(PathEvent::Down);
    }

    /// Begins the next round as soon as the pace allows.
    fn hurry(&mut self, now: Instant) {
        let soonest = self.round_at.map_or(now, |at| now.max(at + EAGER));
        self.next_at = self.next_at.min(soonest);
    }

    /// Says whether the address is new. Where there are too many, the one tried longest gives way.
    fn add_candidate(&mut self, address: SocketAddr) {
        if self.candidates.contains(&address) {
            return;
        }
        if self.candidates.len() >= MAX_CANDIDATES
            && let Some(oldest) = self.candidates.iter().position(|&a| Some(a) != self.best)
        {
            self.candidates.remove(oldest);
        }
        self.candidates.push(address);
    }

    fn note(&mut self, event: PathEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
