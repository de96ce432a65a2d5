//! From a dial to a link: one round trip for TCP, another one for TLS, and the hellos.

use std::net::SocketAddr;

use mesh::{DialId, DialTo, LinkUp};
use rand::RngExt;

use super::{Call, Conn, End, Event, Parcel, World};

/// What the daemon waits for an answer to its SYN.
const CONNECT_TIMEOUT: u64 = 5_000_000_000;
/// What either end waits for the handshake: an acceptor that is overrun leaves callers waiting as long.
const HANDSHAKE_TIMEOUT: u64 = 10_000_000_000;

impl World {
    pub(super) fn dial(&mut self, from: usize, dial: DialId, to: &DialTo) {
        let (peer, run) = (from as u32, self.peers[from].run);
        let fails = |reason| Event::Fails { peer, run, dial, reason };
        let Some(address) = self.address_of(to) else {
            return self.queue.push(self.now + 1, fails("no such host"));
        };
        let now = self.instant();
        if let Some(mesh) = &mut self.peers[from].mesh {
            mesh.handle_dialling(now, dial, address);
        }
        self.note(|| format!("{from} dials {to:?}"));
        match self.host_at(address) {
            Some(to) if self.passes(from, to) && self.passes(to, from) && self.peers[to].powered => {
                let at = self.now + self.trip(from, to);
                self.queue.push(at, Event::Call(Box::new(Call { from: peer, run, dial, to: to as u32 })));
            }
            _ => self.queue.push(self.now + CONNECT_TIMEOUT, fails("no answer within 5 s")),
        }
    }

    /// Where a dial goes. Of several addresses the one where somebody lives answers first.
    fn address_of(&self, to: &DialTo) -> Option<SocketAddr> {
        match to {
            DialTo::Target(text) => text.parse().ok(),
            DialTo::Addresses { addresses, .. } => {
                let lives = |address: &&SocketAddr| self.host_at(**address).is_some();
                addresses.iter().find(lives).or(addresses.first()).copied()
            }
        }
    }

    /// A SYN gets there.
    pub(super) fn answer(&mut self, call: Box<Call>) {
        let (from, to) = (call.from as usize, call.to as usize);
        let trip = self.trip(to, from);
        if !self.peers[to].is_alive() || !self.peers[to].listens {
            let fails = Event::Fails {
                peer: call.from,
                run: call.run,
                dial: call.dial,
                reason: "connection refused",
            };
            return self.queue.push(self.now + trip, fails);
        }
        let accepted = self.accept_time(to);
        if accepted - self.now > HANDSHAKE_TIMEOUT {
            let fails = Event::Fails {
                peer: call.from,
                run: call.run,
                dial: call.dial,
                reason: "no handshake within 10 s",
            };
            return self.queue.push(self.now + HANDSHAKE_TIMEOUT, fails);
        }
        // The answer to the SYN, and the two flights of the handshake that follow it.
        self.queue.push(accepted + 2 * trip, Event::Accept(call));
    }

    /// The handshake is over: a connection stands, and the hellos are on their way.
    pub(super) fn accept(&mut self, call: &Call) {
        let (from, to) = (call.from as usize, call.to as usize);
        if self.peers[from].run != call.run {
            return;
        }
        if !self.peers[to].is_alive() || !self.passes(from, to) || !self.passes(to, from) {
            let fails = Event::Fails {
                peer: call.from,
                run: call.run,
                dial: call.dial,
                reason: "handshake broke off",
            };
            return self.queue.push(self.now + CONNECT_TIMEOUT, fails);
        }
        let conn = self.conns.len() as u32;
        let nonce = self.rng.random();
        let ephemeral = 32_768 + (conn % 28_000) as u16;
        let end = |peer: usize, run, dial, address| End {
            peer: peer as u32,
            run,
            open: true,
            up: false,
            dial,
            address,
            not_before: 0,
            held: Vec::new(),
        };
        let dialler = end(from, call.run, Some(call.dial), self.peers[to].address);
        let seen = SocketAddr::new(self.peers[from].address.ip(), ephemeral);
        let acceptor = end(to, self.peers[to].run, None, seen);
        self.conns.push(Some(Box::new(Conn { ends: [dialler, acceptor], nonce })));
        self.peers[from].conns.push(conn);
        self.peers[to].conns.push(conn);
        for end in 0..2 {
            if let Some(up) = self.hello(conn, end) {
                self.transmit(conn, end, Parcel::Hello(Box::new(up)));
            }
        }
    }

    /// What one end learns from the other's hello.
    fn hello(&self, conn: u32, end: u8) -> Option<LinkUp> {
        let c = self.conns[conn as usize].as_deref()?;
        let (me, other) = (&c.ends[usize::from(end)], &c.ends[usize::from(1 - end)]);
        let other = &self.peers[other.peer as usize].config;
        Some(LinkUp {
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
        })
    }

    /// When the next connection is accepted: a token bucket, as the daemon has it.
    fn accept_time(&mut self, peer: usize) -> u64 {
        let every = self.conditions.accept_every.as_nanos() as u64;
        let ahead = every * u64::from(self.conditions.accept_burst);
        let p = &mut self.peers[peer];
        p.accept_free = p.accept_free.max(self.now) + every;
        p.accept_free.saturating_sub(ahead).max(self.now)
    }

    fn host_at(&self, address: SocketAddr) -> Option<usize> {
        let std::net::IpAddr::V4(ip) = address.ip() else { return None };
        let [ten, a, b, c] = ip.octets();
        let number = u32::from_be_bytes([0, a, b, c]).checked_sub(1)? as usize;
        (ten == 10 && address.port() == 6783 && number < self.peers.len()).then_some(number)
    }

    /// Whether a call from one to the other gets through.
    fn passes(&self, from: usize, to: usize) -> bool {
        !self.faults.blocked.contains(&(from, to)) && !self.is_silent(from, to)
    }
}
