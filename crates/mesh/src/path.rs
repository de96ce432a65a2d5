//! Whether records over UDP reach a neighbour (P4.9), and how long they may be (P4.11).
//!
//! Two probes go out in each round, one as long as the longest record and one that passes nearly everywhere. An answer to either
//! shows that the path works; where only the short one is answered, it works with shorter records, and a search tells how
//! long they may be. A round follows 3 s after the one that was answered. One that is not is followed by four more, 0.5 s apart: if none
//! of the five is answered the path is given up. So a path that loses one record in twenty is called down once in a hundred hours, and
//! one that breaks after 5.5 s at most; 6.5 s after the last answer it is over in any case, however slow the answers are.

mod addresses;
mod answers;
mod choice;
mod flight;
mod pace;
mod resized;
mod rounds;
mod size;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use addresses::{MAX_CANDIDATES, Rival};
pub use choice::{Cause, Choice, Lost, Other, Sample as PathSample, Way};
use flight::Flight;
pub use resized::{ResizeCause, Resized};
use size::Size;

/// How long frames of a way that came up with short records should wait for its size, at most.
const SIZE_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer holds at most: two calm rounds and half a second (P4.9).
const TRUST: Duration = Duration::from_millis(6500);
/// Most changes kept for a caller that does not take them.
const MAX_EVENTS: usize = 16;

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
    /// Records get through, if perhaps not those of full size.
    Up {
        /// Smoothed round-trip time.
        rtt: Duration,
        /// Where to.
        address: SocketAddr,
    },
    /// None do.
    Down,
}

/// The path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEvent {
    /// It works now.
    Up,
    /// It does not work, or not any more.
    Down,
    /// The longest record that passes has another length than before.
    Size(Resized),
}

/// Probes the path to one neighbour.
#[derive(Debug)]
pub struct PathProber {
    full: u16,
    /// What passes nearly everywhere.
    base: u16,
    size: Size,
    /// The size that was told last.
    told_size: u16,
    /// How long frames should wait for the size of a way that has just come up.
    size_wanted_until: Option<Instant>,
    /// Lengths beyond the full one.
    long: Option<[u16; LONG]>,
    candidates: Vec<SocketAddr>,
    best: Option<SocketAddr>,
    rival: Option<Rival>,
    state: PathState,
    flight: Flight,
    /// An address that answered, but no record of full size yet.
    narrow: Option<Narrow>,
    /// Rounds since the last answer.
    unanswered: u32,
    answered_at: Option<Instant>,
    /// When the newest probe of full size that was answered had been sent.
    full_sent_at: Option<Instant>,
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

/// An address that answered a short probe. What is longer was sent with it, and has so long to be answered too, from
/// there or from elsewhere.
#[derive(Debug, Clone, Copy)]
struct Narrow {
    address: SocketAddr,
    rtt: Duration,
    until: Instant,
}

impl PathProber {
    /// Probes with records of `full` bytes, and of `base` bytes, which are to pass wherever the path is of use, at the addresses where
    /// the peer may be.
    pub fn new(now: Instant, seed: [u8; 32], full: u16, base: u16, candidates: Vec<SocketAddr>) -> Self {
        let base = base.min(full);
        let mut prober = Self {
            full,
            base,
            size: Size::new(base, full),
            told_size: full,
            size_wanted_until: None,
            long: None,
            candidates: Vec::new(),
            best: None,
            rival: None,
            state: PathState::Probing,
            flight: Flight::new(StdRng::from_seed(seed)),
            narrow: None,
            unanswered: 0,
            answered_at: None,
            full_sent_at: None,
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
        if probe.length > self.full {
            let lengths = self.long.iter().flatten();
            for (newest, _) in
                self.long_sent_at.iter_mut().zip(lengths).filter(|(_, long)| **long <= probe.length)
            {
                *newest = (*newest).max(Some(sent_at));
            }
        } else if probe.length >= self.base {
            self.answered(now, &probe, sent_at);
        }
        if from != probe.to {
            self.handle_address(now, from);
        }
    }

    /// Asks again as soon as the pace allows: it is in doubt that the path works.
    pub fn ask(&mut self, now: Instant) {
        self.hurry(now);
    }

    /// Something changed that may have to do with the path: the network of this host or of the peer. What does not work
    /// is tried as if for the first time, and what works is asked whether it still does, together with all others.
    pub fn restart(&mut self, now: Instant) {
        self.trying_since = now;
        if self.is_up() {
            self.open_since.get_or_insert(now);
            self.size.grow(now);
            self.send_sizes(now);
        }
        self.hurry(now);
    }

    /// Frames went out since the last second or so. Where they are long and do not arrive, that shows sooner than the rounds would.
    pub fn handle_traffic(&mut self, now: Instant) {
        if let PathState::Up { address, .. } = self.state
            && self.size.may_be_asked()
        {
            self.ask_again(now, address);
        }
    }

    /// This host itself takes no record of so many bytes to this address: an MTU on it is smaller.
    pub fn handle_too_long(&mut self, now: Instant, to: SocketAddr, length: u16) {
        if matches!(self.state, PathState::Up { address, .. } if address == to) {
            for (sent_at, long) in self.long_sent_at.iter_mut().zip(self.long.iter().flatten()) {
                sent_at.take_if(|_| *long >= length);
            }
            self.size.refused(now, length);
            self.send_sizes(now);
        } else if length <= self.base {
            self.unsent = self.unsent.saturating_add(1);
        }
    }

    /// The system refused to send a record to this address; `unreachable` if it would refuse the next one as well, because of what lies
    /// there or because a rule of this host forbids it, and not only has no room just now. Of an address that is not the one in use
    /// it means nothing for the path.
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
        if let Some(narrow) = self.narrow.take_if(|narrow| now >= narrow.until) {
            self.take_narrow(now, &narrow);
        }
        if now >= self.next_at && !self.candidates.is_empty() {
            self.begin_round(now);
        }
        self.size.handle_timeout(now);
        self.send_sizes(now);
    }

    /// When [`PathProber::handle_timeout`] must be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let next = (!self.candidates.is_empty()).then_some((self.next_at, "a UDP probe is due"));
        let trust = self.trust_ends().filter(|_| self.is_up()).map(|at| (at, "trust in the UDP path ends"));
        let narrow = self.narrow.map(|narrow| (narrow.until, "shorter records will have to do"));
        let size = self.size.poll_timeout().map(|at| (at, "a length of records is asked about"));
        next.into_iter().chain(trust).chain(narrow).chain(size).min()
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

    /// The longest record of a frame that passes, in bytes; the full length before anything is known.
    pub const fn size(&self) -> u16 {
        if self.is_up() { self.size.passes() } else { self.full }
    }

    /// Whether records of the size that passed may not pass any more, or did not until just now.
    pub const fn doubts_size(&self) -> bool {
        self.is_up() && self.size.is_doubted()
    }

    /// Whether the path has just come up with short records, and it is being found out how much longer they may be. Frames that have
    /// another way had better take it for that moment: who is told now that his frames are too long makes them far shorter than they
    /// have to be, and keeps to it for ten minutes (RFC 8201 section 4, `mtu_expires` of Linux).
    pub fn is_sizing(&self, now: Instant) -> bool {
        self.is_up() && self.size.is_searching() && self.size_wanted_until.is_some_and(|until| now < until)
    }

    /// The longest record that is known to pass, beyond the full length; `None` where the path does not work or only that passes.
    pub fn longest(&self) -> Option<u16> {
        // The newest answers of all kinds are of rounds close to each other.
        let is_recent = |long: Instant| self.full_sent_at.is_none_or(|full| full < long + TRUST);
        let passes = self.long.iter().flatten().zip(self.long_sent_at);
        let passing = passes.filter(|(_, sent_at)| sent_at.is_some_and(is_recent)).map(|(long, _)| *long);
        passing.max().filter(|_| self.is_up() && self.size.is_full())
    }

    /// Why the path is in its state, for people.
    pub fn reason(&self) -> String {
        let sent = self.unanswered;
        let Some(address) = self.best_address() else {
            return "no UDP address of the peer is known".to_owned();
        };
        match self.state {
            PathState::Up { .. } if !self.size.is_full() => {
                format!("UDP probe answered; records of up to {} bytes pass", self.size.passes())
            }
            PathState::Up { .. } => "UDP probe answered".to_owned(),
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

    fn note(&mut self, event: PathEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
