//! One neighbour: its link, its sessions over UDP, and which of the ways frames take.

mod trains;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use mesh::{LinkId, PathEvent, PathProber, PathState};
use router::PeerPaths;
use session::{KeyExchange, Role, Sealer, preferred_cipher};
use tokio::sync::mpsc;
use transport::{FramePath, FrameSink, PathCounters, PathKind};
use transport_tls::{Established, Link, LinkEvent, TlsPath};
use transport_udp::{UdpEvent, UdpPath, UdpTransport};
use wire::{Cipher, Message, PeerName, Refuse, SessionKeyShare, TRANSPORT_TLS, TRANSPORT_UDP};

use crate::TransportChoice;
use trains::Trains;

/// Length of an Ethernet header, which an MTU does not count.
const ETHERNET: u32 = 14;
/// The small probe of P4.9: what the IPv6 minimum of 1280 bytes leaves after IPv6 and UDP headers.
const SMALL_RECORD: u16 = 1280 - 40 - 8;
/// A new epoch at the latest after this (P4.1).
const EPOCH: Duration = Duration::from_secs(3600);
/// Old keys go on opening for this long (P4.1).
const OLD_KEYS: Duration = Duration::from_secs(20);
/// The acceptor seals with a new key only when the dialler has surely got its answer.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) struct Neighbour {
    pub(super) peer: PeerName,
    pub(super) authenticated: bool,
    /// MTU of the other end's network, if it told.
    pub(super) mtu: Option<u32>,
    /// What the other end said before it closed.
    pub(super) last_words: Option<Refuse>,
    link: Link,
    tls: Arc<TlsPath>,
    secret: [u8; 32],
    role: Role,
    remote: std::net::SocketAddr,
    remote_udp_port: u16,
    /// Both ends allow it.
    may_udp: bool,
    may_tls: bool,
    offer: Option<Offer>,
    udp: Option<UdpSide>,
    chosen: Option<PathKind>,
    heard_frames: u64,
}

struct Offer {
    epoch: u32,
    index: u32,
    exchange: KeyExchange,
    cipher: Cipher,
}

struct UdpSide {
    path: Arc<UdpPath>,
    prober: PathProber,
    trains: Trains,
    epoch: u32,
    index: u32,
    since: Instant,
    /// Indices of epochs past, and when they stop to open.
    old: Vec<(u32, Instant)>,
    next_sealer: Option<(Instant, Sealer)>,
}

impl Neighbour {
    pub(super) fn start(
        id: LinkId,
        established: Established,
        choice: TransportChoice,
        sink: Arc<dyn FrameSink>,
        events: mpsc::Sender<(u64, LinkEvent)>,
    ) -> Self {
        let ours = transports(choice);
        let both = ours & established.hello.transports;
        let (secret, remote) = (established.session_secret, established.remote);
        let role = if established.outbound { Role::Dialler } else { Role::Acceptor };
        let (peer, authenticated) = (established.hello.name, established.authenticated);
        let remote_udp_port = established.hello.udp_port;
        let mtu = established.hello.frame_max.map(|frame| frame.saturating_sub(ETHERNET));
        let link = established.start(id.0, sink, events);
        let may_udp = both & TRANSPORT_UDP != 0 && remote_udp_port != 0;
        let mut neighbour = Self {
            peer,
            authenticated,
            mtu,
            last_words: None,
            tls: link.path(),
            link,
            secret,
            role,
            remote,
            remote_udp_port,
            may_udp,
            may_tls: both & TRANSPORT_TLS != 0,
            offer: None,
            udp: None,
            chosen: None,
            heard_frames: 0,
        };
        neighbour.choose();
        neighbour
    }

    pub(super) fn send(&self, message: Message) -> bool {
        self.link.send(message)
    }

    /// The dialler opens an epoch (P4.1).
    pub(super) fn offer_session(&mut self) {
        if !self.may_udp || self.role != Role::Dialler {
            return;
        }
        let epoch = self.udp.as_ref().map_or(0, |u| u.epoch + 1);
        // Without randomness nothing works; the next tick tries again.
        let (Ok(exchange), Some(index)) = (KeyExchange::new(), random_index()) else { return };
        let cipher = preferred_cipher();
        let share = SessionKeyShare {
            epoch,
            index,
            public_key: exchange.public_key().to_vec(),
            cipher: Some(cipher as u8),
        };
        if self.link.send(Message::SessionOffer(share)) {
            self.offer = Some(Offer { epoch, index, exchange, cipher });
        }
    }

    /// An offer or an answer; gives whether the ways changed.
    pub(super) fn session_message(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        message: Message,
    ) -> bool {
        let result = match message {
            Message::SessionOffer(share) if self.role == Role::Acceptor && self.may_udp => {
                self.accept_offer(now, udp, mtu, share)
            }
            Message::SessionAnswer(share) if self.role == Role::Dialler => {
                self.take_answer(now, udp, mtu, share)
            }
            _ => None,
        };
        if result.is_none() {
            tracing::debug!(peer = %self.peer, "session message that does not fit, ignored");
        }
        result.is_some()
    }

    fn accept_offer(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        share: SessionKeyShare,
    ) -> Option<()> {
        if self.udp.as_ref().is_some_and(|u| share.epoch <= u.epoch) {
            return None;
        }
        let cipher = Cipher::from_u8(share.cipher.unwrap_or(Cipher::Aes256Gcm as u8))?;
        let (exchange, index) = (KeyExchange::new().ok()?, random_index()?);
        let answer = SessionKeyShare { index, public_key: exchange.public_key().to_vec(), ..share };
        let (sealer, opener) = exchange
            .finish(&share.public_key, &self.secret, self.role, share.epoch, cipher, share.index)
            .ok()?;
        self.take_up(now, udp, mtu, share.epoch, index, sealer, opener);
        self.link.send(Message::SessionAnswer(answer)).then_some(())
    }

    fn take_answer(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        share: SessionKeyShare,
    ) -> Option<()> {
        let offer = self.offer.take_if(|o| o.epoch == share.epoch)?;
        let (sealer, opener) = offer
            .exchange
            .finish(&share.public_key, &self.secret, self.role, offer.epoch, offer.cipher, share.index)
            .ok()?;
        self.take_up(now, udp, mtu, offer.epoch, offer.index, sealer, opener);
        Some(())
    }

    /// Installs the keys of an epoch: the first makes the path, later ones go on with it.
    #[expect(clippy::too_many_arguments, reason = "the parts of one epoch, used together once")]
    fn take_up(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        epoch: u32,
        index: u32,
        sealer: Sealer,
        opener: session::Opener,
    ) {
        match &mut self.udp {
            Some(side) => {
                udp.install(index, self.peer, opener, Arc::clone(&side.path));
                side.old.push((side.index, now + OLD_KEYS));
                (side.epoch, side.index, side.since) = (epoch, index, now);
                match self.role {
                    Role::Dialler => side.path.rekey(sealer),
                    Role::Acceptor => side.next_sealer = Some((now + SETTLE, sealer)),
                }
            }
            None => {
                let address = std::net::SocketAddr::new(self.remote.ip(), self.remote_udp_port);
                let max_frame = (mtu + ETHERNET) as usize;
                let path = Arc::new(UdpPath::new(udp.socket(), sealer, address, max_frame));
                udp.install(index, self.peer, opener, Arc::clone(&path));
                let full = u16::try_from(path.full_record()).unwrap_or(u16::MAX);
                let prober = PathProber::new(now, random_seed(), full, SMALL_RECORD.min(full), vec![address]);
                let trains = Trains::new(now, udp.socket().no_trains());
                self.udp = Some(UdpSide {
                    path,
                    prober,
                    trains,
                    epoch,
                    index,
                    since: now,
                    old: Vec::new(),
                    next_sealer: None,
                });
            }
        }
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        let Some(side) = &mut self.udp else { return };
        match event {
            UdpEvent::Answer { token, length, seen, from, arrived, .. } => {
                side.trains.answered(now, token, arrived);
                side.prober.handle_answer(now, token, length, seen, from)
            }
            UdpEvent::Moved { from, .. } => side.prober.handle_address(now, from),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let side = self.udp.as_ref()?;
        side.prober.poll_timeout().map(|(at, _)| at).into_iter().chain(side.trains.poll_timeout()).min()
    }

    /// Timers of the path; gives whether the ways changed.
    pub(super) fn drive(&mut self, now: Instant, udp: Option<&UdpTransport>) -> bool {
        let Some(side) = &mut self.udp else { return self.choose() };
        if side.prober.poll_timeout().is_some_and(|(at, _)| at <= now) {
            side.prober.handle_timeout(now);
        }
        while let Some(probe) = side.prober.poll_transmit() {
            side.trains.probing(now, probe.token, &side.path);
            if let Err(e) = side.path.probe(probe.to, probe.token, probe.length) {
                let unreachable = !is_too_big(&e);
                side.prober.handle_send_error(now, unreachable);
            }
        }
        while let Some(event) = side.prober.poll_event() {
            match event {
                PathEvent::Up => tracing::info!(peer = %self.peer, "UDP path up"),
                PathEvent::Down => {
                    tracing::info!(peer = %self.peer, reason = side.prober.reason(), "UDP path down")
                }
            }
        }
        if let Some(address) = side.prober.best_address()
            && address != side.path.remote()
        {
            side.path.set_remote(address);
        }
        side.trains.drive(now, self.peer, &side.path);
        if let Some((_, sealer)) = side.next_sealer.take_if(|(at, _)| *at <= now) {
            side.path.rekey(sealer);
        }
        if let Some(udp) = udp {
            side.old.retain(|(index, until)| {
                let keep = *until > now;
                if !keep {
                    udp.remove(*index);
                }
                keep
            });
        }
        self.choose()
    }

    /// Once a second: measures, and opens the next epoch when it is due, or the first if the link took no offer before. An offer that is under
    /// way is never repeated: the link loses nothing, and two exchanges of one epoch could be taken for each other.
    pub(super) fn tick(&mut self, now: Instant) {
        let due = match &self.udp {
            Some(side) => now.saturating_duration_since(side.since) >= EPOCH || side.path.rekey_is_due(),
            None => true,
        };
        if due && self.offer.is_none() {
            self.offer_session();
        }
        if let Some(side) = &mut self.udp
            && self.chosen == Some(PathKind::Udp)
        {
            side.trains.tick(now, &side.path);
        }
    }

    /// Whether frames arrived since the last time this was asked.
    pub(super) fn heard(&mut self) -> bool {
        let frames =
            self.counters().map(|(_, c)| c.rx_frames.load(std::sync::atomic::Ordering::Relaxed)).sum();
        std::mem::replace(&mut self.heard_frames, frames) != frames
    }

    /// Picks the way for frames; gives whether it changed.
    fn choose(&mut self) -> bool {
        let udp_up = self.udp.as_ref().is_some_and(|u| matches!(u.prober.state(), PathState::Up { .. }));
        let chosen = match (udp_up, self.may_tls) {
            (true, _) => Some(PathKind::Udp),
            (false, true) => Some(PathKind::Tls),
            (false, false) => None,
        };
        let changed = chosen != self.chosen;
        if changed && let (Some(from), Some(to)) = (self.chosen, chosen) {
            tracing::info!(peer = %self.peer, from = from.name(), to = to.name(), reason = self.reason(), "frames change their way");
        }
        self.chosen = chosen;
        changed
    }

    /// The ways for frames, as forwarding uses them.
    pub(super) fn paths(&self) -> PeerPaths {
        let tls = || Arc::clone(&self.tls) as Arc<dyn FramePath>;
        match (self.chosen, &self.udp) {
            (Some(PathKind::Udp), Some(side)) => PeerPaths {
                primary: Some(Arc::clone(&side.path) as Arc<dyn FramePath>),
                fallback: self.may_tls.then(tls),
            },
            (Some(_), _) => PeerPaths { primary: Some(tls()), fallback: None },
            (None, _) => PeerPaths::default(),
        }
    }

    pub(super) const fn chosen(&self) -> Option<PathKind> {
        self.chosen
    }

    /// Why frames take the way they take, for people.
    pub(super) fn reason(&self) -> String {
        match (&self.udp, self.may_udp) {
            (Some(side), _) => side.prober.reason(),
            (None, true) => "agreeing on keys for UDP".into(),
            (None, false) if self.may_tls => "one of the two routers uses TLS only".into(),
            (None, false) => "one of the two routers uses UDP only, the other TLS only".into(),
        }
    }

    /// Round-trip time over UDP, if frames take it.
    pub(super) fn udp_rtt(&self) -> Option<Duration> {
        match self.udp.as_ref()?.prober.state() {
            PathState::Up { rtt, .. } => Some(*rtt),
            _ => None,
        }
    }

    /// Why no trains are sent, if so; nothing where frames do not go over UDP.
    pub(super) fn no_trains(&self) -> Option<Option<String>> {
        let side = self.udp.as_ref().filter(|_| self.chosen == Some(PathKind::Udp))?;
        Some(side.trains.why_not())
    }

    /// How often trains were switched off, by reason.
    pub(super) fn trains_switched_off(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.udp.iter().flat_map(|side| side.trains.switched_off())
    }

    /// The cipher of the way that frames take.
    pub(super) fn cipher(&self) -> &'static str {
        match (self.chosen, &self.udp) {
            (Some(PathKind::Udp), Some(side)) => side.path.cipher().name(),
            _ => "TLS 1.3",
        }
    }

    /// The counters of each way.
    pub(super) fn counters(&self) -> impl Iterator<Item = (PathKind, &PathCounters)> {
        let udp = self.udp.as_ref().map(|side| (PathKind::Udp, side.path.counters()));
        std::iter::once((PathKind::Tls, self.tls.counters())).chain(udp)
    }

    pub(super) fn close(self, udp: Option<&UdpTransport>, refuse: Option<Refuse>) {
        if let Some(side) = &self.udp {
            side.path.close();
            if let Some(udp) = udp {
                udp.remove(side.index);
                side.old.iter().for_each(|(index, _)| udp.remove(*index));
            }
        }
        if let Some(refuse) = refuse {
            self.link.close(refuse);
        }
    }
}

/// The bits of P2.8 for a choice.
pub(crate) const fn transports(choice: TransportChoice) -> u8 {
    match choice {
        TransportChoice::Auto => TRANSPORT_UDP | TRANSPORT_TLS,
        TransportChoice::Udp => TRANSPORT_UDP,
        TransportChoice::Tls => TRANSPORT_TLS,
    }
}

/// Random, so that nobody can guess the index of a session that is not his; zero is no index (P4.1).
fn random_index() -> Option<u32> {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(u32::from_be_bytes(bytes).max(1))
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

#[cfg(test)]
mod tests;
