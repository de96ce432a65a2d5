//! The direct path over UDP to one peer, neighbour or not: probes, trains, and whether it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use mesh::{Cause, Choice, Other, PathEvent, PathProber, PathState, Resized, Way};
use session::Sealer;
use transport::{FramePath as _, SealedPath};
use transport_udp::{LEAST_RECORD, UdpEvent, UdpPath, UdpTransport, is_for_want_of_room};
use wire::{ANSWER_RECORD, PeerName};

use super::trains::Trains;

/// Length of an Ethernet header, which an MTU does not count.
pub(super) const ETHERNET: u32 = 14;
/// The long probe of P4.9 is for a record with so many names: with that, one for MTU 1376 just fits a packet of 1500 bytes over IPv4.
const LONG_NAMES: usize = 2;
/// Records a second that are not worth a probe of their own.
const FEW: u64 = 5;

pub(super) struct UdpSide {
    pub(super) path: Arc<UdpPath>,
    prober: PathProber,
    choice: Choice,
    trains: Trains,
    /// Our own address as the peer saw it last.
    seen: Option<SocketAddr>,
    news: News,
    /// Changes of the length of records that were not taken yet.
    resized: Vec<Resized>,
    /// Records with frames that had been sent at the last look.
    sent: u64,
    /// It worked, and does not now.
    broken: bool,
    /// The system refused to send a probe.
    refused: bool,
}

/// What happened to a path that others may have to hear of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    /// The peer sees us at another address than before.
    pub(super) moved: bool,
    /// The path went down, or is back: the peer shall know where we are, and try at the same time.
    pub(super) turned: bool,
}

impl UdpSide {
    /// A path to whichever of `candidates` answers, beside the other way that frames have.
    pub(super) fn new(
        now: Instant,
        udp: &UdpTransport,
        sealer: Arc<Sealer>,
        mtu: u32,
        candidates: Vec<SocketAddr>,
        (other, fallback): (Other, Option<Arc<dyn SealedPath>>),
    ) -> Self {
        let max_frame = (mtu + ETHERNET) as usize;
        let first = candidates.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let path = Arc::new(UdpPath::new(udp.socket(), sealer, first, max_frame));
        let full = path.full_record();
        let bytes = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let prober =
            PathProber::new(now, random_seed(), bytes(full), bytes(LEAST_RECORD.min(full)), candidates)
                .with_long([bytes(path.group_record()), bytes(path.relayed_record(LONG_NAMES))]);
        path.set_fallback(fallback);
        Self {
            path,
            prober,
            choice: Choice::new(now, other),
            trains: Trains::new(now, udp.socket().no_trains()),
            seen: None,
            news: News::default(),
            resized: Vec::new(),
            sent: 0,
            broken: false,
            refused: false,
        }
    }

    pub(super) fn event(&mut self, now: Instant, event: UdpEvent) {
        match event {
            UdpEvent::Answer { token, length, seen, from, arrived, .. } => {
                self.prober.handle_answer(now, token, length, seen, from);
                if let Some((sent_at, sample)) = self.trains.answered(now, token, arrived)
                    && self.prober.best_address() == Some(from)
                {
                    self.choice.handle_answer(now, token, sent_at);
                    if let Some(sample) = sample {
                        self.choice.handle_sample(now, sample);
                    }
                }
                let seen = self.prober.seen_address();
                self.news.moved |= std::mem::replace(&mut self.seen, seen) != seen;
            }
            UdpEvent::Moved { from, .. } => self.prober.handle_address(now, from),
            UdpEvent::Doubted { .. } => self.choice.handle_hint(now),
            UdpEvent::Unreachable { to } if to == self.path.remote() => self.choice.handle_hint(now),
            UdpEvent::Unreachable { .. } => {}
        }
    }

    /// More addresses at which the peer may be.
    pub(super) fn suggest(&mut self, now: Instant, addresses: &[SocketAddr]) {
        addresses.iter().for_each(|&address| self.prober.suggest(now, address));
    }

    /// The peer tells where it may be reached, and tries us at the same time.
    pub(super) fn told(&mut self, now: Instant, addresses: &[SocketAddr]) {
        self.prober.told(now, addresses);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let prober = self.prober.poll_timeout().map(|(at, _)| at);
        let choice = self.choice.poll_timeout();
        prober.into_iter().chain(choice).chain(self.trains.poll_timeout()).min()
    }

    /// What is due.
    pub(super) fn drive(&mut self, now: Instant, peer: PeerName) {
        if let Some(length) = self.path.take_too_long() {
            self.prober.handle_too_long(now, self.path.remote(), length);
        }
        if self.prober.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.prober.handle_timeout(now);
        }
        while let Some(probe) = self.prober.poll_transmit() {
            self.trains.probing(now, probe.token, &self.path);
            if probe.to == self.path.remote() {
                self.choice.handle_probe(now);
            }
            match self.path.probe(probe.to, probe.token, probe.length) {
                Err(e) if is_too_big(&e) => self.prober.handle_too_long(now, probe.to, probe.length),
                // Whether there was room for one of its probes says nothing about a path.
                Err(e) if is_for_want_of_room(&e) => self.prober.handle_send_error(now, probe.to, false),
                Err(_) => {
                    self.refused |= probe.to == self.path.remote();
                    self.prober.handle_send_error(now, probe.to, true);
                }
                Ok(()) => {}
            }
        }
        while let Some(event) = self.prober.poll_event() {
            match event {
                PathEvent::Up => {
                    tracing::info!(%peer, "UDP path up");
                    self.refused = false;
                    self.news.turned |= std::mem::take(&mut self.broken);
                }
                PathEvent::Down => {
                    tracing::info!(%peer, reason = self.prober.reason(), "UDP path down");
                    (self.news.turned, self.broken) = (true, true);
                    self.path.use_main();
                }
                PathEvent::Size(resized) => {
                    let Resized { now: bytes, before, because } = resized;
                    tracing::info!(%peer, bytes, before, %because, full = self.path.full_record(), "longest record over UDP");
                    self.resized.push(resized);
                }
            }
        }
        if let Some(address) = self.prober.best_address()
            && address != self.path.remote()
        {
            self.path.set_remote(address);
        }
        if self.prober.doubts_size() {
            // What is lost meanwhile may have been too long; that tells nothing about what is not.
            self.trains.muddle(now);
            self.choice.forget_counts();
        }
        let size = self.prober.size();
        self.path.set_size(size.into());
        self.path.set_longest(self.prober.longest().unwrap_or(size).into());
        self.choose(now, peer);
        self.trains.drive(now, peer, &self.path);
    }

    /// Which way frames take, and the probes that it takes to know.
    fn choose(&mut self, now: Instant, peer: PeerName) {
        let before = self.choice.way();
        if let Some(errno) = self.path.take_failure() {
            tracing::debug!(%peer, error = %std::io::Error::from_raw_os_error(errno), "the system refused records");
            self.choice.handle_alarm(now);
        }
        if self.choice.wants_look(now) {
            self.look(now);
        }
        let waits = self.choice.can_wait() && self.prober.is_sizing(now);
        self.choice.handle_path(now, self.rtt().filter(|_| !waits), self.refused);
        if self.choice.take_round() {
            self.prober.ask(now);
        }
        while let Some(token) = self.choice.poll_probe(now) {
            self.trains.probing(now, token, &self.path);
            // One that cannot be sent is one that is not answered.
            let _ = self.path.probe(self.path.remote(), token, ANSWER_RECORD as u16);
        }
        let way = self.choice.way();
        if way == Way::Both || before == Way::Both {
            self.trains.muddle(now);
        }
        if way != before {
            tracing::debug!(%peer, ?way, reason = self.reason(), "way of frames");
        }
        // What an older snapshot still sends here when the path is down shall not be lost either.
        self.path.set_doubt(way != Way::Udp);
    }

    fn look(&mut self, now: Instant) {
        self.choice.handle_look(now, self.path.sent().records, self.path.opened());
    }

    /// Once a second, while frames take this path.
    pub(super) fn tick(&mut self, now: Instant) {
        // From now on it is news again.
        self.path.take_peer_doubt();
        let sent = self.path.sent().records;
        if std::mem::replace(&mut self.sent, sent) + FEW < sent {
            self.prober.handle_traffic(now);
        }
        self.look(now);
    }

    /// The link's round-trip time, for comparison.
    pub(super) fn compare(&mut self, now: Instant, link: Option<Duration>) {
        self.choice.handle_link(now, link);
    }

    /// Nothing that was known is to be relied on: this host slept, or its network is another.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.choice.handle_alarm(now);
    }

    /// Whether frames take this path, alone or with the other.
    pub(super) fn carries(&self) -> bool {
        self.choice.way() != Way::Other
    }

    /// Why they do or do not: a reason of a few, for metrics.
    pub(super) const fn cause(&self) -> Cause {
        self.choice.cause()
    }

    /// How often it was in doubt that the path works.
    pub(super) const fn doubts(&self) -> u64 {
        self.choice.doubts()
    }

    /// What else is known, for people: one line each.
    pub(super) fn story(&self, now: Instant) -> Vec<String> {
        let mut lines = self.choice.story(now);
        let (both, other) = self.path.sent_otherwise();
        if both > 0 || other > 0 {
            lines.push(format!(
                "{both} records went both ways, {other} only the other because the system refused them"
            ));
        }
        lines
    }

    /// Whether it works, but not with records of full size.
    pub(super) fn is_narrow(&self) -> bool {
        self.is_up() && usize::from(self.prober.size()) < self.path.full_record()
    }

    /// The longest packet of a container that passes in one piece.
    pub(super) fn mtu(&self) -> u32 {
        u32::try_from(self.path.max_frame()).unwrap_or(u32::MAX).saturating_sub(ETHERNET)
    }

    pub(super) fn is_up(&self) -> bool {
        self.rtt().is_some()
    }

    /// Round-trip time, where the path works.
    pub(super) fn rtt(&self) -> Option<Duration> {
        match self.prober.state() {
            PathState::Up { rtt, .. } => Some(*rtt),
            _ => None,
        }
    }

    /// The addresses at which the peer is tried, and when each answered last.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (SocketAddr, Option<Instant>)> {
        self.prober.candidates()
    }

    /// The address that records go to, where the path works.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.is_up().then(|| self.path.remote())
    }

    /// Our own address as the peer sees it, where the path works: what it saw before need not hold any more. Of a further socket it tells
    /// nothing about the one of all.
    pub(super) fn seen_address(&self) -> Option<SocketAddr> {
        self.prober.seen_address().filter(|_| self.is_up() && !self.path.is_by_extra())
    }

    /// What happened since this was asked last.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// How the length of records changed since this was asked last.
    pub(super) fn take_resized(&mut self) -> Vec<Resized> {
        std::mem::take(&mut self.resized)
    }

    /// The network of this host changed.
    pub(super) fn restart(&mut self, now: Instant) {
        self.prober.restart(now);
        self.choice.restart(now);
        self.doubt(now);
    }

    /// Why the path is in its state, for people.
    pub(super) fn reason(&self) -> String {
        self.choice.reason().unwrap_or_else(|| self.prober.reason())
    }

    /// Why no trains are sent, if so.
    pub(super) fn no_trains(&self) -> Option<String> {
        self.trains.why_not()
    }

    /// How often trains were switched off, by reason.
    pub(super) fn trains_switched_off(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.trains.switched_off()
    }
}

/// Seeds the tokens of probes. They only have to be unguessable for those who cannot open records, so that a system without
/// randomness, which could not have come this far, does no harm.
fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let _ = SystemRandom::new().fill(&mut seed);
    seed
}

fn is_too_big(e: &std::io::Error) -> bool {
    e.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32)
}
