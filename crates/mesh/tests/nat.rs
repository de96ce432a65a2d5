//! Two peers behind NATs of every kind, and a common peer that tells each where it sees the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh::{PathProber, PathState};

const FULL: u16 = 1429;
/// One way, in milliseconds.
const LATENCY: u64 = 20;
/// For so long a NAT keeps what was sent and never answered, as Linux does.
const UNANSWERED: Duration = Duration::from_secs(30);

/// What a NAT lets in of what it has not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Nothing,
    SameAddress,
    Anything,
}

/// A kind of NAT, in the words of RFC 4787.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Independent(Filter),
    /// Address and port dependent; where it has not sent, nothing comes in.
    Dependent,
}

const KINDS: [Kind; 5] = [
    Kind::None,
    Kind::Independent(Filter::Anything),
    Kind::Independent(Filter::SameAddress),
    Kind::Independent(Filter::Nothing),
    Kind::Dependent,
];

/// A NAT in front of one host.
struct Nat {
    kind: Kind,
    inside: SocketAddr,
    outside: [u8; 4],
    next_port: u16,
    /// The outer port of each mapping: for everyone (`None`) or for one destination.
    mappings: BTreeMap<Option<SocketAddr>, u16>,
    /// What was sent where, by which port, and when last.
    sent: BTreeMap<(u16, SocketAddr), Instant>,
}

impl Nat {
    fn new(kind: Kind, n: u8) -> Self {
        let outside = [203, 0, 113, n];
        let inside = if kind == Kind::None { (outside, 6783).into() } else { ([10, 0, n, 1], 6783).into() };
        Self { kind, inside, outside, next_port: 20_000, mappings: BTreeMap::new(), sent: BTreeMap::new() }
    }

    /// What a datagram to this address has as its source outside.
    fn out(&mut self, now: Instant, to: SocketAddr) -> SocketAddr {
        if self.kind == Kind::None {
            return self.inside;
        }
        let key = (self.kind == Kind::Dependent).then_some(to);
        let next = &mut self.next_port;
        let port = *self.mappings.entry(key).or_insert_with(|| {
            *next += 7;
            *next
        });
        self.sent.insert((port, to), now);
        (self.outside, port).into()
    }

    /// Whether a datagram for this outer address comes in.
    fn lets_in(&self, now: Instant, from: SocketAddr, to: SocketAddr) -> bool {
        let lives = |at: &Instant| now < *at + UNANSWERED;
        match self.kind {
            Kind::None => to == self.inside,
            Kind::Independent(Filter::Anything) => self.mappings.values().any(|&port| port == to.port()),
            Kind::Independent(Filter::SameAddress) => self
                .sent
                .iter()
                .any(|((port, remote), at)| *port == to.port() && remote.ip() == from.ip() && lives(at)),
            Kind::Independent(Filter::Nothing) | Kind::Dependent => {
                self.sent.get(&(to.port(), from)).is_some_and(lives)
            }
        }
    }

    /// Forgets everything, as one that was switched off and on.
    fn flush(&mut self) {
        self.mappings.clear();
        self.sent.clear();
        self.next_port += 1000;
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Probe { token: u64, length: u16 },
    Answer { token: u64, length: u16, seen: SocketAddr },
}

struct Flying {
    at: Instant,
    /// Outer addresses.
    from: SocketAddr,
    to: SocketAddr,
    what: What,
}

/// Two hosts that agreed on keys through a common peer.
struct Pair {
    start: Instant,
    now: Instant,
    nats: [Nat; 2],
    probers: [PathProber; 2],
    last_from: [Option<SocketAddr>; 2],
    flying: Vec<Flying>,
}

fn common() -> SocketAddr {
    ([198, 51, 100, 1], 6783).into()
}

impl Pair {
    /// They begin so many milliseconds apart, and know of each other what `told` says.
    fn new(kinds: [Kind; 2], apart: u64, told: impl Fn(&mut Nat, Instant) -> Vec<SocketAddr>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a run has to begin at some moment; no outcome depends on which"
        )]
        let now = Instant::now();
        let [one, two] = kinds;
        let mut nats = [Nat::new(one, 1), Nat::new(two, 2)];
        let known = [told(&mut nats[1], now), told(&mut nats[0], now)];
        let prober = |n: usize| {
            let begins = now + Duration::from_millis(apart * n as u64);
            PathProber::new(begins, [n as u8; 32], FULL, 1200, known[n].clone())
        };
        let probers = [prober(0), prober(1)];
        Self { start: now, now, nats, probers, last_from: [None; 2], flying: Vec::new() }
    }

    /// Each is told where the common peer sees the other.
    fn met(kinds: [Kind; 2], apart: u64) -> Self {
        Self::new(kinds, apart, |nat, now| vec![nat.out(now, common())])
    }

    fn send(&mut self, n: usize, to: SocketAddr, what: What) {
        let from = self.nats[n].out(self.now, to);
        self.flying.push(Flying { at: self.now + Duration::from_millis(LATENCY), from, to, what });
    }

    fn arrives(&mut self, datagram: &Flying) {
        let Some(n) = (0..2).find(|&n| {
            let nat = &self.nats[n];
            let is_there = datagram.to.ip() == SocketAddr::from((nat.outside, 0)).ip();
            is_there && nat.lets_in(self.now, datagram.from, datagram.to)
        }) else {
            return;
        };
        let (now, from) = (self.now, datagram.from);
        if self.last_from[n].replace(from) != Some(from) {
            self.probers[n].handle_address(now, from);
        }
        match datagram.what {
            What::Probe { token, length } => self.send(n, from, What::Answer { token, length, seen: from }),
            What::Answer { token, length, seen } => {
                self.probers[n].handle_answer(now, token, length, seen, from);
            }
        }
    }

    fn run_until(&mut self, s: f64) {
        let end = self.start + Duration::from_secs_f64(s);
        loop {
            for n in 0..2 {
                while let Some(probe) = self.probers[n].poll_transmit() {
                    self.send(n, probe.to, What::Probe { token: probe.token, length: probe.length });
                }
            }
            let due = self.probers.iter().filter_map(|p| p.poll_timeout().map(|(at, _)| at));
            let next = due.chain(self.flying.iter().map(|f| f.at)).min();
            let Some(next) = next.filter(|&at| at <= end) else { break };
            self.now = self.now.max(next);
            if let Some(at) = self.flying.iter().position(|f| f.at <= self.now) {
                let datagram = self.flying.remove(at);
                self.arrives(&datagram);
            }
            for prober in &mut self.probers {
                if prober.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    prober.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn is_up(&self, n: usize) -> bool {
        matches!(self.probers[n].state(), PathState::Up { .. })
    }

    fn is_direct(&self) -> bool {
        self.is_up(0) && self.is_up(1)
    }

    /// Tells both anew where the common peer sees the other.
    fn tell(&mut self) {
        for n in 0..2 {
            let seen = self.nats[1 - n].out(self.now, common());
            self.probers[n].told(self.now, &[seen]);
        }
    }
}

/// Whether two such peers can be linked directly at all, without guessing ports.
fn can_meet(kinds: [Kind; 2]) -> bool {
    let strict = |kind| matches!(kind, Kind::Dependent | Kind::Independent(Filter::Nothing));
    !(kinds.contains(&Kind::Dependent) && kinds.into_iter().all(strict))
}

#[test]
fn every_pair_meets_within_5_s_but_dependent_with_dependent_or_port_restricted() {
    let mut direct = 0;
    for one in KINDS {
        for two in KINDS {
            // The one that answers has the keys half a round trip later, and either end may be slow.
            for apart in [0, 20, 300, 900] {
                let mut pair = Pair::met([one, two], apart);
                pair.run_until(5.0);
                assert_eq!(pair.is_direct(), can_meet([one, two]), "{one:?}, {two:?}, {apart} ms apart");
                direct += usize::from(pair.is_direct());
            }
        }
    }
    assert_eq!(direct, (25 - 3) * 4);
}

#[test]
fn who_is_behind_a_nat_with_another_port_is_found_by_the_one_it_dialled() {
    for kind in KINDS {
        // The acceptor knows the address of the link and the port of the hello, which the NAT does not map.
        let mut pair = Pair::new([kind, Kind::None], 20, |nat, _| vec![(nat.outside, 6783).into()]);
        pair.run_until(2.0);
        assert!(pair.is_direct(), "{kind:?}");
    }
}

#[test]
fn two_that_meet_by_chance_only_meet_while_nats_remember_what_was_not_answered() {
    let kinds = [Kind::Independent(Filter::Nothing); 2];
    let mut pair = Pair::met(kinds, 90_000);
    pair.run_until(89.0);
    assert!(!pair.is_direct(), "the second has not begun");
    pair.run_until(131.0);
    assert!(pair.is_direct());
}

#[test]
fn mappings_that_are_flushed_are_made_anew_within_5_s_where_the_control_path_tells() {
    for one in KINDS {
        for two in KINDS {
            if !can_meet([one, two]) {
                continue;
            }
            let mut pair = Pair::met([one, two], 20);
            pair.run_until(10.0);
            assert!(pair.is_direct());
            pair.nats.iter_mut().for_each(Nat::flush);
            // The probes to neighbours, every 3 s, show it.
            pair.run_until(13.2);
            pair.tell();
            pair.run_until(15.0);
            assert!(pair.is_direct(), "{one:?}, {two:?}");
            // Nobody holds on to an address that is void.
            pair.run_until(25.0);
            assert!(pair.is_direct(), "{one:?}, {two:?}");
            let seen: BTreeSet<_> = pair.probers.iter().filter_map(PathProber::seen_address).collect();
            assert_eq!(seen.len(), 2);
        }
    }
}
