//! One neighbour: its link, its sessions over UDP, and which of the ways frames take.

mod about;
mod epochs;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mesh::{LinkId, LinkWay};
use router::PeerPaths;
use session::{KeyExchange, Role, Sealer};
use tokio::sync::mpsc;
use transport::{FramePath, FrameSink, HopPath, HopPaths, PathKind};
use transport_tls::{Established, Handover, Link, LinkEvent, TlsPath};
use transport_udp::{UdpEvent, UdpTransport};
use wire::{Cipher, Message, PeerName, Refuse, TRANSPORT_TLS, TRANSPORT_UDP};

use epochs::EPOCH;

use super::udp_side::{ETHERNET, UdpSide};
use crate::TransportChoice;

/// How long frames over UDP count for the link too: where they crowd it, its pings take their time. Where only short records pass, long
/// segments of the link are likely to be lost.
const VOUCHED: Duration = Duration::from_secs(20);
const VOUCHED_NARROW: Duration = Duration::from_secs(1);
/// By then the two ends of a new link know each other's facts, without which neither takes what the other tells.
const FACTS_ARRIVE: Duration = Duration::from_secs(1);

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
    remote: SocketAddr,
    remote_udp_port: u16,
    way: LinkWay,
    /// Our own end of the link, and where its other end sees it.
    local: SocketAddr,
    seen: Option<SocketAddr>,
    /// When a neighbour behind a proxy is told where we may be reached: it cannot see that.
    tell_at: Option<Instant>,
    up_since: Instant,
    /// Both ends allow it.
    may_udp: bool,
    may_tls: bool,
    offer: Option<Offer>,
    udp: Option<UdpSession>,
    chosen: Option<PathKind>,
    /// Frames that came by the link and over UDP, when last looked at.
    heard_frames: [u64; 2],
    /// When something came by the link itself.
    link_heard_at: Instant,
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

/// Where what comes by a link goes.
pub(super) struct Upwards {
    pub(super) frames: Arc<dyn FrameSink>,
    pub(super) events: mpsc::Sender<(u64, LinkEvent)>,
    /// To the thread that reads links while they are quiet; without one each has a task.
    pub(super) handover: Option<Handover>,
}

impl Neighbour {
    /// # Errors
    /// When the system cannot watch one more connection.
    pub(super) fn start(
        now: Instant,
        id: LinkId,
        established: Established,
        way: LinkWay,
        choice: TransportChoice,
        upwards: Upwards,
    ) -> io::Result<Self> {
        let ours = transports(choice);
        let both = ours & established.hello.transports;
        let (secret, remote) = (established.session_secret, established.remote);
        let role = if established.outbound { Role::Dialler } else { Role::Acceptor };
        let (peer, authenticated) = (established.hello.name, established.authenticated);
        let remote_udp_port = established.hello.udp_port;
        let mtu = established.hello.frame_max.map(|frame| frame.saturating_sub(ETHERNET));
        let local = established.local;
        let seen = established.hello.seen.as_ref().and_then(|seen| seen.parse().ok());
        let link = established.start(id.0, upwards.frames, upwards.events, upwards.handover)?;
        let may_udp = both & TRANSPORT_UDP != 0 && remote_udp_port != 0;
        let is_proxied = matches!(way, LinkWay::Proxy | LinkWay::TheirProxy);
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
            way,
            local,
            seen,
            tell_at: is_proxied.then_some(now + FACTS_ARRIVE),
            up_since: now,
            may_udp,
            may_tls: both & TRANSPORT_TLS != 0,
            offer: None,
            udp: None,
            chosen: None,
            heard_frames: [0; 2],
            link_heard_at: now,
        };
        neighbour.choose();
        Ok(neighbour)
    }

    pub(super) fn send(&self, message: Message) -> bool {
        self.link.send(message)
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        if let Some(session) = &mut self.udp {
            session.side.event(now, event);
        }
    }

    /// The other end tells where it may be reached by UDP.
    pub(super) fn told_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
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

    /// Whether frames arrived since the last time this was asked, as far as they tell that the link lives. Those that come over UDP do so
    /// for a while only: the link may have stalled where they pass.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        let mut frames = [0; 2];
        for (kind, counters) in self.counters() {
            frames[usize::from(kind == PathKind::Udp)] += counters.rx_frames.load(Relaxed);
        }
        let [by_link, by_udp] = self.heard_frames;
        self.heard_frames = frames;
        if frames[0] != by_link {
            self.link_heard_at = now;
        }
        let is_narrow = self.udp.as_ref().is_some_and(|session| session.side.is_narrow());
        let vouched = if is_narrow { VOUCHED_NARROW } else { VOUCHED };
        frames[0] != by_link || (frames[1] != by_udp && now < self.link_heard_at + vouched)
    }

    /// A message came by the link.
    pub(super) const fn link_heard(&mut self, now: Instant) {
        self.link_heard_at = now;
    }

    /// The other end's address.
    pub(super) const fn ip(&self) -> IpAddr {
        self.remote.ip()
    }

    /// The same where records of full size do not reach it: full segments of TCP are not likely to.
    pub(super) fn narrow_address(&self) -> Option<IpAddr> {
        self.udp.as_ref().filter(|session| session.side.is_narrow()).map(|_| self.ip())
    }

    /// Picks the way for frames; gives whether it changed.
    fn choose(&mut self) -> bool {
        let udp_up = self.udp.as_ref().is_some_and(|session| session.side.carries());
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

#[cfg(test)]
mod tests;
