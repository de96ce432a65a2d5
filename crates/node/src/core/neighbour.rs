//! One neighbour: its link, its sessions over UDP, and which of the ways frames take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use mesh::LinkId;
use router::PeerPaths;
use session::{KeyExchange, Role, Sealer, preferred_cipher};
use tokio::sync::mpsc;
use transport::{FramePath, FrameSink, HopPath, HopPaths, PathCounters, PathKind};
use transport_tls::{Established, Link, LinkEvent, TlsPath};
use transport_udp::{UdpEvent, UdpTransport};
use wire::{Cipher, Message, PeerName, Refuse, SessionKeyShare, TRANSPORT_TLS, TRANSPORT_UDP};

use super::udp_side::{ETHERNET, UdpSide};
use crate::TransportChoice;

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
    udp: Option<UdpSession>,
    chosen: Option<PathKind>,
    heard_frames: u64,
}

struct Offer {
    epoch: u32,
    index: u32,
    exchange: KeyExchange,
    cipher: Cipher,
}

/// The epochs of the session with a neighbour, and the path they are for.
struct UdpSession {
    side: UdpSide,
    epoch: u32,
    index: u32,
    since: Instant,
    /// Indices of epochs past, and when they stop to open.
    old: Vec<(u32, Instant)>,
    next_sealer: Option<(Instant, Arc<Sealer>)>,
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
        // Where only a proxy knows the other end's address, there is none to send records to.
        let may_udp = both & TRANSPORT_UDP != 0 && remote_udp_port != 0 && !remote.ip().is_unspecified();
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
        let sealer = Arc::new(sealer);
        match &mut self.udp {
            Some(session) => {
                udp.install(index, self.peer, opener, Arc::clone(&session.side.path));
                session.old.push((session.index, now + OLD_KEYS));
                (session.epoch, session.index, session.since) = (epoch, index, now);
                match self.role {
                    Role::Dialler => session.side.path.rekey(sealer),
                    Role::Acceptor => session.next_sealer = Some((now + SETTLE, sealer)),
                }
            }
            None => {
                let address = std::net::SocketAddr::new(self.remote.ip(), self.remote_udp_port);
                let side = UdpSide::new(now, udp, sealer, mtu, vec![address]);
                udp.install(index, self.peer, opener, Arc::clone(&side.path));
                self.udp =
                    Some(UdpSession { side, epoch, index, since: now, old: Vec::new(), next_sealer: None });
            }
        }
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        if let Some(session) = &mut self.udp {
            session.side.event(now, event);
        }
    }

    /// The other end tells where it may be reached by UDP.
    pub(super) fn told_addresses(&mut self, now: Instant, addresses: &[std::net::SocketAddr]) {
        if let Some(session) = &mut self.udp {
            session.side.told(now, addresses);
        }
    }

    /// Its path over UDP, if there are keys.
    pub(super) fn udp_side(&mut self) -> Option<&mut UdpSide> {
        self.udp.as_mut().map(|session| &mut session.side)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.udp.as_ref()?.side.poll_timeout()
    }

    /// Timers of the path; gives whether the ways changed.
    pub(super) fn drive(&mut self, now: Instant, udp: Option<&UdpTransport>) -> bool {
        let Some(session) = &mut self.udp else { return self.choose() };
        session.side.drive(now, self.peer);
        if let Some((_, sealer)) = session.next_sealer.take_if(|(at, _)| *at <= now) {
            session.side.path.rekey(sealer);
        }
        if let Some(udp) = udp {
            session.old.retain(|(index, until)| {
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
            Some(session) => {
                now.saturating_duration_since(session.since) >= EPOCH || session.side.path.rekey_is_due()
            }
            None => true,
        };
        if due && self.offer.is_none() {
            self.offer_session();
        }
        if let Some(session) = &mut self.udp
            && self.chosen == Some(PathKind::Udp)
        {
            session.side.tick(now);
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
        let udp_up = self.udp.as_ref().is_some_and(|session| session.side.is_up());
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

    /// The ways for frames to this peer alone, as forwarding uses them.
    pub(super) fn paths(&self) -> PeerPaths {
        self.hop().map_or_else(PeerPaths::default, |hop| PeerPaths {
            primary: Some(hop.primary as Arc<dyn FramePath>),
            fallback: hop.fallback.map(|path| path as Arc<dyn FramePath>),
        })
    }

    /// The same for what it shall pass on too.
    pub(super) fn hop(&self) -> Option<HopPaths> {
        let tls = || Arc::clone(&self.tls) as Arc<dyn HopPath>;
        match (self.chosen?, &self.udp) {
            (PathKind::Udp, Some(session)) => Some(HopPaths {
                primary: Arc::clone(&session.side.path) as Arc<dyn HopPath>,
                fallback: self.may_tls.then(tls),
            }),
            _ => Some(HopPaths { primary: tls(), fallback: None }),
        }
    }

    pub(super) const fn chosen(&self) -> Option<PathKind> {
        self.chosen
    }

    /// Why frames take the way they take, for people.
    pub(super) fn reason(&self) -> String {
        match (&self.udp, self.may_udp) {
            (Some(session), _) => session.side.reason(),
            (None, true) => "agreeing on keys for UDP".into(),
            (None, false) if self.may_tls => "one of the two routers uses TLS only".into(),
            (None, false) => "one of the two routers uses UDP only, the other TLS only".into(),
        }
    }

    /// Round-trip time over UDP, if frames take it.
    pub(super) fn udp_rtt(&self) -> Option<Duration> {
        self.udp.as_ref()?.side.rtt()
    }

    /// The addresses at which the other end is tried over UDP, and when each answered last.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (std::net::SocketAddr, Option<Instant>)> {
        self.udp.iter().flat_map(|session| session.side.candidates())
    }

    /// The address that records go to, where UDP works.
    pub(super) fn udp_address(&self) -> Option<std::net::SocketAddr> {
        self.udp.as_ref()?.side.address()
    }

    /// Our own UDP address as the other end sees it.
    pub(super) fn seen_address(&self) -> Option<std::net::SocketAddr> {
        self.udp.as_ref()?.side.seen_address()
    }

    /// Why no trains are sent, if so; nothing where frames do not go over UDP.
    pub(super) fn no_trains(&self) -> Option<Option<String>> {
        let session = self.udp.as_ref().filter(|_| self.chosen == Some(PathKind::Udp))?;
        Some(session.side.no_trains())
    }

    /// How often trains were switched off, by reason.
    pub(super) fn trains_switched_off(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.udp.iter().flat_map(|session| session.side.trains_switched_off())
    }

    /// The cipher of the way that frames take.
    pub(super) fn cipher(&self) -> &'static str {
        match (self.chosen, &self.udp) {
            (Some(PathKind::Udp), Some(session)) => session.side.path.cipher().name(),
            _ => "TLS 1.3",
        }
    }

    /// The counters of each way.
    pub(super) fn counters(&self) -> impl Iterator<Item = (PathKind, &PathCounters)> {
        let udp = self.udp.as_ref().map(|session| (PathKind::Udp, session.side.path.counters()));
        std::iter::once((PathKind::Tls, self.tls.counters())).chain(udp)
    }

    pub(super) fn close(self, udp: Option<&UdpTransport>, refuse: Option<Refuse>) {
        if let Some(session) = &self.udp {
            session.side.path.close();
            if let Some(udp) = udp {
                udp.remove(session.index);
                session.old.iter().for_each(|(index, _)| udp.remove(*index));
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

#[cfg(test)]
mod tests;
