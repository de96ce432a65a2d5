//! Sessions between peers that share no link: offers, answers and the keys that come of them (P6.2, P6.3).
//!
//! A parcel may be lost, doubled or late, and whoever passes it on may change it or keep a copy. So an offer is
//! repeated until it is answered, each share is signed for one source, one destination and one purpose, versions of
//! offers grow, and an answer names the offer it belongs to. What a relay can still do is drop everything.
//!
//! Who answers cannot know whether the answer arrives, and who holds keys not whether the other end still does. Both
//! are settled by making new ones: when nothing opens for a while although frames go out, a new offer is made.

mod event;
mod guessing;
mod handshake;
mod hearing;
mod meeting;
mod offering;
mod session;
mod telling;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;
use wire::{ParcelKind, PeerName};

pub use self::event::SessionEvent;
use self::guessing::Guessing;
pub(crate) use self::guessing::{Facing, Part};
pub use self::guessing::{Guess, GuessCounts};
use self::hearing::Heard;
use self::meeting::Meetings;
pub use self::meeting::{Meet, MeetingPoint};
use self::offering::Offer;
use self::session::Session;
use crate::identity::Identity;

/// Most sessions at once. Beyond it the one that was not used for the longest time ends.
const MAX_SESSIONS: usize = 1024;

/// Why an offer or an answer was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It is no share, or one with values that cannot be.
    Malformed,
    /// Seen before, of an earlier run, or an answer to nothing that we ask.
    Stale,
    /// Too many came from this source of late.
    Limited,
    /// The signature does not verify.
    Forged,
    /// We offered too, and our name is the smaller one.
    Crossed,
    /// No keys came of it.
    Unusable,
}

/// A peer, as its facts have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: PeerName,
    pub(crate) key: [u8; 32],
    /// Its newest run.
    pub(crate) incarnation: u64,
}

/// A parcel to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: PeerName,
    pub(crate) kind: ParcelKind,
    pub(crate) body: Vec<u8>,
}

/// Who we are, as our shares say.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) identity: Arc<Identity>,
    pub(crate) name: PeerName,
    pub(crate) incarnation: u64,
    pub(crate) udp_port: Option<u16>,
}

/// All sessions with peers that are not neighbours, and all offers.
#[derive(Debug)]
pub(crate) struct Distant {
    own: Own,
    reachable_at: Vec<SocketAddr>,
    /// Who was told of late where that is, and when; who is to be, and when.
    told: BTreeMap<PeerName, Instant>,
    to_tell: BTreeMap<PeerName, Instant>,
    meetings: Meetings,
    guessing: Guessing,
    /// Of the last share or update that we made.
    counter: u64,
    sessions: BTreeMap<PeerName, Session>,
    offers: BTreeMap<PeerName, Offer>,
    heard: Heard,
    /// All indices in use, those of offers too.
    indices: BTreeSet<u32>,
    due: Option<Instant>,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<SessionEvent>,
}

impl Distant {
    pub(crate) fn new(own: Own) -> Self {
        Self {
            own,
            reachable_at: Vec::new(),
            told: BTreeMap::new(),
            to_tell: BTreeMap::new(),
            meetings: Meetings::default(),
            guessing: Guessing::default(),
            counter: 0,
            sessions: BTreeMap::new(),
            offers: BTreeMap::new(),
            heard: Heard::default(),
            indices: BTreeSet::new(),
            due: None,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Frames wait for this peer.
    pub(crate) fn want(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if self.sessions.contains_key(&peer) {
            self.used(now, peer, rng);
        } else {
            self.ask(now, peer, rng);
        }
    }

    /// Frames went either way.
    pub(crate) fn used(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if self.sessions.get_mut(&peer).is_some_and(|session| session.used(now)) {
            self.ask(now, peer, rng);
        }
    }

    /// Renews the keys of a session.
    pub(crate) fn rekey(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if self.sessions.contains_key(&peer) {
            self.ask(now, peer, rng);
        }
    }

    /// Records opened under this index.
    pub(crate) fn opened(&mut self, now: Instant, peer: PeerName, index: u32) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.opened(now, index) {
            self.events.push_back(SessionEvent::Seal { peer, index });
        }
        let due = session.next_due();
        self.wake(due);
    }

    /// Ends what peers that are forgotten, or run anew, have had with us; `incarnation` tells the newest run of those
    /// that are known.
    pub(crate) fn review(&mut self, incarnation: impl Fn(PeerName) -> Option<u64>) {
        let lost = |(&peer, session): (&PeerName, &Session)| {
            incarnation(peer).is_none_or(|newest| newest > session.incarnation).then_some(peer)
        };
        let lost: Vec<_> = self.sessions.iter().filter_map(lost).collect();
        for peer in lost {
            self.end(peer);
        }
        let forgotten: Vec<_> = self.offers.keys().copied().filter(|&p| incarnation(p).is_none()).collect();
        for peer in forgotten {
            self.withdraw(peer);
        }
    }

    /// A peer is forgotten.
    pub(crate) fn forget(&mut self, peer: PeerName) {
        self.to_tell.remove(&peer);
        self.meetings.forget(peer);
        self.guessing.forget(peer);
        self.end(peer);
        self.withdraw(peer);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut StdRng) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.tell_due(now);
        self.tend_meetings(now, rng);
        self.tend_guessing(now, rng);
        let due: Vec<_> = self.offers.iter().filter(|(_, o)| o.again_at <= now).map(|(&p, _)| p).collect();
        for peer in due {
            self.repeat(now, peer, rng);
        }
        let due: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.next_due() <= now).map(|(&p, _)| p).collect();
        for peer in due {
            self.tend(now, peer, rng);
        }
        let offers = self.offers.values().map(|offer| offer.again_at);
        let due = offers.chain(self.sessions.values().map(Session::next_due));
        self.due = due
            .chain(self.next_to_tell())
            .chain(self.meetings.next_due())
            .chain(self.guessing.next_due())
            .min();
    }

    /// When [`Distant::handle_timeout`] must be called next.
    pub(crate) const fn next_due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn poll_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Those there are sessions with.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerName> {
        self.sessions.keys().copied()
    }

    /// Whether there is a session with this peer.
    pub(crate) fn has(&self, peer: PeerName) -> bool {
        self.sessions.contains_key(&peer)
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Ends or renews what is due of one session.
    fn tend(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        self.settle(now, peer);
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.is_over(now) {
            self.end(peer);
        } else if session.is_to_be_renewed(now) {
            self.ask(now, peer, rng);
        }
    }

    /// Tells which keys of a session are over, and which take their place.
    fn settle(&mut self, now: Instant, peer: PeerName) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        let (ended, seal) = session.handle_timeout(now);
        let due = session.next_due();
        self.wake(due);
        self.events.extend(seal.map(|index| SessionEvent::Seal { peer, index }));
        self.let_go(peer, &ended);
    }

    /// Enters a session with a peer that there is none with.
    fn enter(&mut self, now: Instant, peer: PeerName, session: Session) {
        if self.sessions.len() >= MAX_SESSIONS
            && let Some((&oldest, _)) = self.sessions.iter().min_by_key(|(_, s)| s.used)
        {
            self.end(oldest);
        }
        self.sessions.insert(peer, session);
        self.settle(now, peer);
    }

    fn end(&mut self, peer: PeerName) {
        if let Some(session) = self.sessions.remove(&peer) {
            self.let_go(peer, &session.indices());
        }
    }

    fn let_go(&mut self, peer: PeerName, indices: &[u32]) {
        for &index in indices {
            self.indices.remove(&index);
            self.events.push_back(SessionEvent::End { peer, index });
        }
    }

    /// An index that is in use for nothing else here, and that nobody can guess (P4.1).
    fn draw_index(&mut self, rng: &mut StdRng) -> u32 {
        loop {
            let index = rng.random();
            if index != 0 && self.indices.insert(index) {
                return index;
            }
        }
    }

    fn wake(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}
