//! [`Table`]: sessions with peers that are not neighbours.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use foldhash::HashMap;
use session::{OpenError, Opener};
use transport::{Drop, FramePath, Holding, Inbox, Outbox, PathCounters, RecordSink};
use wire::{Arrived, PeerName, RecordHeader, RelayHeader};

use crate::{Content, Session};

/// Sessions at most: a few epochs with each of a thousand peers.
const MAX_SESSIONS: usize = 8192;

/// Relayed records kept that came before the keys they are sealed with, and the longest of them, in bytes. The end that answered an
/// offer seals at once, and its records overtake its answer where they take another path than that.
const MAX_EARLY: usize = 64;
const LONGEST_EARLY: usize = 2048;

/// So many records in a row that came through others, though there is a direct path, tell that the peer does not trust that one.
const IN_DOUBT: u32 = 2;

/// What records that came straight from a peer tell the control side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpEvent {
    /// A probe was answered (P4.9).
    Answer {
        /// By whom.
        peer: PeerName,
        /// The probe's token.
        token: u64,
        /// Length of the record that arrived there.
        length: u16,
        /// Where it came from, as the peer saw it.
        seen: SocketAddr,
        /// Where the answer came from.
        from: SocketAddr,
        /// What had arrived there of what was sent on this path, if the peer counts.
        arrived: Option<Arrived>,
    },
    /// An authentic record came from another address than the one before.
    Moved {
        /// Whose.
        peer: PeerName,
        /// The address.
        from: SocketAddr,
    },
    /// A record came by another way although there is this one: the peer is in doubt whether it works (P4.12).
    Doubted {
        /// Whose.
        peer: PeerName,
    },
    /// Somebody says that what went to this address did not get there.
    Unreachable {
        /// The address.
        to: SocketAddr,
    },
}

impl UdpEvent {
    /// Whose path it is about, if that is known.
    pub const fn peer(&self) -> Option<PeerName> {
        match self {
            Self::Answer { peer, .. } | Self::Moved { peer, .. } | Self::Doubted { peer } => Some(*peer),
            Self::Unreachable { .. } => None,
        }
    }
}

/// What the table tells the control side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableEvent {
    /// The first record of a session opened: the peer has its keys (P6.3).
    Opened {
        /// Whose.
        peer: PeerName,
        /// Our index of the session.
        index: u32,
    },
    /// Something about the direct path.
    Udp(UdpEvent),
}

/// The direct path to a peer that is no neighbour, as far as records concern it that arrive.
pub trait DirectPath: FramePath {
    /// Answers a probe that came from `to` in a record of `length` bytes. An answer that cannot be sent is counted as dropped: to the
    /// peer it is one that was lost on the way.
    fn answer(&self, to: SocketAddr, token: u64, length: u16);

    /// Counts a record with a frame that opened (P4.10). For the thread alone that receives from the socket.
    fn count_opened(&self);

    /// Counts a record that did not. For the same thread alone.
    fn count_forged(&self);
}

/// Sessions by index, for whichever thread a record of theirs arrives at. Shared by all of them and the control side.
///
/// A session keeps the sink of its frames; where the sink in turn keeps this table, [`clear`](Self::clear) lets go of both.
pub struct Table {
    /// Indices are drawn at random by this host, so a stranger cannot make them collide.
    sessions: ArcSwap<HashMap<u32, Arc<Entry>>>,
    early: Mutex<VecDeque<(u32, Vec<u8>)>>,
    /// Where records go that came inside a link and are of a session with a neighbour.
    neighbours: OnceLock<OfNeighbours>,
    events: Box<dyn Fn(TableEvent) + Send + Sync>,
}

/// Takes a record if its session is one with a neighbour.
type OfNeighbours = Box<dyn Fn(&[u8]) -> Option<Result<(), Drop>> + Send + Sync>;

struct Entry {
    relay: Arc<dyn FramePath>,
    state: Mutex<State>,
}

struct State {
    session: Session,
    direct: Option<Arc<dyn DirectPath>>,
    /// Where its last direct record came from.
    last_from: Option<SocketAddr>,
    opened: bool,
    /// Whether the last record came by the direct path.
    came_directly: bool,
    /// Records since then that did not.
    indirect: u32,
    /// Whether an outbox knows that something is held back.
    held: bool,
    frames: u64,
}

impl Table {
    /// An empty one. `events` is called from the threads that receive and must not block.
    pub fn new(events: Box<dyn Fn(TableEvent) + Send + Sync>) -> Self {
        Self {
            sessions: ArcSwap::from_pointee(HashMap::default()),
            early: Mutex::default(),
            neighbours: OnceLock::new(),
            events,
        }
    }

    /// Has somebody else take the records of sessions with neighbours that came inside a link (P4.12). Only the first is taken.
    pub fn set_neighbours(&self, take: OfNeighbours) {
        // Whoever was told first goes on.
        let _ = self.neighbours.set(take);
    }

    /// A record that came inside a link, and whose session is none of these.
    fn of_neighbour(&self, record: &[u8]) -> Option<Result<(), Drop>> {
        self.neighbours.get()?(record)
    }

    /// Opens records with this index from now on. Frames that came through others are counted at `relay`. `false` when the table is
    /// full.
    pub fn install(&self, index: u32, opener: Opener, inbox: Inbox, relay: Arc<dyn FramePath>) -> bool {
        let state = State {
            session: Session::with_distant_peer(opener, inbox),
            direct: None,
            last_from: None,
            opened: false,
            came_directly: false,
            // None came directly that others could follow.
            indirect: IN_DOUBT,
            held: false,
            frames: 0,
        };
        let entry = Arc::new(Entry { relay, state: Mutex::new(state) });
        let before = self.sessions.rcu(|sessions| {
            let mut sessions = HashMap::clone(sessions);
            if sessions.len() < MAX_SESSIONS || sessions.contains_key(&index) {
                sessions.insert(index, Arc::clone(&entry));
            }
            sessions
        });
        let taken = before.len() < MAX_SESSIONS || before.contains_key(&index);
        if taken {
            self.open_early(index);
        }
        taken
    }

    /// Opens what came for this session before its keys did.
    fn open_early(&self, index: u32) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let (ours, others) = early.drain(..).partition::<VecDeque<_>, _>(|(of, _)| *of == index);
        *early = others;
        drop(early);
        let mut out = Outbox::new();
        for (_, mut record) in ours {
            // It has an index, and that is known.
            let _ = self.record(None, &mut record, &mut out);
        }
        out.flush();
    }

    /// Keeps a relayed record whose keys may be on their way; the error is that of the one that has to go for it.
    fn keep_early(&self, index: u32, record: &[u8]) -> Result<(), Drop> {
        if record.len() > LONGEST_EARLY {
            return Err(Drop::UnknownSession);
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.push_back((index, record.to_vec()));
        if early.len() > MAX_EARLY {
            early.pop_front();
            return Err(Drop::UnknownSession);
        }
        drop(early);
        // The keys may have come meanwhile.
        if self.sessions.load().contains_key(&index) {
            self.open_early(index);
        }
        Ok(())
    }

    /// Sets the path that answers probes of this session and counts what comes by it, or takes it away.
    pub fn set_direct(&self, index: u32, direct: Option<Arc<dyn DirectPath>>) {
        if let Some(entry) = self.sessions.load().get(&index) {
            let mut state = entry.lock();
            state.direct = direct;
            state.last_from = None;
        }
    }

    /// Forgets an index.
    pub fn remove(&self, index: u32) {
        self.sessions.rcu(|sessions| {
            let mut sessions = HashMap::clone(sessions);
            sessions.remove(&index);
            sessions
        });
    }

    /// Forgets them all.
    pub fn clear(&self) {
        self.sessions.store(Arc::default());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.load().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.load().is_empty()
    }

    /// Records with frames that were opened in this session so far, whichever way they came. It grows while the session is used.
    pub fn opened(&self, index: u32) -> Option<u64> {
        self.sessions.load().get(&index).map(|entry| entry.lock().frames)
    }
}

impl RecordSink for Table {
    /// What is dropped in a session that is known is counted at its path and no error.
    fn record(&self, from: Option<SocketAddr>, record: &mut [u8], out: &mut Outbox) -> Result<(), Drop> {
        let Ok(header) = RecordHeader::decode(record) else {
            let is_inside = from.is_none() && record.first().copied().is_some_and(RelayHeader::is_type);
            return is_inside.then(|| self.of_neighbour(record)).flatten().unwrap_or(Err(Drop::Malformed));
        };
        let sessions = self.sessions.load();
        let entry = match (sessions.get(&header.index), from) {
            (Some(entry), _) => entry,
            // What comes through a relay was sent by a member.
            (None, None) => {
                return self.of_neighbour(record).unwrap_or_else(|| self.keep_early(header.index, record));
            }
            (None, Some(_)) => return Err(Drop::UnknownSession),
        };
        let mut state = entry.lock();
        let events = state.record(&*entry.relay, &header, from, record, out);
        let holds = !state.session.is_empty() && !std::mem::replace(&mut state.held, true);
        // Before the outbox, which may release other sessions, and before the events: whoever hears them may ask this table something.
        drop(state);
        if holds {
            out.hold(entry);
        }
        events.into_iter().flatten().for_each(|event| (self.events)(event));
        Ok(())
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding for Entry {
    fn release(&self, out: &mut Outbox) {
        let mut state = self.lock();
        let State { session, direct, came_directly, held, .. } = &mut *state;
        *held = false;
        session.flush(counters(&*self.relay, direct.as_deref().filter(|_| *came_directly)), out);
    }
}

impl State {
    /// Takes one record, and gives what the control side is to hear of it.
    fn record(
        &mut self,
        relay: &dyn FramePath,
        header: &RecordHeader,
        from: Option<SocketAddr>,
        record: &mut [u8],
        out: &mut Outbox,
    ) -> [Option<TableEvent>; 4] {
        let peer = self.session.peer();
        let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
        let direct = self.direct.as_deref().filter(|_| from.is_some());
        let counters = counters(relay, direct);
        let content = match self.session.open(header, record, counters, out) {
            Ok(content) => content,
            Err(OpenError::Forged) => {
                if let Some(direct) = direct {
                    direct.count_forged();
                }
                return [None; 4];
            }
            Err(OpenError::Replayed) => return [None; 4],
        };
        self.came_directly = from.is_some();
        self.indirect = if from.is_some() { 0 } else { self.indirect.saturating_add(1) };
        let first = !std::mem::replace(&mut self.opened, true);
        let opened = first.then_some(TableEvent::Opened { peer, index: header.index });
        let mut moved = None;
        if let Some(from) = from
            && self.last_from.replace(from) != Some(from)
        {
            moved = Some(TableEvent::Udp(UdpEvent::Moved { peer, from }));
        }
        let mut answer = None;
        match (content, from) {
            (Content::Frame, _) => {
                self.frames += 1;
                if let Some(direct) = direct {
                    direct.count_opened();
                }
            }
            (Content::Probe { token }, Some(from)) => {
                // Without a path to answer by, the peer goes on without this one.
                if let Some(direct) = direct {
                    direct.answer(from, token, length);
                }
            }
            (Content::Answer { token, length, seen, arrived }, Some(from)) => {
                answer = Some(TableEvent::Udp(UdpEvent::Answer { peer, token, length, seen, from, arrived }));
            }
            // What is about a direct path tells nothing when it comes through others.
            (Content::Probe { .. } | Content::Answer { .. }, None) => counters.drops.add(Drop::Malformed, 1),
            (Content::Malformed, _) => {}
        }
        // A single one may only have been too long for the direct path. Told once, when it begins.
        let doubted = self.indirect == IN_DOUBT && self.direct.is_some();
        let doubted = doubted.then_some(TableEvent::Udp(UdpEvent::Doubted { peer }));
        [opened, moved, answer, doubted]
    }
}

/// Where frames are counted: at the direct path if they came by it.
fn counters<'a>(relay: &'a dyn FramePath, direct: Option<&'a dyn DirectPath>) -> &'a PathCounters {
    direct.map_or_else(|| relay.counters(), |direct| direct.counters())
}

#[cfg(test)]
mod tests;
