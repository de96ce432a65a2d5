//! Guessing ports: a way for UDP through a NAT that gives each destination another port (P6.7).
//!
//! One end is behind such a NAT, and the other lets in only whom it wrote to. The one *opens*: it sends to the other from many
//! sockets, so that its NAT has as many outer ports which that one's records may come in by. The other *guesses*: it sends to ports
//! drawn at random, until one of them is among these. With 256 open and 1024 tried that fails once in fifty.
//!
//! To networks in between it looks like a scan. So it is done only where both operators allow it, one peer at a time, slowly, and
//! where it was in vain again after a minute, then ten, then an hour.

mod hearing;
mod ports;
mod run;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use wire::{MAX_ADDRESSES, MeetingStep, PeerName};

use self::run::{Outcome, Run, Stage, Tried};
use super::Distant;
use crate::nat::is_private;

/// Sockets that are opened, and ports that are tried.
const OPENED: u32 = 256;
const TRIED: u32 = 1024;
/// Either is done so many at a time, so far apart: 100 in a second.
const A_TURN: u32 = 5;
const EVERY: Duration = Duration::from_millis(50);
/// How long the other end may take for its next step; who waits for *go* waits until all are open besides.
const STEP: Duration = Duration::from_secs(5);
const OPENING: Duration = Duration::from_secs(10);
/// How long sockets are open at most.
const OPEN_FOR: Duration = Duration::from_secs(20);
/// The answer to the last guess may take so long.
const ANSWER: Duration = Duration::from_secs(2);
/// The two ends may have found two ways. So long after the first both have come to use the same.
const SETTLE: Duration = Duration::from_secs(2);
/// After so many failures in a row the next try waits so long.
const WAITS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];
/// So long at least lies between two tries, and after one that the other end did not answer.
const PAUSE: Duration = Duration::from_secs(60);
/// Most peers remembered, longer than the longest wait.
const MAX_PEERS: usize = 64;

/// What guessing ports asks of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// It begins.
    Begin(PeerName),
    /// Open another socket for the path to this peer, and send a probe from it to this address.
    Open(PeerName, SocketAddr),
    /// Send a probe to this address from the socket of all.
    Try(PeerName, SocketAddr),
    /// It is over: close these sockets, but for the one by which the path works.
    Over(PeerName),
}

/// How often guessing led to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuessCounts {
    /// A way was found.
    pub found: u64,
    /// All was tried in vain.
    pub failed: u64,
    /// The other end would not, or did not answer.
    pub refused: u64,
}

/// Which part of it is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Our NAT gives each destination another port, and the peer's does not.
    Opens,
    /// The other way round.
    Guesses,
}

/// What is known of a peer beside what it tells itself.
#[derive(Debug, Default)]
pub(crate) struct Facing {
    /// Our part, as the NATs are that both state.
    pub(crate) part: Option<Part>,
    /// Where those linked to the peer see it. Nobody has us send anywhere else.
    pub(crate) at: Vec<IpAddr>,
}

impl Facing {
    /// The addresses that may be true.
    fn believed<'a>(&'a self, told: &'a [SocketAddr]) -> impl Iterator<Item = SocketAddr> + 'a {
        told.iter().copied().filter(|address| address.is_ipv4() && self.at.contains(&address.ip()))
    }
}

/// All about it.
#[derive(Debug, Default)]
pub(super) struct Guessing {
    is_on: bool,
    /// Where our neighbours see our UDP port over IPv4, in the order they became such.
    seen: Vec<SocketAddr>,
    run: Option<Run>,
    peers: BTreeMap<PeerName, Tried>,
    due: VecDeque<Guess>,
    counts: GuessCounts,
}

impl Guessing {
    /// When something of it is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.run.as_ref().map(|run| run.next_at.min(run.until))
    }

    pub(super) fn forget(&mut self, peer: PeerName) {
        self.peers.remove(&peer);
        if self.run.take_if(|run| run.peer == peer).is_some() {
            self.due.push_back(Guess::Over(peer));
        }
    }

    fn may_begin(&self, now: Instant, peer: PeerName) -> bool {
        let is_due = self.peers.get(&peer).is_none_or(|tried| now >= tried.next_at);
        self.is_on && self.run.is_none() && !self.seen.is_empty() && is_due
    }

    fn begin(&mut self, now: Instant, peer: PeerName, number: u32, stage: Stage, lasts: Duration) {
        let until = now + lasts;
        self.run = Some(Run { peer, number, since: now, stage, next_at: until, until });
        self.due.push_back(Guess::Begin(peer));
    }

    /// The run is over.
    fn end(&mut self, now: Instant, outcome: Outcome) {
        let Some(run) = self.run.take() else { return };
        let before = self.peers.get(&run.peer).map_or(0, |tried| tried.failures);
        let last = WAITS.len() - 1;
        let (failures, wait) = match outcome {
            Outcome::Found(_) => (0, PAUSE),
            Outcome::Failed { .. } => (before + 1, WAITS[before.min(last)]),
            Outcome::Unanswered => (before, PAUSE),
            Outcome::Refused => (before, WAITS[last]),
        };
        match outcome {
            Outcome::Found(_) => self.counts.found += 1,
            Outcome::Failed { .. } => self.counts.failed += 1,
            Outcome::Unanswered | Outcome::Refused => self.counts.refused += 1,
        }
        if self.peers.len() >= MAX_PEERS
            && !self.peers.contains_key(&run.peer)
            && let Some((&soonest, _)) = self.peers.iter().min_by_key(|(_, tried)| tried.next_at)
        {
            self.peers.remove(&soonest);
        }
        self.peers.insert(run.peer, Tried { failures, next_at: now + wait, outcome });
        self.due.push_back(Guess::Over(run.peer));
    }

    /// Gives up, whatever it waits for.
    fn give_up(&mut self, now: Instant) {
        let Some(run) = &self.run else { return };
        let outcome = match &run.stage {
            Stage::Called | Stage::Answered(_) => Outcome::Unanswered,
            Stage::Opening { opened, .. } | Stage::Open(opened) => {
                Outcome::Failed { opened: true, count: *opened }
            }
            Stage::Guessing(ports) => Outcome::Failed { opened: false, count: ports.count() },
            Stage::Settling => Outcome::Found(run.until.saturating_duration_since(run.since + SETTLE)),
        };
        self.end(now, outcome);
    }
}

impl Distant {
    /// Whether the operator allows it.
    pub(crate) const fn set_guessing(&mut self, is_on: bool) {
        self.guessing.is_on = is_on;
    }

    /// Where our neighbours see our UDP port, in the order they became such.
    pub(crate) fn set_seen_at(&mut self, seen: impl IntoIterator<Item = SocketAddr>) {
        let mut seen: Vec<_> = seen.into_iter().filter(SocketAddr::is_ipv4).collect();
        // What is seen on this side of the NAT has nothing to do with it.
        if seen.iter().any(|address| !is_private(address.ip())) {
            seen.retain(|address| !is_private(address.ip()));
        }
        // The newest tell most about the next.
        seen.drain(..seen.len().saturating_sub(MAX_ADDRESSES));
        self.guessing.seen = seen;
    }

    /// Frames to this peer go through others, and our NAT is the one of the two that gives each destination another port.
    pub(crate) fn want_guess(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if self.sessions.contains_key(&peer) && self.guessing.may_begin(now, peer) {
            let number = rng.random();
            self.guessing.begin(now, peer, number, Stage::Called, STEP);
            self.send_step(peer, MeetingStep::CallGuess, number);
            self.wake(now + STEP);
        }
    }

    /// The system opens no more sockets.
    pub(crate) fn no_more_sockets(&mut self, now: Instant) {
        let Some(run) = &mut self.guessing.run else { return };
        let number = run.number;
        match &mut run.stage {
            // This one was not opened.
            Stage::Open(opened) => *opened = opened.saturating_sub(1),
            Stage::Opening { opened, .. } => {
                *opened = opened.saturating_sub(1);
                run.stage = Stage::Open(*opened);
                run.next_at = run.until;
                let peer = run.peer;
                self.send_step(peer, MeetingStep::GoGuess, number);
            }
            _ => {}
        }
        if matches!(self.guessing.run, Some(Run { stage: Stage::Open(0), .. })) {
            self.guessing.give_up(now);
        }
    }

    /// The direct path to this peer works.
    pub(crate) fn guessed(&mut self, now: Instant, peer: PeerName) {
        let Some(run) = self.guessing.run.as_mut().filter(|run| run.peer == peer) else { return };
        match run.stage {
            Stage::Settling => {}
            Stage::Opening { .. } | Stage::Open(_) => {
                run.stage = Stage::Settling;
                (run.until, run.next_at) = (now + SETTLE, now + SETTLE);
                self.wake(now + SETTLE);
            }
            Stage::Guessing(_) => {
                let after = now.saturating_duration_since(run.since);
                self.guessing.end(now, Outcome::Found(after));
            }
            // Without that.
            Stage::Called | Stage::Answered(_) => {
                self.guessing.run = None;
                self.guessing.due.push_back(Guess::Over(peer));
            }
        }
    }

    /// With whom it is under way.
    pub(crate) fn guessing_with(&self) -> Option<PeerName> {
        self.guessing.run.as_ref().map(|run| run.peer)
    }

    /// How it goes with this peer, for people; nothing if it is not under way.
    pub(crate) fn guessing_now(&self, peer: PeerName) -> Option<String> {
        self.guessing.run.as_ref().filter(|run| run.peer == peer).map(Run::progress)
    }

    /// The same, or how it went; nothing if it was not tried.
    pub(crate) fn guessing_story(&self, now: Instant, peer: PeerName) -> Option<String> {
        self.guessing_now(peer).or_else(|| Some(self.guessing.peers.get(&peer)?.words(now)))
    }

    pub(crate) const fn guess_counts(&self) -> GuessCounts {
        self.guessing.counts
    }

    pub(crate) fn poll_guess(&mut self) -> Option<Guess> {
        self.guessing.due.pop_front()
    }

    /// Where we are seen, as we tell it.
    pub(super) fn seen_at(&self) -> Vec<SocketAddr> {
        self.guessing.seen.clone()
    }

    /// Does what is due of it.
    pub(super) fn tend_guessing(&mut self, now: Instant, rng: &mut StdRng) {
        let guessing = &mut self.guessing;
        let Some(run) = &mut guessing.run else { return };
        if now >= run.until {
            return guessing.give_up(now);
        }
        if now < run.next_at {
            return;
        }
        // A turn that comes late makes up for nothing.
        run.next_at = (now + EVERY).min(run.until);
        match &mut run.stage {
            Stage::Opening { to, opened } => {
                let turn = A_TURN.min(OPENED - *opened);
                guessing.due.extend((0..turn).map(|_| Guess::Open(run.peer, *to)));
                *opened += turn;
                if *opened == OPENED {
                    run.stage = Stage::Open(OPENED);
                    let (peer, number) = (run.peer, run.number);
                    self.send_step(peer, MeetingStep::GoGuess, number);
                }
            }
            Stage::Guessing(ports) => {
                let turn = (0..A_TURN).map_while(|_| ports.draw(rng));
                guessing.due.extend(turn.map(|to| Guess::Try(run.peer, to)));
                if ports.count() == TRIED {
                    run.until = run.until.min(now + ANSWER);
                    run.next_at = run.until;
                }
            }
            _ => run.next_at = run.until,
        }
    }
}
