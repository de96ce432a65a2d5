//! Whether records over UDP reach a neighbour (P4.9).
//!
//! Two probes go out in each round, one of the size of the largest record and one small: if only the small one is
//! answered, something on the way drops what is large, and the path is of no use. Where the path works a round follows
//! 3 s after the one that was answered. One that is not is followed by four more, 0.5 s apart: if none of the five is
//! answered the path is given up. So a path that loses one record in twenty is called down once in a hundred hours, and
//! one that breaks after 5.5 s at most; 6.5 s after the last answer it is over in any case, however slow the answers are.

mod flight;
mod pace;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::links::smooth;
use flight::Flight;
use pace::{CALM, EAGER, doubt, gap};

/// How long an answer holds at most: two calm rounds and half a second (P4.9).
const TRUST: Duration = Duration::from_millis(6500);
/// Rounds without an answer after which a path that never worked is called down.
const GIVE_UP: u32 = 5;
/// Rounds without an answer after which all other addresses are asked too, although the path is still up.
const DOUBT: u32 = 2;
/// Most changes kept for a caller that does not take them.
const MAX_EVENTS: usize = 16;
/// Most addresses tried.
const MAX_CANDIDATES: usize = 8;

/// Lengths beyond the full one that a path can be asked about.
pub const LONG: usize = 2;

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
    /// Lengths beyond the full one.
    long: Option<[u16; LONG]>,
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
    /// When the newest probe of each of these lengths that was answered had been sent.
    long_sent_at: [Option<Instant>; LONG],
    round_at: Option<Instant>,
    next_at: Instant,
    /// Since when rounds go out for a path that does not work.
    trying_since: Instant,
    /// When the path is given up unless something is answered: set by the first round that was not answered yet.
    doubt_until: Option<Instant>,
    /// Since when all addresses are asked for that reason; the first to answer is the one to use.
    open_since: Option<Instant>,
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
            long_sent_at: [None; LONG],
            round_at: None,
            next_at: now,
            trying_since: now,
            doubt_until: None,
            open_since: None,
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

    /// Also asks, where the path works, how long records may be: as long as relayed ones (P6.4) and frames for everyone (P7.1) get.
    /// The path is none the worse for it if those do not pass.
    #[must_use]
    pub const fn with_long(mut self, lengths: [u16; LONG]) -> Self {
        self.long = Some(lengths);
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
            let lengths = self.long.iter().flatten();
            for (newest, _) in
                self.long_sent_at.iter_mut().zip(lengths).filter(|(_, long)| **long <= probe.length)
            {
                *newest = (*newest).max(Some(sent_at));
            }
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
                self.restart(now);
            }
        }
    }

    /// The peer says where it may be reached now, the best first, and tries us. Where there are too many addresses those tried longest
    /// give way to the first of these.
    pub fn told(&mut self, now: Instant, addresses: &[SocketAddr]) {
        for &address in addresses.iter().take(MAX_CANDIDATES / 2).rev() {
            if let Some(at) = self.candidates.iter().position(|&known| known == address) {
                self.candidates.remove(at);
            }
            self.add_candidate(address);
        }
        addresses.iter().for_each(|&address| self.suggest(now, address));
        self.restart(now);
    }

    /// Something changed that may have to do with the path: the network of this host or of the peer. What does not work
    /// is tried as if for the first time, and what works is asked whether it still does, together with all others.
    pub fn restart(&mut self, now: Instant) {
        self.trying_since = now;
        if self.is_up() {
            self.open_since.get_or_insert(now);
        }
        self.hurry(now);
    }

    /// The system refused to send a record to this address; `unreachable` if it said that the host, the network or the port
    /// cannot be reached. Of an address that is not the one in use it means nothing for the path.
    pub fn handle_send_error(&mut self, now: Instant, to: SocketAddr, unreachable: bool) {
        if !unreachable {
            self.unsent = self.unsent.saturating_add(1);
            return;
        }
        if self.best_address() != Some(to) {
            return;
        }
        self.unreachable = true;
        if self.is_up() {
            self.go_down(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_up() && self.trust_ends().is_none_or(|at| now >= at) {
            self.go_down(now);
        }
        if now >= self.next_at && !self.candidates.is_empty() {
            self.begin_round(now);
        }
    }

    /// When [`PathProber::handle_timeout`] must be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let next = (!self.candidates.is_empty()).then_some((self.next_at, "a UDP probe is due"));
        let trust = self.trust_ends().filter(|_| self.is_up()).map(|at| (at, "trust in the UDP path ends"));
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

    /// The longest record that is known to pass, beyond the full length; `None` where the path does not work or only that passes.
    pub fn longest(&self) -> Option<u16> {
        // The newest answers of all kinds are of rounds close to each other.
        let is_recent = |long: Instant| self.full_sent_at.is_none_or(|full| full < long + TRUST);
        let passes = self.long.iter().flatten().zip(self.long_sent_at);
        let passing = passes.filter(|(_, sent_at)| sent_at.is_some_and(is_recent)).map(|(long, _)| *long);
        passing.max().filter(|_| self.is_up())
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
            (PathState::Up { .. }, _) if self.open_since.is_some_and(|since| sent_at >= since) => {
                self.rival = None;
                None
            }
            // A late answer from an address that another one was faster than.
            (PathState::Up { .. }, _) => return,
            (PathState::Probing | PathState::Down, _) => {
                self.note(PathEvent::Up);
                // What was said of an earlier way need not hold for this one.
                self.long_sent_at = [None; LONG];
                for long in self.long.into_iter().flatten() {
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
        (self.doubt_until, self.open_since) = (None, None);
        self.next_at = self.round_at.unwrap_or(now) + CALM;
        if self.rival.is_some_and(|r| !r.declined) {
            self.hurry(now);
        }
    }

    fn begin_round(&mut self, now: Instant) {
        if self.state == PathState::Probing && self.unanswered >= GIVE_UP {
            self.go_down(now);
        }
        if self.is_up() && self.unanswered >= DOUBT {
            self.open_since.get_or_insert(now);
        }
        if self.small_sent_at.is_some_and(|at| now >= at + TRUST) {
            self.small_sent_at = None;
        }
        let to = match (self.state, self.rival) {
            _ if self.open_since.is_some() => self.candidates.clone(),
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
        if let PathState::Up { address, .. } = self.state {
            for long in self.long.into_iter().flatten() {
                self.transmits.push_back(self.flight.send(now, address, long));
            }
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.round_at = Some(now);
        if let PathState::Up { rtt, .. } = self.state {
            self.doubt_until.get_or_insert(now + doubt(rtt));
            self.next_at = now + EAGER;
        } else {
            self.next_at = now + gap(now.saturating_duration_since(self.trying_since));
        }
    }

    /// When a path that works is given up unless something is answered before.
    fn trust_ends(&self) -> Option<Instant> {
        let trust = self.answered_at? + TRUST;
        Some(self.doubt_until.map_or(trust, |doubt| doubt.min(trust)))
    }

    fn go_down(&mut self, now: Instant) {
        if self.is_up() {
            self.restart(now);
        }
        (self.doubt_until, self.open_since) = (None, None);
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
