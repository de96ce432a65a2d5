//! A network in memory: hosts, each a [`Mesh`]; links as pairs of ordered queues with latency; a clock that jumps
//! from event to event.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::{Action, DialId, DialTo, Identity, LinkId, LinkUp, Mesh, MeshConfig, SessionEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::{Message, PeerName, Refuse, RefuseCode, Uid};

/// Events after which a run is called endless.
const MAX_EVENTS: usize = 2_000_000;

/// Changes a message on its way; `false`: it is lost.
type Tamper = Box<dyn FnMut(&mut Message, &mut StdRng) -> bool>;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) hosts: Vec<Host>,
    /// Latency of each message, and of each step of a handshake, in milliseconds.
    pub(crate) latency: std::ops::Range<u64>,
    pub(crate) tamper: Option<Tamper>,
    seed: u64,
    rng: StdRng,
    queue: BTreeMap<(Instant, u64), Event>,
    next: u64,
    conns: BTreeMap<u64, Conn>,
    cut: BTreeSet<(usize, usize)>,
}

pub(crate) struct Host {
    pub(crate) mesh: Mesh,
    pub(crate) config: MeshConfig,
    pub(crate) address: SocketAddr,
    /// Whether it runs; a host that does not neither hears nor answers.
    pub(crate) alive: bool,
    pub(crate) seen: Vec<PeerName>,
    pub(crate) gone: Vec<PeerName>,
    /// Every dial, and when it began.
    pub(crate) dials: Vec<(Instant, DialTo)>,
    /// Every refusal or reason that ended a dial or link of this host, told by the other end.
    pub(crate) told: Vec<Refuse>,
    /// What happened to sessions with peers that are not neighbours.
    pub(crate) sessions: Vec<SessionEvent>,
    run: u64,
}

#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    nonce: u32,
}

/// One end of a connection; the dialler's is the first.
#[derive(Debug, Clone, Copy)]
struct End {
    host: usize,
    run: u64,
    open: bool,
    up: bool,
    dial: Option<DialId>,
    address: SocketAddr,
    /// Nothing arrives at this end before then, so that order is kept.
    not_before: Instant,
}

#[derive(Debug)]
enum Event {
    Connect { from: usize, run: u64, dial: DialId, to: SocketAddr },
    DialFailed { host: usize, run: u64, dial: DialId, reason: &'static str },
    Arrives { conn: u64, end: usize, what: What },
}

#[derive(Debug)]
enum What {
    Hello(Box<LinkUp>),
    Message(Message),
    Closed,
}

pub(crate) fn identity(n: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&[n; 32]))
}

pub(crate) fn config(n: u8) -> MeshConfig {
    let identity = identity(n);
    MeshConfig {
        name: identity.name(),
        identity,
        nickname: format!("h{n}"),
        uid: Uid(1000 + u64::from(n)),
        incarnation: 1,
        port: 6783,
        program: "test".into(),
        discovery: true,
        conn_limit: 0,
        seed: [n; 32],
        udp_port: 6783,
        verify: mesh::verify,
    }
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        #[expect(
            clippy::disallowed_methods,
            reason = "a run has to begin at some moment; no outcome depends on which"
        )]
        let now = Instant::now();
        Self {
            now,
            start: now,
            hosts: Vec::new(),
            latency: 1..20,
            tamper: None,
            seed,
            rng: StdRng::from_seed(bytes),
            queue: BTreeMap::new(),
            next: 0,
            conns: BTreeMap::new(),
            cut: BTreeSet::new(),
        }
    }

    /// `n` hosts at 10.0.0.1 and so on, with identities 1 and so on.
    pub(crate) fn with_hosts(seed: u64, n: u8) -> Self {
        let mut net = Self::new(seed);
        for n in 1..=n {
            net.add(config(n));
        }
        net
    }

    pub(crate) fn add(&mut self, config: MeshConfig) -> usize {
        let index = self.hosts.len();
        let address = SocketAddr::from(([10, 0, 0, u8::try_from(index + 1).unwrap()], 6783));
        let mesh = Mesh::new(config.clone(), self.now);
        self.hosts.push(Host {
            mesh,
            config,
            address,
            alive: true,
            seen: Vec::new(),
            gone: Vec::new(),
            dials: Vec::new(),
            told: Vec::new(),
            sessions: Vec::new(),
            run: 0,
        });
        index
    }

    pub(crate) fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    /// The target that names a host.
    pub(crate) fn target(&self, host: usize) -> String {
        self.hosts[host].address.to_string()
    }

    pub(crate) fn connect(&mut self, from: usize, to: usize) {
        let target = self.target(to);
        self.hosts[from].mesh.connect(self.now, &target);
        self.drain(from);
    }

    pub(crate) fn name(&self, host: usize) -> PeerName {
        self.hosts[host].config.name
    }

    /// Does something to a mesh and carries out what follows from it.
    pub(crate) fn with<R>(&mut self, host: usize, f: impl FnOnce(&mut Mesh, Instant) -> R) -> R {
        let result = f(&mut self.hosts[host].mesh, self.now);
        self.drain(host);
        result
    }

    /// From now on nothing passes between the two groups, and nobody is told.
    pub(crate) fn cut(&mut self, one: &[usize], other: &[usize]) {
        for &a in one {
            for &b in other {
                self.cut.insert((a.min(b), a.max(b)));
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// The host is gone from one moment to the next. Its kernel closes its connections if `told`.
    pub(crate) fn kill(&mut self, host: usize, told: bool) {
        self.hosts[host].alive = false;
        self.hosts[host].run += 1;
        if told {
            for conn in self.conns.keys().copied().collect::<Vec<_>>() {
                for end in 0..2 {
                    if self.conns[&conn].ends[end].host == host {
                        self.transmit(conn, 1 - end, What::Closed);
                    }
                }
            }
        }
    }

    /// Starts a host again, with another UID and the next incarnation.
    pub(crate) fn restart(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        h.config.uid = Uid(h.config.uid.0 + 10_000);
        h.config.incarnation += 1;
        h.mesh = Mesh::new(h.config.clone(), self.now);
        h.alive = true;
        h.run += 1;
    }

    /// Sends bytes of a link from `host` to its peer as they are.
    pub(crate) fn inject(&mut self, from: usize, to: usize, message: Message) {
        let link = self.hosts[to].mesh.link_of(self.name(from)).expect("a link");
        self.with(to, |mesh, now| mesh.handle_message(now, link, message));
    }

    /// Lets `s` seconds pass.
    pub(crate) fn run(&mut self, s: f64) {
        let end = self.now + Duration::from_secs_f64(s);
        for _ in 0..MAX_EVENTS {
            for host in 0..self.hosts.len() {
                self.drain(host);
            }
            let timeout = |(n, h): (usize, &Host)| Some((h.mesh.poll_timeout().filter(|_| h.alive)?.0, n));
            let timeout = self.hosts.iter().enumerate().filter_map(timeout).min();
            let event = self.queue.first_key_value().map(|(&(at, _), _)| at);
            match (timeout, event) {
                (Some((at, host)), event) if at <= end && event.is_none_or(|event| at <= event) => {
                    self.now = self.now.max(at);
                    self.hosts[host].mesh.handle_timeout(self.now);
                    let again = self.hosts[host].mesh.poll_timeout();
                    assert!(
                        again.is_none_or(|(at, _)| at > self.now),
                        "seed {}: host {host} is due again at once: {again:?}",
                        self.seed
                    );
                }
                (_, Some(event)) if event <= end => {
                    self.now = self.now.max(event);
                    if let Some((_, event)) = self.queue.pop_first() {
                        self.happen(event);
                    }
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("seed {}: no end of events at {} s", self.seed, self.seconds());
    }

    /// The one connection by which two hosts are linked; `None` when there is none, or they do not agree.
    pub(crate) fn link_between(&self, a: usize, b: usize) -> Option<u64> {
        let of = |x: usize, y: usize| self.hosts[x].mesh.link_of(self.name(y)).map(|l| l.0 / 2);
        of(a, b).filter(|&conn| of(b, a) == Some(conn))
    }

    /// What keeps the hosts from being linked each to each by exactly one connection.
    pub(crate) fn flaws(&self, hosts: &[usize]) -> Vec<String> {
        let mut flaws = Vec::new();
        for (i, &a) in hosts.iter().enumerate() {
            for &b in &hosts[i + 1..] {
                let Some(conn) = self.link_between(a, b) else {
                    flaws.push(format!("{a} and {b} are not linked"));
                    continue;
                };
                let open = self.conns.iter().filter(|(_, c)| {
                    c.ends.iter().all(|e| e.open && e.run == self.hosts[e.host].run)
                        && c.ends.iter().all(|e| e.host == a || e.host == b)
                });
                let open: Vec<_> = open.map(|(&id, _)| id).collect();
                if open != [conn] {
                    flaws.push(format!("{a} and {b} are linked by {conn}, and open are {open:?}"));
                }
            }
        }
        for &a in hosts {
            let peers = self.hosts[a].mesh.peers();
            if peers.len() != hosts.len() {
                flaws.push(format!("{a} knows {} peers", peers.len()));
            }
            for peer in &peers {
                let both = peer.links.iter().filter(|l| l.established_both_ways).count();
                if both != hosts.len() - 1 {
                    flaws.push(format!("{a} sees {both} links of {}", peer.nickname));
                }
            }
        }
        flaws
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.queue.insert((at, self.next), event);
    }

    fn later(&mut self) -> Instant {
        let range = self.latency.clone();
        self.now + Duration::from_micros(self.rng.random_range(range.start * 1000..range.end * 1000))
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Sends something to one end of a connection, in order.
    fn transmit(&mut self, conn: u64, end: usize, mut what: What) {
        if let (What::Message(message), Some(tamper)) = (&mut what, &mut self.tamper)
            && !tamper(message, &mut self.rng)
        {
            return;
        }
        let at = self.later();
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let at = at.max(c.ends[end].not_before);
        c.ends[end].not_before = at;
        let (a, b) = (c.ends[0].host, c.ends[1].host);
        if !self.is_cut(a, b) {
            self.schedule(at, Event::Arrives { conn, end, what });
        }
    }

    fn close(&mut self, conn: u64, end: usize, refuse: Option<Refuse>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if !std::mem::replace(&mut c.ends[end].open, false) {
            return;
        }
        if let Some(refuse) = refuse {
            self.transmit(conn, 1 - end, What::Message(Message::Refuse(refuse)));
        }
        self.transmit(conn, 1 - end, What::Closed);
    }

    fn drain(&mut self, host: usize) {
        while let Some(action) = self.hosts[host].mesh.poll_action() {
            if !self.hosts[host].alive {
                continue;
            }
            match action {
                Action::Dial { id, to } => self.dial(host, id, to),
                Action::Send { link, message } => {
                    let (conn, end) = (link.0 / 2, (link.0 % 2) as usize);
                    if self.conns.get(&conn).is_some_and(|c| c.ends[end].open) {
                        self.transmit(conn, 1 - end, What::Message(message));
                    }
                }
                Action::Close { link, refuse } => self.close(link.0 / 2, (link.0 % 2) as usize, Some(refuse)),
                Action::PeerSeen(name) => self.hosts[host].seen.push(name),
                Action::PeerGone(name) => self.hosts[host].gone.push(name),
                Action::RoutesChanged => {}
            }
        }
        let Host { mesh, sessions, .. } = &mut self.hosts[host];
        sessions.extend(std::iter::from_fn(|| mesh.poll_session()));
    }

    fn dial(&mut self, from: usize, dial: DialId, to: DialTo) {
        self.hosts[from].dials.push((self.now, to.clone()));
        let address = match to {
            DialTo::Target(text) => text.parse().ok(),
            DialTo::Addresses { addresses, .. } => {
                let lives = |to: &&SocketAddr| self.hosts.iter().any(|h| h.address == **to && h.alive);
                addresses.iter().find(lives).or(addresses.first()).copied()
            }
        };
        let (at, run) = (self.later(), self.hosts[from].run);
        match address {
            Some(to) => {
                self.hosts[from].mesh.handle_dialling(self.now, dial, to);
                self.schedule(at, Event::Connect { from, run, dial, to });
            }
            None => self.schedule(at, Event::DialFailed { host: from, run, dial, reason: "no such host" }),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::DialFailed { host, run, dial, reason } => {
                if self.hosts[host].run == run {
                    self.with(host, |mesh, now| mesh.handle_dial_failed(now, dial, reason.into(), None));
                }
            }
            Event::Connect { from, run, dial, to } => self.handshake(from, run, dial, to),
            Event::Arrives { conn, end, what } => self.arrive(conn, end, what),
        }
    }

    fn handshake(&mut self, from: usize, run: u64, dial: DialId, to: SocketAddr) {
        if self.hosts[from].run != run {
            return;
        }
        let host = self.hosts.iter().position(|h| h.address == to && h.alive);
        let Some(host) = host.filter(|&host| !self.is_cut(from, host)) else {
            let at = self.now + Duration::from_secs(1);
            return self.schedule(at, Event::DialFailed { host: from, run, dial, reason: "no answer" });
        };
        self.next += 1;
        let (conn, nonce) = (self.next, self.rng.random());
        let ephemeral = u16::try_from(40_000 + conn % 20_000).unwrap();
        let end = |host, run, dial, address| End {
            host,
            run,
            open: true,
            up: false,
            dial,
            address,
            not_before: self.now,
        };
        // Each end holds the address that it sees the other one at.
        let dialler = end(from, run, Some(dial), to);
        let seen = SocketAddr::new(self.hosts[from].address.ip(), ephemeral);
        let acceptor = end(host, self.hosts[host].run, None, seen);
        self.conns.insert(conn, Conn { ends: [dialler, acceptor], nonce });
        for end in 0..2 {
            let hello = self.hello(conn, end);
            self.transmit(conn, end, What::Hello(Box::new(hello)));
        }
    }

    /// What one end learns from the other's hello.
    fn hello(&self, conn: u64, end: usize) -> LinkUp {
        let c = &self.conns[&conn];
        let (me, other) = (c.ends[end], &self.hosts[c.ends[1 - end].host].config);
        LinkUp {
            peer: other.name,
            public_key: other.identity.public_key(),
            uid: other.uid,
            nickname: other.nickname.clone(),
            incarnation: other.incarnation,
            address: me.address,
            port: other.port,
            outbound: end == 0,
            dial: me.dial,
            dialler_nonce: c.nonce,
            way: mesh::LinkWay::Direct,
        }
    }

    fn arrive(&mut self, conn: u64, end: usize, what: What) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let e = c.ends[end];
        let (link, host) = (LinkId(conn * 2 + end as u64), e.host);
        if !e.open || self.hosts[host].run != e.run || !self.hosts[host].alive {
            return;
        }
        match what {
            What::Hello(up) => {
                c.ends[end].up = true;
                if let Err(refuse) = self.with(host, |mesh, now| mesh.handle_link_up(now, link, *up)) {
                    c_end(&mut self.conns, conn, end).up = false;
                    self.close(conn, end, Some(refuse));
                }
            }
            What::Message(message) => {
                if let Message::Refuse(refuse) = &message {
                    self.hosts[host].told.push(refuse.clone());
                }
                self.with(host, |mesh, now| mesh.handle_message(now, link, message));
            }
            What::Closed => {
                c.ends[end].open = false;
                if e.up {
                    self.with(host, |mesh, now| mesh.handle_link_down(now, link, "closed by the other end"));
                }
            }
        }
    }
}

impl Host {
    pub(crate) fn was_told(&self, code: RefuseCode) -> bool {
        self.told.iter().any(|r| r.known() == Some(code))
    }
}

fn c_end(conns: &mut BTreeMap<u64, Conn>, conn: u64, end: usize) -> &mut End {
    &mut conns.get_mut(&conn).expect("the connection lives").ends[end]
}
