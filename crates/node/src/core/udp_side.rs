//! The direct path over UDP to one peer, neighbour or not: probes, trains, and whether it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use mesh::{PathEvent, PathProber, PathState};
use session::Sealer;
use transport_udp::{UdpEvent, UdpPath, UdpTransport};
use wire::PeerName;

use super::trains::Trains;

/// Length of an Ethernet header, which an MTU does not count.
pub(super) const ETHERNET: u32 = 14;
/// The small probe of P4.9: what the IPv6 minimum of 1280 bytes leaves after IPv6 and UDP headers.
const SMALL_RECORD: u16 = 1280 - 40 - 8;
/// The long probe of P4.9 is for a record with so many names: with that, one for MTU 1376 just fits a packet of 1500 bytes over IPv4.
const LONG_NAMES: usize = 2;

pub(super) struct UdpSide {
    pub(super) path: Arc<UdpPath>,
    prober: PathProber,
    trains: Trains,
    /// Our own address as the peer saw it last.
    seen: Option<SocketAddr>,
    news: News,
    /// It worked, and does not now.
    broken: bool,
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
    /// A path to whichever of `candidates` answers.
    pub(super) fn new(
        now: Instant,
        udp: &UdpTransport,
        sealer: Arc<Sealer>,
        mtu: u32,
        candidates: Vec<SocketAddr>,
    ) -> Self {
        let max_frame = (mtu + ETHERNET) as usize;
        let first = candidates.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let path = Arc::new(UdpPath::new(udp.socket(), sealer, first, max_frame));
        let full = path.full_record();
        let bytes = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let prober =
            PathProber::new(now, random_seed(), bytes(full), SMALL_RECORD.min(bytes(full)), candidates)
                .with_long([bytes(path.group_record()), bytes(path.relayed_record(LONG_NAMES))]);
        let trains = Trains::new(now, udp.socket().no_trains());
        Self { path, prober, trains, seen: None, news: News::default(), broken: false }
    }

    pub(super) fn event(&mut self, now: Instant, event: UdpEvent) {
        match event {
            UdpEvent::Answer { token, length, seen, from, arrived, .. } => {
                self.trains.answered(now, token, arrived);
                self.prober.handle_answer(now, token, length, seen, from);
                let seen = self.prober.seen_address();
                self.news.moved |= std::mem::replace(&mut self.seen, seen) != seen;
            }
            UdpEvent::Moved { from, .. } => self.prober.handle_address(now, from),
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
        self.prober.poll_timeout().map(|(at, _)| at).into_iter().chain(self.trains.poll_timeout()).min()
    }

    /// What is due.
    pub(super) fn drive(&mut self, now: Instant, peer: PeerName) {
        if self.prober.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.prober.handle_timeout(now);
        }
        while let Some(probe) = self.prober.poll_transmit() {
            self.trains.probing(now, probe.token, &self.path);
            if let Err(e) = self.path.probe(probe.to, probe.token, probe.length) {
                let unreachable = !is_too_big(&e);
                self.prober.handle_send_error(now, probe.to, unreachable);
            }
        }
        while let Some(event) = self.prober.poll_event() {
            match event {
                PathEvent::Up => {
                    tracing::info!(%peer, "UDP path up");
                    self.news.turned |= std::mem::take(&mut self.broken);
                }
                PathEvent::Down => {
                    tracing::info!(%peer, reason = self.prober.reason(), "UDP path down");
                    (self.news.turned, self.broken) = (true, true);
                }
            }
        }
        if let Some(address) = self.prober.best_address()
            && address != self.path.remote()
        {
            self.path.set_remote(address);
        }
        self.path.set_longest(self.prober.longest().map_or(self.path.full_record(), usize::from));
        self.trains.drive(now, peer, &self.path);
    }

    /// Once a second, while frames take this path.
    pub(super) fn tick(&mut self, now: Instant) {
        self.trains.tick(now, &self.path);
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

    /// Our own address as the peer sees it, where the path works: what it saw before need not hold any more.
    pub(super) fn seen_address(&self) -> Option<SocketAddr> {
        self.prober.seen_address().filter(|_| self.is_up())
    }

    /// What happened since this was asked last.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// The network of this host changed.
    pub(super) fn restart(&mut self, now: Instant) {
        self.prober.restart(now);
    }

    /// Why the path is in its state, for people.
    pub(super) fn reason(&self) -> String {
        self.prober.reason()
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
