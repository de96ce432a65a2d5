//! One peer within reach that is no neighbour: its keys, and the ways to it.
//!
//! Frames take the direct path over UDP once it has proved itself, and go through other peers before that. Until there are keys
//! they wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mesh::Other;
use records::{DirectPath, Table};
use router::PeerPaths;
use session::{Opener, Sealer};
use transport::{Drop, FramePath, FrameSink, Inbox, PathCounters, PathKind, SealedPath};
use transport_relay::{RelayPath, Route, WaitingPath};
use transport_udp::{UdpEvent, UdpTransport};
use wire::PeerName;

use super::udp_side::{ETHERNET, UdpSide};

/// What a peer's keys come with.
pub(super) struct Keys {
    pub(super) index: u32,
    pub(super) sealer: Arc<Sealer>,
    pub(super) opener: Opener,
    pub(super) seal_now: bool,
    /// Where it may be reached by UDP.
    pub(super) addresses: Vec<SocketAddr>,
}

/// What a session needs of the router.
pub(super) struct Means<'a> {
    pub(super) table: &'a Table,
    /// Where there is UDP.
    pub(super) udp: Option<&'a UdpTransport>,
    pub(super) sink: &'a Arc<dyn FrameSink>,
    pub(super) mtu: u32,
}

pub(super) struct Distant {
    pub(super) peer: PeerName,
    ask: Arc<dyn Fn(PeerName) + Send + Sync>,
    waiting: Arc<WaitingPath>,
    session: Option<Session>,
    /// Counts of ways that are gone.
    past_drops: BTreeMap<&'static str, u64>,
}

struct Session {
    relay: Arc<RelayPath>,
    udp: Option<UdpSide>,
    /// Of each epoch that lives, by our index; what we seal with.
    sealers: BTreeMap<u32, Arc<Sealer>>,
    /// Frames both ways, when last looked at.
    frames: u64,
    /// Records that opened, likewise, by our index.
    opened: BTreeMap<u32, u64>,
    udp_was_up: bool,
    /// Since when the direct path is up, or is not.
    since: Instant,
}

/// What a look at a session found.
#[derive(Default)]
pub(super) struct Look {
    /// Frames wait for keys.
    pub(super) wants: bool,
    /// Frames went either way.
    pub(super) used: bool,
    /// Indices under which records opened.
    pub(super) opened: Vec<u32>,
    /// The keys are nearly used up.
    pub(super) rekey: bool,
}

impl Distant {
    pub(super) fn new(peer: PeerName, ask: Arc<dyn Fn(PeerName) + Send + Sync>) -> Self {
        let waiting = waiting(peer, &ask);
        Self { peer, ask, waiting, session: None, past_drops: BTreeMap::new() }
    }

    /// Keys were agreed on.
    pub(super) fn take_up(&mut self, now: Instant, means: &Means<'_>, keys: Keys) {
        let Keys { index, sealer, opener, seal_now, addresses } = keys;
        let session = self.session.get_or_insert_with(|| Session {
            relay: Arc::new(RelayPath::new(Arc::clone(&sealer), (means.mtu + ETHERNET) as usize)),
            udp: None,
            sealers: BTreeMap::new(),
            frames: 0,
            opened: BTreeMap::new(),
            udp_was_up: false,
            since: now,
        });
        let inbox = Inbox::new(self.peer, Arc::clone(means.sink));
        let relay = Arc::clone(&session.relay) as Arc<dyn FramePath>;
        if !means.table.install(index, opener, inbox, relay) {
            tracing::warn!(peer = %self.peer, "too many sessions: no keys are taken up");
            return;
        }
        session.sealers.insert(index, Arc::clone(&sealer));
        match (&mut session.udp, means.udp) {
            (Some(side), _) => side.suggest(now, &addresses),
            (None, Some(udp)) if !addresses.is_empty() => {
                let relay = Arc::clone(&session.relay) as Arc<dyn SealedPath>;
                let other = (Other::Relay, Some(relay));
                session.udp = Some(UdpSide::new(now, udp, sealer, means.mtu, addresses, other));
            }
            (None, _) => {}
        }
        if let Some(side) = &session.udp {
            means.table.set_direct(index, Some(Arc::clone(&side.path) as Arc<dyn DirectPath>));
        }
        if seal_now {
            session.seal_with(index);
        }
    }

    /// The other end has these keys.
    pub(super) fn seal_with(&mut self, index: u32) {
        if let Some(session) = &self.session {
            session.seal_with(index);
        }
    }

    /// The keys are to be forgotten; with the last of them the session is over.
    pub(super) fn end(&mut self, table: &Table, index: u32) {
        table.remove(index);
        let Some(session) = &mut self.session else { return };
        session.sealers.remove(&index);
        session.opened.remove(&index);
        if session.sealers.is_empty() {
            self.close_session(table);
            self.waiting = waiting(self.peer, &self.ask);
        }
    }

    /// The way through other peers as it is now; `None` if there is none.
    pub(super) fn set_route(&self, route: Option<Route>) {
        let Some(session) = &self.session else { return };
        let there_is_one = route.is_some();
        session.relay.set_route(route);
        // What waited goes first, and only where there is a way.
        if there_is_one {
            self.waiting.drain(Arc::clone(&session.relay) as Arc<dyn FramePath>);
        }
    }

    /// The ways for frames, as forwarding uses them.
    pub(super) fn paths(&self) -> PeerPaths {
        let path = |path: &Arc<RelayPath>| Arc::clone(path) as Arc<dyn FramePath>;
        match &self.session {
            None => {
                PeerPaths { primary: Some(Arc::clone(&self.waiting) as Arc<dyn FramePath>), fallback: None }
            }
            Some(session) => match session.udp.as_ref().filter(|side| side.carries()) {
                Some(side) => PeerPaths {
                    primary: Some(Arc::clone(&side.path) as Arc<dyn FramePath>),
                    fallback: Some(path(&session.relay)),
                },
                None => PeerPaths { primary: Some(path(&session.relay)), fallback: None },
            },
        }
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        if let Some(side) = self.session.as_mut().and_then(|session| session.udp.as_mut()) {
            side.event(now, event);
        }
    }

    /// The other end tells where it may be reached by UDP.
    pub(super) fn told_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        if let Some(side) = self.udp_side() {
            side.told(now, addresses);
        }
    }

    /// Its direct path, if there is one to be tried.
    pub(super) fn udp_side(&mut self) -> Option<&mut UdpSide> {
        self.session.as_mut()?.udp.as_mut()
    }

    /// Our own address as it sees us directly.
    pub(super) fn seen_address(&self) -> Option<SocketAddr> {
        self.session.as_ref()?.udp.as_ref()?.seen_address()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.as_ref()?.udp.as_ref()?.poll_timeout()
    }

    /// Timers of the direct path; gives whether the ways changed.
    pub(super) fn drive(&mut self, now: Instant) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Some(side) = &mut session.udp else { return false };
        side.drive(now, self.peer);
        let is_up = side.carries();
        let changed = std::mem::replace(&mut session.udp_was_up, is_up) != is_up;
        if changed {
            session.since = now;
        }
        changed
    }

    /// How long frames have had no way to it but through others, if that is so.
    pub(super) fn relayed_for(&self, now: Instant) -> Option<Duration> {
        let session = self.session.as_ref().filter(|session| !session.is_direct())?;
        Some(now.saturating_duration_since(session.since))
    }

    /// Looks once a second at what became of it.
    pub(super) fn look(&mut self, now: Instant, table: &Table) -> Look {
        let Some(session) = &mut self.session else {
            return Look { wants: self.waiting.wants(), ..Look::default() };
        };
        let mut look = Look { rekey: session.relay.rekey_is_due(), ..Look::default() };
        let frames = session.counters().map(|(_, c)| c.tx_frames.load(Relaxed)).sum::<u64>();
        look.used = std::mem::replace(&mut session.frames, frames) != frames;
        for &index in session.sealers.keys() {
            let opened = table.opened(index).unwrap_or_default();
            if session.opened.insert(index, opened).unwrap_or_default() != opened {
                look.opened.push(index);
                look.used = true;
            }
        }
        if let Some(side) = session.udp.as_mut().filter(|side| side.is_up()) {
            side.tick(now);
        }
        look
    }

    /// The peer is out of reach, or gone.
    pub(super) fn close(&mut self, table: &Table) {
        self.waiting.close(Drop::NoRoute);
        self.close_session(table);
        // Its counts are taken; nobody may count them again.
        self.waiting = waiting(self.peer, &self.ask);
    }

    fn close_session(&mut self, table: &Table) {
        for (reason, n) in self.waiting.counters().drops.nonzero() {
            *self.past_drops.entry(reason.name()).or_default() += n;
        }
        let Some(session) = self.session.take() else { return };
        session.sealers.keys().for_each(|index| table.remove(*index));
        session.relay.close();
        if let Some(side) = &session.udp {
            side.path.close();
        }
        for (reason, n) in session.counters().flat_map(|(_, counters)| counters.drops.nonzero()) {
            *self.past_drops.entry(reason.name()).or_default() += n;
        }
    }

    /// What was dropped on the ways to it so far, by reason.
    pub(super) fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.past_drops.clone();
        let waiting = self.waiting.counters().drops.nonzero();
        for (reason, n) in self.counters().flat_map(|(_, c)| c.drops.nonzero()).chain(waiting) {
            *all.entry(reason.name()).or_default() += n;
        }
        all
    }

    /// Whether there are keys.
    pub(super) const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// What frames take now, if there are keys.
    pub(super) fn chosen(&self) -> Option<PathKind> {
        let session = self.session.as_ref()?;
        Some(if session.is_direct() { PathKind::Udp } else { PathKind::Relay })
    }

    /// Why frames take the way they take, for people.
    pub(super) fn reason(&self) -> String {
        match &self.session {
            None => "no frames yet".into(),
            Some(Session { udp: Some(side), .. }) => side.reason(),
            Some(_) => "no UDP address of the peer is known, or one of the two routers uses TLS only".into(),
        }
    }

    /// Why frames take it: a reason of a few, for metrics.
    pub(super) fn cause(&self) -> &'static str {
        let side = self.session.as_ref().map(|session| session.udp.as_ref());
        side.map_or("no_keys", |side| side.map_or("untried", |side| side.cause().name()))
    }

    /// What else is known of its direct path, for people.
    pub(super) fn story(&self, now: Instant) -> Vec<String> {
        let side = self.session.as_ref().and_then(|session| session.udp.as_ref());
        side.map_or_else(Vec::new, |side| side.story(now))
    }

    /// How often it was in doubt that the direct path works.
    pub(super) fn doubts(&self) -> Option<u64> {
        self.session.as_ref()?.udp.as_ref().map(UdpSide::doubts)
    }

    /// The longest packet of a container that this way carries in one piece, where that is known.
    pub(super) fn mtu_of(&self, kind: PathKind) -> Option<u32> {
        let side = self.session.as_ref()?.udp.as_ref()?;
        (kind == PathKind::Udp).then(|| side.mtu())
    }

    /// Round-trip time over UDP, if frames take it.
    pub(super) fn udp_rtt(&self) -> Option<Duration> {
        self.session.as_ref()?.udp.as_ref()?.rtt()
    }

    /// The addresses at which it is tried over UDP, and when each answered last.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (SocketAddr, Option<Instant>)> {
        self.session.iter().flat_map(|session| &session.udp).flat_map(UdpSide::candidates)
    }

    /// The address that records go to, where UDP works.
    pub(super) fn udp_address(&self) -> Option<SocketAddr> {
        self.session.as_ref()?.udp.as_ref()?.address()
    }

    /// The cipher of its records.
    pub(super) fn cipher(&self) -> Option<&'static str> {
        self.session.as_ref().map(|session| session.relay.cipher().name())
    }

    /// The counters of each way.
    pub(super) fn counters(&self) -> impl Iterator<Item = (PathKind, &PathCounters)> {
        self.session.iter().flat_map(Session::counters)
    }
}

impl Session {
    fn seal_with(&self, index: u32) {
        let Some(sealer) = self.sealers.get(&index) else { return };
        self.relay.rekey(Arc::clone(sealer));
        if let Some(side) = &self.udp {
            side.path.rekey(Arc::clone(sealer));
        }
    }

    fn is_direct(&self) -> bool {
        self.udp.as_ref().is_some_and(UdpSide::carries)
    }

    fn counters(&self) -> impl Iterator<Item = (PathKind, &PathCounters)> {
        let udp = self.udp.iter().map(|side| (PathKind::Udp, side.path.counters()));
        std::iter::once((PathKind::Relay, self.relay.counters())).chain(udp)
    }
}

fn waiting(peer: PeerName, ask: &Arc<dyn Fn(PeerName) + Send + Sync>) -> Arc<WaitingPath> {
    let ask = Arc::clone(ask);
    Arc::new(WaitingPath::new(Box::new(move || ask(peer))))
}
