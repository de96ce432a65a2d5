//! Peers, connections between them, and a clock that jumps from event to event.
//!
//! A run depends on nothing but its seed and what is done to it. The clock counts nanoseconds. A peer is asked for its
//! next timeout a millisecond after it was last touched at the latest, and is woken to the millisecond: so do the timers of
//! the daemon, and so a peer that hears a hundred messages at once is asked once.

mod carrying;
mod dialling;
mod failing;
mod frames;
mod turns;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh::{Action, DialId, LinkId, LinkUp, Mesh};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::{PeerName, RefuseCode, Uid};

use crate::conditions::{Conditions, Faults};
use crate::data::Data;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::names::Names;
use crate::peer::{NEVER, Peer, PeerConfig};
use crate::queue::Queue;
use crate::traffic::Traffic;
use frames::Travelling;

/// Resolution of every timer, in nanoseconds.
const TICK: u64 = 1_000_000;
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Wall-clock time at which every world begins, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// A network and everything in it.
pub struct World {
    seed: u64,
    base: Instant,
    now: u64,
    rng: StdRng,
    queue: Queue<Event>,
    peers: Vec<Peer>,
    names: Names,
    conns: Vec<Option<Box<Conn>>>,
    conditions: Conditions,
    faults: Faults,
    handled: u64,
    /// How often a link came up or ended, at one of its ends.
    link_events: u64,
    due: BTreeMap<&'static str, u64>,
    touched: Option<usize>,
    /// Whether peers have a data path.
    framed: bool,
    ledger: Ledger,
    hosts: Vec<Host>,
    traced: bool,
}

/// One TCP connection with TLS on it. The dialler's end is the first.
struct Conn {
    ends: [End; 2],
    nonce: u32,
}

/// One end of a connection, and what is on its way to it.
struct End {
    peer: u32,
    run: u32,
    open: bool,
    up: bool,
    dial: Option<DialId>,
    /// Where this end sees the other one.
    address: SocketAddr,
    /// Nothing arrives before then: a connection keeps its order.
    not_before: u64,
    /// What is not getting through. TCP sends it again until it does.
    held: Vec<Parcel>,
}

/// What travels on a connection.
enum Parcel {
    Hello(Box<LinkUp>),
    Message(Vec<u8>),
    Closed,
}

/// What happens.
enum Event {
    /// A peer is to be looked at.
    Wake(u32),
    /// A starved peer gets its turn.
    Turn(u32),
    /// A call gets there.
    Call(Box<Call>),
    /// A connection is accepted.
    Accept(Box<Call>),
    /// Something comes out of a connection.
    Arrival { conn: u32, end: u8, parcel: Parcel },
    /// A frame, or a record with one, comes out of a link.
    Frame(Box<Travelling>),
    /// A second passed for a data path.
    Tick { peer: u32, run: u32 },
    /// A simulated host is due.
    Host(u32),
    /// A peer is told how a dial failed.
    Fails { peer: u32, run: u32, dial: DialId, reason: &'static str },
}

/// A dial under way.
struct Call {
    from: u32,
    run: u32,
    dial: DialId,
    to: u32,
}

/// What a router is told.
pub(crate) enum Input {
    LinkUp { conn: u32, end: u8, up: Box<LinkUp> },
    Message { conn: u32, end: u8, bytes: Vec<u8> },
    LinkDown { conn: u32, end: u8 },
    DialFailed { dial: DialId, reason: &'static str, code: Option<RefuseCode> },
}

impl World {
    /// An empty one.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a world begins at some moment; nothing depends on which"
        )]
        let base = Instant::now();
        Self {
            seed,
            base,
            now: 0,
            rng: StdRng::seed_from_u64(seed),
            queue: Queue::new(),
            peers: Vec::new(),
            names: Names::default(),
            conns: Vec::new(),
            conditions,
            faults: Faults::default(),
            handled: 0,
            link_events: 0,
            due: BTreeMap::new(),
            touched: None,
            framed: false,
            ledger: Ledger::default(),
            hosts: Vec::new(),
            traced: false,
        }
    }

    /// Gives every peer that is started from now on a data path.
    pub const fn carry_frames_too(&mut self) {
        self.framed = true;
    }

    /// Tells what happens on standard error from now on.
    pub const fn trace(&mut self) {
        self.traced = true;
    }

    /// Adds a host whose router does not run yet; gives its number.
    pub fn add(&mut self, config: &PeerConfig) -> usize {
        let index = self.peers.len();
        let place = (self.rng.random(), self.rng.random());
        let peer = Peer::new(index, config, self.rng.random(), place);
        self.names.insert(peer.name(), index);
        self.peers.push(peer);
        index
    }

    /// Adds `n` ordinary hosts and starts their routers.
    pub fn add_started(&mut self, n: usize) {
        for _ in 0..n {
            let identity = self.peers.len() as u64;
            let index = self.add(&PeerConfig { identity, ..PeerConfig::default() });
            self.start(index);
        }
    }

    /// Starts a router. The incarnation comes from the host's wall clock, or from its disk if that is ahead (P1.5).
    pub fn start(&mut self, peer: usize) {
        let clock = EPOCH_MS + (self.now / 1_000_000) as i64 + self.peers[peer].clock_skew;
        let clock = u64::try_from(clock).unwrap_or(0);
        let incarnation = clock.max(self.peers[peer].config.incarnation + 1);
        self.start_as(peer, incarnation);
    }

    /// Puts back a disk of two runs ago.
    pub fn restore_disk(&mut self, peer: usize) {
        let incarnation = &mut self.peers[peer].config.incarnation;
        *incarnation = incarnation.saturating_sub(2);
    }

    /// Sets a host's wall clock: so far off.
    pub fn set_clock(&mut self, peer: usize, skew_ms: i64) {
        self.peers[peer].clock_skew = skew_ms;
    }

    fn start_as(&mut self, peer: usize, incarnation: u64) {
        let (now, uid, seed) = (self.instant(), self.rng.random(), self.rng.random());
        let p = &mut self.peers[peer];
        p.run += 1;
        p.powered = true;
        p.config.incarnation = incarnation;
        p.config.uid = Uid(uid);
        p.config.seed = seed;
        p.mesh = Some(Box::new(Mesh::new(p.config.clone(), now)));
        if self.framed {
            p.data = Some(Box::new(Data::new(p.config.name, incarnation)));
            let (peer, run) = (peer as u32, p.run);
            self.queue.push(self.now + SECOND, Event::Tick { peer, run });
        }
        self.note(|| format!("{peer} starts, incarnation {incarnation}"));
        for target in self.peers[peer].targets.clone() {
            self.tell(peer, |mesh, now| mesh.connect(now, &target));
        }
        self.carry_out(peer);
    }

    /// Gives a peer a target.
    pub fn connect(&mut self, from: usize, to: usize) {
        let target = self.peers[to].address.to_string();
        if !self.peers[from].targets.contains(&target) {
            self.peers[from].targets.push(target.clone());
        }
        self.tell(from, |mesh, now| mesh.connect(now, &target));
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time.as_nanos() as u64);
    }

    /// Lets the next thing happen, if it does before `end` (since the world began); otherwise it is `end` now.
    pub fn step(&mut self, end: Duration) -> bool {
        let end = end.as_nanos() as u64;
        let next = self.queue.pop_until(end);
        self.now = next.as_ref().map_or(end, |&(at, _)| at);
        let more = next.is_some();
        next.into_iter().for_each(|(_, event)| self.happen(event));
        more
    }

    /// The peer whose router the last step touched.
    pub const fn touched(&self) -> Option<usize> {
        self.touched
    }

    /// How long the world has been there.
    pub const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// What it began with.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Everybody, by number.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The router of a peer, while it runs.
    pub fn mesh(&self, peer: usize) -> Option<&Mesh> {
        self.peers[peer].mesh.as_deref()
    }

    /// The number of the peer of this name; that of the original where there are clones.
    pub fn number(&self, name: PeerName) -> Option<usize> {
        self.names.number(name)
    }

    /// What all sent together.
    pub fn sent(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.peers.iter().for_each(|peer| sum += peer.sent);
        sum
    }

    /// A number below `n`, at random.
    pub fn chance(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n.max(1))
    }

    /// The least time from one peer to another.
    pub fn one_way(&self, from: usize, to: usize) -> Duration {
        Duration::from_nanos(self.distance(from, to))
    }

    /// Things that happened so far.
    pub const fn handled(&self) -> u64 {
        self.handled
    }

    /// How often a link came up or ended, at one of its ends: as long as this stays the same, the same links stand.
    pub const fn link_events(&self) -> u64 {
        self.link_events
    }

    /// How often routers were woken for what.
    pub const fn woken(&self) -> &BTreeMap<&'static str, u64> {
        &self.due
    }

    /// Things that are on their way.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn run_until(&mut self, end: u64) {
        while let Some((at, event)) = self.queue.pop_until(end) {
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        self.handled += 1;
        self.touched = None;
        match event {
            Event::Wake(peer) => self.wake(peer as usize),
            Event::Turn(peer) => self.turn(peer as usize),
            Event::Call(call) => self.answer(call),
            Event::Accept(call) => self.accept(&call),
            Event::Arrival { conn, end, parcel } => self.arrive(conn, end, parcel),
            Event::Fails { peer, run, dial, reason } => {
                if self.peers[peer as usize].run == run {
                    self.hand(peer as usize, Input::DialFailed { dial, reason, code: None });
                }
            }
            Event::Frame(travelling) => self.frame_arrives(*travelling),
            Event::Tick { peer, run } => self.tick(peer as usize, run),
            Event::Host(host) => self.poll_host(host as usize),
        }
    }

    /// Does something to a router that runs, and carries out what follows.
    pub fn tell<R>(&mut self, peer: usize, f: impl FnOnce(&mut Mesh, Instant) -> R) -> Option<R> {
        let now = self.instant();
        let result = self.peers[peer].mesh.as_deref_mut().map(|mesh| f(mesh, now));
        self.carry_out(peer);
        result
    }

    /// Carries out what a router wants done, and sees to it that it is looked at.
    fn carry_out(&mut self, peer: usize) {
        self.touched = Some(peer);
        while self.act(peer) | self.carry_frames(peer) {}
        self.look_soon(peer);
    }

    /// Carries out what the mesh wants done; `false` if there was nothing.
    fn act(&mut self, peer: usize) -> bool {
        let mut some = false;
        while let Some(action) = self.peers[peer].mesh.as_deref_mut().and_then(Mesh::poll_action) {
            some = true;
            match action {
                Action::Dial { id, to } => self.dial(peer, id, &to),
                Action::Send { link, message } => {
                    let (conn, end) = ends_of(link);
                    if self.end(conn, end).is_some_and(|e| e.open) {
                        self.transmit(conn, 1 - end, Parcel::Message(message.encode()));
                    }
                }
                Action::Close { link, refuse } => {
                    let (conn, end) = ends_of(link);
                    self.note(|| format!("{peer} closes {conn}: {refuse}"));
                    self.link_events += 1;
                    self.with_data(peer, Data::touch);
                    self.close(conn, end, Some(refuse));
                }
                Action::PeerGone(name) => {
                    self.note(|| format!("{peer} forgets {name}"));
                    self.with_data(peer, |data| data.forget(name));
                }
                Action::RoutesChanged => self.with_data(peer, Data::touch),
                Action::PeerSeen(_) => {}
            }
        }
        some
    }

    fn look_soon(&mut self, peer: usize) {
        self.wake_by(peer, self.now + 1);
    }

    /// Sees to it that a peer is looked at at the first tick from `at` on.
    fn wake_by(&mut self, peer: usize, at: u64) {
        let at = at.max(self.now + 1).div_ceil(TICK) * TICK;
        let p = &mut self.peers[peer];
        if p.mesh.is_some() && at < p.wake_at {
            p.wake_at = at;
            self.queue.push(at, Event::Wake(peer as u32));
        }
    }

    fn wake(&mut self, peer: usize) {
        // An earlier look has put off this one.
        if self.peers[peer].wake_at != self.now {
            return;
        }
        self.peers[peer].wake_at = NEVER;
        // One without a processor looks at its clock when it gets its turn.
        if self.peers[peer].starved.is_none() {
            self.look(peer);
        } else {
            self.set_turn(peer);
        }
    }

    /// Lets a router do what is due, and notes when the next thing is.
    fn look(&mut self, peer: usize) {
        let now = self.instant();
        let next = |mesh: &mut Mesh| mesh.poll_timeout();
        let due = self.peers[peer].mesh.as_deref_mut().and_then(next);
        if let Some((_, why)) = due.filter(|&(at, _)| at <= now) {
            *self.due.entry(why).or_default() += 1;
            self.tell(peer, |mesh, now| mesh.handle_timeout(now));
            let again = self.peers[peer].mesh.as_deref_mut().and_then(next);
            assert!(
                again.is_none_or(|(at, _)| at > now),
                "seed {}: at {:?} peer {peer} is due again at once: {again:?} after {due:?}",
                self.seed,
                self.elapsed()
            );
        } else if let Some((at, _)) = due {
            self.wake_by(peer, self.nanos(at));
        }
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(NEVER)
    }

    /// Tells what happens to whoever asked for it.
    #[expect(clippy::print_stderr, reason = "a trace is what the operator of a failing seed asked for")]
    fn note(&self, text: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:12.6} {}", self.elapsed().as_secs_f64(), text());
        }
    }
}

/// A link's connection and which end of it.
const fn ends_of(link: LinkId) -> (u32, u8) {
    ((link.0 / 2) as u32, (link.0 % 2) as u8)
}

/// The number by which one end's router knows a connection.
const fn link_id(conn: u32, end: u8) -> LinkId {
    LinkId(conn as u64 * 2 + end as u64)
}
