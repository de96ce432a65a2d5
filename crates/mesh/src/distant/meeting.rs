//! Connections that both ends open at the same moment (P6.6).
//!
//! Where UDP does not get through and neither end can be dialled, two NATs or firewalls may still let a connection in that both
//! ends open: the SYN of each makes room for the other's. One of the two *calls*, the other *answers*; each tells from where it
//! will come, as the far ends of its links see it. Who called knows the way there and back by then: it says *go*, and begins itself
//! half that time later, when the other one hears it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use wire::{MeetingShare, MeetingStep, ParcelKind, PeerName};

use super::guessing::Facing;
use super::handshake::{Way, is_meeting, sign_meeting};
use super::{Distant, Dropped, Known, Outgoing};
use crate::backoff::Backoff;

/// How long the next step may take.
const STEP: Duration = Duration::from_secs(5);
/// How long both ends try, handshake and all; who tries it tells sooner.
const TRY: Duration = Duration::from_secs(20);
/// Most meetings at once: to others each is a burst of connections from nowhere.
const AT_ONCE: usize = 4;
/// The one that is called may be called again so long after the last time.
const CALLED_AGAIN: Duration = Duration::from_secs(1);
/// A failure is remembered for so long, longer than the longest wait.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Most peers remembered.
const MAX_PEERS: usize = 256;

/// A local port that others are known to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeetingPoint {
    /// The address that a link of ours comes from.
    pub local: SocketAddr,
    /// The address that its other end sees it at.
    pub seen: SocketAddr,
}

/// Connect to a peer, which connects to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meet {
    /// Who.
    pub peer: PeerName,
    /// From where to where: one way for each family of IP that both have.
    pub ways: Vec<(SocketAddr, SocketAddr)>,
    /// Not before.
    pub at: Instant,
}

/// All meetings, under way or tried of late.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    /// One for each family of IP.
    points: Vec<MeetingPoint>,
    peers: BTreeMap<PeerName, Meeting>,
    due: VecDeque<Meet>,
}

#[derive(Debug)]
struct Meeting {
    stage: Stage,
    backoff: Backoff,
    next_at: Instant,
    /// When it was wanted last.
    wanted: Option<Instant>,
    failures: u32,
    error: Option<String>,
}

/// How far a meeting is; what it waits for comes at `until` at the latest.
#[derive(Debug)]
enum Stage {
    /// Nothing is under way.
    Idle,
    /// We called.
    Called { number: u32, at: Instant, until: Instant },
    /// We were called, and answered.
    Answered { number: u32, addresses: Vec<SocketAddr>, until: Instant },
    /// Both connect.
    Connecting { until: Instant },
}

impl Stage {
    const fn until(&self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Called { until, .. } | Self::Answered { until, .. } | Self::Connecting { until } => {
                Some(*until)
            }
        }
    }
}

impl Meeting {
    const fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Idle,
            backoff: Backoff::new(),
            next_at: now,
            wanted: None,
            failures: 0,
            error: None,
        }
    }

    /// It is over; the next one waits.
    fn over(&mut self, now: Instant, error: Option<String>, calls: bool, rng: &mut StdRng) {
        let wait = self.backoff.next(rng);
        self.next_at = now + if calls { wait } else { CALLED_AGAIN };
        self.stage = Stage::Idle;
        self.failures = if error.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.error = error;
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        let last = self.wanted.map_or(self.next_at, |at| at.max(self.next_at));
        matches!(self.stage, Stage::Idle) && now >= last + REMEMBERED
    }
}

impl Meetings {
    /// When something of these is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.peers.values().filter_map(|meeting| meeting.stage.until()).min()
    }

    pub(super) fn forget(&mut self, peer: PeerName) {
        self.peers.remove(&peer);
    }

    fn under_way(&self) -> usize {
        self.peers.values().filter(|meeting| !matches!(meeting.stage, Stage::Idle)).count()
    }

    /// What is known of this peer, if there is room for it.
    fn entry(&mut self, now: Instant, peer: PeerName) -> Option<&mut Meeting> {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, meeting| !meeting.is_forgotten(now));
            if self.peers.len() >= MAX_PEERS {
                return None;
            }
        }
        Some(self.peers.entry(peer).or_insert_with(|| Meeting::new(now)))
    }

    /// A way for each family of which both ends have an address.
    fn ways(&self, theirs: &[SocketAddr]) -> Vec<(SocketAddr, SocketAddr)> {
        let to = |point: &MeetingPoint| {
            let same = |address: &&SocketAddr| {
                address.is_ipv4() == point.seen.is_ipv4() && crate::targets::is_dialable(address)
            };
            theirs.iter().find(same).map(|&address| (point.local, address))
        };
        self.points.iter().filter_map(to).collect()
    }
}

impl Distant {
    /// From where we may connect to others, the best first; none: we do not meet anyone.
    pub(crate) fn set_meeting_points(&mut self, points: impl IntoIterator<Item = MeetingPoint>) {
        self.meetings.points.clear();
        for point in points {
            let is_new = self.meetings.points.iter().all(|p| p.seen.is_ipv4() != point.seen.is_ipv4());
            if is_new && point.local.is_ipv4() == point.seen.is_ipv4() {
                self.meetings.points.push(point);
            }
        }
    }

    /// Frames to this peer go through others, UDP does not get through, and it cannot be dialled. The smaller name calls.
    pub(crate) fn want_meeting(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if self.meetings.points.is_empty() {
            return;
        }
        let (calls, is_busy) = (self.own.name < peer, self.meetings.under_way() >= AT_ONCE);
        let Some(meeting) = self.meetings.entry(now, peer) else { return };
        meeting.wanted = Some(now);
        if !calls || is_busy || now < meeting.next_at || !matches!(meeting.stage, Stage::Idle) {
            return;
        }
        let (number, until) = (rng.random(), now + STEP);
        meeting.stage = Stage::Called { number, at: now, until };
        self.send_step(peer, MeetingStep::Call, number);
        self.wake(until);
    }

    /// What became of connecting: a link, or the reason why there is none.
    pub(crate) fn meeting_over(
        &mut self,
        now: Instant,
        peer: PeerName,
        error: Option<String>,
        rng: &mut StdRng,
    ) {
        let calls = self.own.name < peer;
        if let Some(meeting) = self.meetings.peers.get_mut(&peer) {
            meeting.over(now, error, calls, rng);
        }
    }

    /// How meeting this peer goes, for people; nothing if it was not tried.
    pub(crate) fn meeting(&self, now: Instant, peer: PeerName) -> Option<String> {
        let meeting = self.meetings.peers.get(&peer)?;
        let next = match meeting.stage {
            Stage::Idle if self.own.name < peer => {
                format!(", next try in {} s", meeting.next_at.saturating_duration_since(now).as_secs())
            }
            Stage::Idle => String::new(),
            Stage::Called { .. } | Stage::Answered { .. } | Stage::Connecting { .. } => {
                ", being tried".to_owned()
            }
        };
        let error = meeting.error.as_ref()?;
        Some(format!("TCP opened by both ends at once failed {} times: {error}{next}", meeting.failures))
    }

    pub(crate) fn poll_meeting(&mut self) -> Option<Meet> {
        self.meetings.due.pop_front()
    }

    /// Takes a step of another peer; `linked`: there is a link to it, so that no other way is needed; `facing`: what facts say of it.
    pub(crate) fn hear_meeting(
        &mut self,
        now: Instant,
        from: Known,
        linked: bool,
        facing: &Facing,
        body: &[u8],
        rng: &mut StdRng,
    ) -> Result<(), Dropped> {
        let (share, encoded, signature) = MeetingShare::decode(body).map_err(|_| Dropped::Malformed)?;
        let step = share.step().ok_or(Dropped::Malformed)?;
        let peer = from.name;
        // Who has no keys with us has no frames for us either.
        let of_interest = !linked && self.sessions.contains_key(&peer);
        if !of_interest
            || share.incarnation < self.newest_run(&from)
            || share.version() <= self.heard.newest_meeting(peer)
        {
            return Err(Dropped::Stale);
        }
        if !self.heard.admit(now, peer) {
            return Err(Dropped::Limited);
        }
        let way = Way { source: peer, destination: self.own.name };
        if !is_meeting(&from.key, way, encoded, signature) {
            return Err(Dropped::Forged);
        }
        self.heard.met(peer, share.version());
        match step {
            MeetingStep::Call => self.hear_call(now, peer, share),
            MeetingStep::Answer => self.hear_answered(now, peer, &share, rng),
            MeetingStep::Go => self.hear_go(now, peer, &share),
            MeetingStep::CallGuess => self.hear_guess_call(now, peer, &share, facing),
            MeetingStep::AnswerGuess => self.hear_guess_answer(now, peer, &share, facing, true),
            MeetingStep::RefuseGuess => self.hear_guess_answer(now, peer, &share, facing, false),
            MeetingStep::GoGuess => self.hear_guess_go(now, peer, &share),
        }
    }

    /// Gives up what took too long.
    pub(super) fn tend_meetings(&mut self, now: Instant, rng: &mut StdRng) {
        let own = self.own.name;
        for (peer, meeting) in &mut self.meetings.peers {
            if meeting.stage.until().is_some_and(|until| until <= now) {
                meeting.over(now, Some("no word from the other end".to_owned()), own < *peer, rng);
            }
        }
        self.meetings.peers.retain(|_, meeting| !meeting.is_forgotten(now));
    }

    fn hear_call(&mut self, now: Instant, peer: PeerName, share: MeetingShare) -> Result<(), Dropped> {
        // It has not been its turn to call, or there is no way between us.
        if self.own.name < peer || self.meetings.ways(&share.addresses).is_empty() {
            return Err(Dropped::Unusable);
        }
        let is_busy = self.meetings.under_way() >= AT_ONCE;
        let meeting = self.meetings.entry(now, peer).ok_or(Dropped::Limited)?;
        let is_free = match meeting.stage {
            Stage::Idle => !is_busy && now >= meeting.next_at,
            // The caller has given up, or else it would not call again.
            Stage::Answered { .. } => true,
            Stage::Called { .. } | Stage::Connecting { .. } => false,
        };
        if !is_free {
            return Err(Dropped::Limited);
        }
        let (number, until) = (share.number, now + STEP);
        meeting.stage = Stage::Answered { number, addresses: share.addresses, until };
        self.send_step(peer, MeetingStep::Answer, number);
        self.wake(until);
        Ok(())
    }

    fn hear_answered(
        &mut self,
        now: Instant,
        peer: PeerName,
        share: &MeetingShare,
        rng: &mut StdRng,
    ) -> Result<(), Dropped> {
        let ways = self.meetings.ways(&share.addresses);
        let meeting = self.meetings.peers.get_mut(&peer).ok_or(Dropped::Stale)?;
        let Stage::Called { number, at, .. } = meeting.stage else { return Err(Dropped::Stale) };
        if number != share.number {
            return Err(Dropped::Stale);
        }
        if ways.is_empty() {
            let error = Some("the two ends have no address of the same IP version".to_owned());
            meeting.over(now, error, true, rng);
            return Err(Dropped::Unusable);
        }
        let until = now + TRY;
        meeting.stage = Stage::Connecting { until };
        let half = now.saturating_duration_since(at) / 2;
        self.send_step(peer, MeetingStep::Go, number);
        self.meetings.due.push_back(Meet { peer, ways, at: now + half });
        self.wake(until);
        Ok(())
    }

    fn hear_go(&mut self, now: Instant, peer: PeerName, share: &MeetingShare) -> Result<(), Dropped> {
        let meeting = self.meetings.peers.get_mut(&peer).ok_or(Dropped::Stale)?;
        let Stage::Answered { number, addresses, .. } = &mut meeting.stage else {
            return Err(Dropped::Stale);
        };
        if *number != share.number {
            return Err(Dropped::Stale);
        }
        let (addresses, until) = (std::mem::take(addresses), now + TRY);
        meeting.stage = Stage::Connecting { until };
        let ways = self.meetings.ways(&addresses);
        self.meetings.due.push_back(Meet { peer, ways, at: now });
        self.wake(until);
        Ok(())
    }

    pub(super) fn send_step(&mut self, to: PeerName, step: MeetingStep, number: u32) {
        self.counter += 1;
        let share = MeetingShare {
            incarnation: self.own.incarnation,
            counter: self.counter,
            step: step as u8,
            number,
            addresses: match step {
                MeetingStep::Call | MeetingStep::Answer => {
                    self.meetings.points.iter().map(|point| point.seen).collect()
                }
                MeetingStep::CallGuess | MeetingStep::AnswerGuess => self.seen_at(),
                MeetingStep::Go | MeetingStep::GoGuess | MeetingStep::RefuseGuess => Vec::new(),
            },
        };
        let way = Way { source: self.own.name, destination: to };
        let body = sign_meeting(&self.own.identity, way, &share);
        self.outgoing.push_back(Outgoing { to, kind: ParcelKind::MEETING, body });
    }
}
