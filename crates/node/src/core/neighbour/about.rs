//! What is known of a neighbour and of the ways to it, for reports and for others.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mesh::{LinkWay, MeetingPoint};
use session::Role;
use transport::{FramePath as _, PathCounters, PathKind};

use super::Neighbour;
use crate::Proxy;

impl Neighbour {
    /// Why frames take the way they take, for people.
    pub(in crate::core) fn reason(&self) -> String {
        match (&self.udp, self.may_udp) {
            (Some(session), _) => session.side.reason(),
            (None, true) => "agreeing on keys for UDP".into(),
            (None, false) if self.may_tls => "one of the two routers uses TLS only".into(),
            (None, false) => "one of the two routers uses UDP only, the other TLS only".into(),
        }
    }

    /// Why frames take it: a reason of a few, for metrics.
    pub(in crate::core) fn cause(&self) -> &'static str {
        self.udp.as_ref().map_or("untried", |session| session.side.cause().name())
    }

    /// What else is known of its path over UDP, for people.
    pub(in crate::core) fn story(&self, now: Instant) -> Vec<String> {
        self.udp.as_ref().map_or_else(Vec::new, |session| session.side.story(now))
    }

    /// How often it was in doubt that UDP works.
    pub(in crate::core) fn doubts(&self) -> Option<u64> {
        self.udp.as_ref().map(|session| session.side.doubts())
    }

    /// The longest packet of a container that this way carries in one piece, where that is known.
    pub(in crate::core) fn mtu_of(&self, kind: PathKind) -> Option<u32> {
        self.udp.as_ref().filter(|_| kind == PathKind::Udp).map(|session| session.side.mtu())
    }

    /// Round-trip time over UDP, if frames take it.
    pub(in crate::core) fn udp_rtt(&self) -> Option<Duration> {
        self.udp.as_ref()?.side.rtt()
    }

    /// The addresses at which the other end is tried over UDP, and when each answered last.
    pub(in crate::core) fn candidates(&self) -> impl Iterator<Item = (SocketAddr, Option<Instant>)> {
        self.udp.iter().flat_map(|session| session.side.candidates())
    }

    /// The address that records go to, where UDP works.
    pub(in crate::core) fn udp_address(&self) -> Option<SocketAddr> {
        self.udp.as_ref()?.side.address()
    }

    /// Our own UDP address as the other end sees it.
    pub(in crate::core) fn seen_address(&self) -> Option<SocketAddr> {
        self.udp.as_ref()?.side.seen_address()
    }

    /// Why no trains are sent, if so; nothing where frames do not go over UDP.
    pub(in crate::core) fn no_trains(&self) -> Option<Option<String>> {
        let session = self.udp.as_ref().filter(|_| self.chosen == Some(PathKind::Udp))?;
        Some(session.side.no_trains())
    }

    /// How often trains were switched off, by reason.
    pub(in crate::core) fn trains_switched_off(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.udp.iter().flat_map(|session| session.side.trains_switched_off())
    }

    /// What the link goes by, for people; nothing where one end just dialled the other.
    pub(in crate::core) fn via(&self, proxy: Option<&Proxy>) -> Option<String> {
        match (self.way, proxy) {
            (LinkWay::Direct, _) => None,
            (LinkWay::Proxy, Some(proxy)) => Some(format!("proxy {}", proxy.server.place())),
            (LinkWay::Proxy, None) => Some("a proxy".to_owned()),
            (LinkWay::TheirProxy, _) => Some("a proxy of the peer".to_owned()),
            (LinkWay::Meeting, _) => Some("simultaneous open".to_owned()),
        }
    }

    /// A local port whose outer address is known.
    pub(in crate::core) fn meeting_point(&self) -> Option<MeetingPoint> {
        let is_ours = self.way == LinkWay::Direct && self.role == Role::Dialler;
        let seen = self.seen.filter(|_| is_ours)?;
        Some(MeetingPoint { local: self.local, seen })
    }

    /// Our own address, where the other end sees the one of a NAT or a proxy.
    pub(in crate::core) fn inside_address(&self) -> Option<IpAddr> {
        let ip = self.local.ip();
        let differs = match self.way {
            LinkWay::Proxy | LinkWay::TheirProxy => true,
            LinkWay::Direct | LinkWay::Meeting => self.seen.is_some_and(|seen| seen.ip() != ip),
        };
        (differs && !ip.is_loopback()).then_some(ip)
    }

    /// Whether it is time to tell a neighbour behind a proxy where we may be reached.
    pub(in crate::core) fn is_to_be_told(&mut self, now: Instant) -> bool {
        self.tell_at.take_if(|at| *at <= now).is_some()
    }

    /// Where frames go over TLS although both ends have UDP, and nothing was ever heard over it: for how long.
    pub(in crate::core) fn udp_blocked_for(&self, now: Instant) -> Option<Duration> {
        let session = self.udp.as_ref().filter(|_| self.chosen == Some(PathKind::Tls))?;
        let silent = session.side.candidates().all(|(_, answered)| answered.is_none());
        silent.then(|| now.saturating_duration_since(self.up_since))
    }

    /// The cipher of the way that frames take.
    pub(in crate::core) fn cipher(&self) -> &'static str {
        match (self.chosen, &self.udp) {
            (Some(PathKind::Udp), Some(session)) => session.side.path.cipher().name(),
            _ => "TLS 1.3",
        }
    }

    /// The counters of each way.
    pub(in crate::core) fn counters(&self) -> impl Iterator<Item = (PathKind, &PathCounters)> {
        let udp = self.udp.as_ref().map(|session| (PathKind::Udp, session.side.path.counters()));
        std::iter::once((PathKind::Tls, self.tls.counters())).chain(udp)
    }
}
