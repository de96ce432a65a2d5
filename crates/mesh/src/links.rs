//! The links that are up: are they alive, how far away is the other end, and which of two stays.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use topology::cost::{self, CONTROL_ONLY, MAX_CLASS};
use wire::{LinkEntry, PeerName, RefuseCode, Uid};

use crate::mesh::{LinkId, LinkUp, LinkWay};

/// How often a ping goes out on each link (P2.7).
const PING_EVERY: Duration = Duration::from_secs(3);
/// A link on which nothing arrives for this long is closed (P2.11).
const SILENCE: Duration = Duration::from_millis(6500);
/// How long the old link has to answer when its peer comes with another UID (P3.7).
const PROOF: Duration = Duration::from_secs(3);
/// Noticing silence later than this means that we were not running, so that what arrived lies unread. The link then
/// gets one more ping's time to be heard on.
const STALLED: Duration = Duration::from_secs(1);
/// How often links are stated anew only because their costs changed. Everyone hears of it, and a route that is a little
/// dearer than another for half a minute harms nobody.
const RECOST_EVERY: Duration = Duration::from_secs(30);
/// How long a cost that changed is watched before it is stated, so that one that goes on changing is stated once.
const SETTLED: Duration = Duration::from_secs(10);
/// A time is far shorter than another if that is so many times as long.
const FAR_SHORTER: u32 = 4;
/// So many times far shorter, one after the other, are believed at once.
const IN_A_ROW: u32 = 3;
/// How long a link that is up waits for its first measurement before it is stated: so it is mostly stated once.
const MEASURE: Duration = Duration::from_secs(1);
/// Frames that came by a link make it a busy one for so long.
const BUSY: Duration = Duration::from_secs(60);
/// Pings whose answers are awaited; more than fit between two of them before silence ends the link.
const MAX_PINGS: usize = 8;

/// One link that is up.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerName,
    pub(crate) uid: Uid,
    pub(crate) nickname: String,
    pub(crate) address: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) way: LinkWay,
    /// Orders two links between the same peers (P2.10): the dialler's name, then its nonce.
    pub(crate) rank: (PeerName, u32),
    pub(crate) up_since: Instant,
    /// The code of the refusal that arrived on it, so that it is about to be closed by the other end; or with which we close it.
    pub(crate) refusal: Option<RefuseCode>,
    heard: Instant,
    /// When frames came by it last.
    frames_at: Option<Instant>,
    ping_at: Instant,
    pings: VecDeque<(u64, Instant)>,
    srtt: Option<Duration>,
    shorter: Shorter,
    /// The class of cost that `srtt` is in.
    class: Option<u8>,
    /// The class that we state (P8.1).
    cost: Option<u8>,
    /// It carries control only: frames have no transport to this peer that works.
    is_control_only: bool,
    proof: Option<Proof>,
}

/// The old link is asked to prove that its router still runs (P3.7).
#[derive(Debug)]
struct Proof {
    token: u64,
    until: Instant,
    newcomer: SocketAddr,
}

/// What the links want done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// Send a ping with this token.
    Ping(LinkId, u64),
    /// Close it: nothing was heard for too long.
    Silent(LinkId),
    /// Close it: its router did not answer while one of the same identity asks to be let in.
    Superseded(LinkId),
    /// State what the links cost anew.
    Costs,
}

/// All links that are up; at most one for each peer.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerName, LinkId>,
    /// No link needs to be looked at before.
    look_at: Option<(Instant, &'static str)>,
    /// When costs may be stated anew, if they changed; and when that was done last.
    recost_at: Option<Instant>,
    recosted: Option<Instant>,
}

impl Links {
    pub(crate) fn add(&mut self, now: Instant, id: LinkId, up: &LinkUp, rank: (PeerName, u32)) {
        let link = Link {
            peer: up.peer,
            uid: up.uid,
            nickname: up.nickname.clone(),
            address: up.address,
            outbound: up.outbound,
            way: up.way,
            rank,
            up_since: now,
            refusal: None,
            heard: now,
            frames_at: None,
            ping_at: now,
            pings: VecDeque::new(),
            srtt: None,
            shorter: Shorter::default(),
            class: None,
            cost: None,
            is_control_only: false,
            proof: None,
        };
        self.look_at = link.look_at().into_iter().chain(self.look_at).min();
        self.by_peer.insert(up.peer, id);
        self.links.insert(id, link);
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.by_peer.remove(&link.peer);
        if link.look_at() <= self.look_at {
            self.look_at = self.links.values().filter_map(Link::look_at).min();
        }
        Some(link)
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(crate) fn of_peer(&self, peer: PeerName) -> Option<LinkId> {
        self.by_peer.get(&peer).copied()
    }

    pub(crate) fn has_peer(&self, peer: PeerName) -> bool {
        self.by_peer.contains_key(&peer)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(&id, link)| (id, link))
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerName> {
        self.by_peer.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Our links as we state them to everyone (P5.4).
    pub(crate) fn entries(&self) -> Vec<LinkEntry> {
        self.by_name().filter(|link| link.cost.is_some()).map(Link::entry).collect()
    }

    /// Our links, also those that are too young to be stated.
    pub(crate) fn all_entries(&self) -> Vec<LinkEntry> {
        self.by_name().map(Link::entry).collect()
    }

    /// Our neighbours and what the links to them cost.
    pub(crate) fn costs(&self) -> Vec<(PeerName, u8)> {
        self.by_name().map(|link| (link.peer, link.cost())).collect()
    }

    fn by_name(&self) -> impl Iterator<Item = &Link> {
        self.by_peer.values().filter_map(|id| self.links.get(id))
    }

    /// Something arrived on this link.
    pub(crate) fn heard(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.heard = link.heard.max(now);
        }
    }

    /// Frames arrived by this link.
    pub(crate) fn carried(&mut self, now: Instant, id: LinkId) {
        self.heard(now, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.frames_at = link.frames_at.max(Some(now));
        }
    }

    /// The other end refused the link: it closes next.
    pub(crate) fn refused(&mut self, id: LinkId, code: Option<RefuseCode>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.refusal = code;
        }
    }

    /// Whether this link carries frames. Says whether that is news.
    pub(crate) fn carries_frames(&mut self, id: LinkId, carries: bool) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        std::mem::replace(&mut link.is_control_only, !carries) == carries
    }

    /// States each link at the class that its round-trip time is in now. Says whether that changes anything.
    pub(crate) fn recost(&mut self, now: Instant) -> bool {
        self.recost_at = None;
        let mut changed = false;
        for link in self.links.values_mut().filter(|link| link.class.is_some()) {
            changed |= std::mem::replace(&mut link.cost, link.class) != link.class;
        }
        if changed {
            self.recosted = Some(now);
        }
        changed
    }

    /// A pong arrived. Tells where a second router of the same identity was refused, if this pong proves that there
    /// are two (P3.7).
    pub(crate) fn pong(&mut self, now: Instant, id: LinkId, token: u64) -> Option<SocketAddr> {
        let link = self.links.get_mut(&id)?;
        let at = link.pings.iter().position(|&(t, _)| t == token)?;
        // Pongs come in the order of the pings, so those before this one were lost.
        let sent = link.pings.drain(..=at).next_back().map(|(_, sent)| sent);
        if let Some(sent) = sent {
            let srtt = link.shorter.approach(link.srtt, now.saturating_duration_since(sent));
            link.srtt = Some(srtt);
            let class = link.class.map_or_else(|| cost::class(srtt), |class| cost::next_class(class, srtt));
            link.class = Some(class);
            if link.cost.is_none() {
                // The first measurement is stated as soon as the link itself.
                self.recost_at = Some(now);
            } else if link.cost != Some(class) {
                let settled = now + SETTLED;
                let soonest = self.recosted.map_or(settled, |last| settled.max(last + RECOST_EVERY));
                self.recost_at.get_or_insert(soonest);
            }
        }
        link.proof.take_if(|p| p.token == token).map(|p| p.newcomer)
    }

    /// Asks the router behind this link to prove that it still runs, as one of the same identity came from
    /// `newcomer` (P3.7).
    pub(crate) fn demand_proof(
        &mut self,
        now: Instant,
        id: LinkId,
        newcomer: SocketAddr,
        rng: &mut StdRng,
    ) -> Option<LinkEvent> {
        let link = self.links.get_mut(&id)?;
        if link.proof.is_some() {
            return None;
        }
        let token = link.ping(now, rng);
        link.proof = Some(Proof { token, until: now + PROOF, newcomer });
        self.look_at = self.links.values().filter_map(Link::look_at).min();
        Some(LinkEvent::Ping(id, token))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut StdRng) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        if self.recost_at.is_some_and(|at| at <= now) && self.recost(now) {
            events.push(LinkEvent::Costs);
        }
        if self.look_at.is_none_or(|(at, _)| now < at) {
            return events;
        }
        let mut unmeasured = false;
        for (&id, link) in &mut self.links {
            if link.cost.is_none() && now >= link.up_since + MEASURE {
                link.cost = Some(MAX_CLASS);
                unmeasured = true;
            }
            if now >= link.heard + SILENCE + STALLED {
                link.heard = now - (SILENCE - PING_EVERY);
                link.ping_at = now;
                if let Some(proof) = &mut link.proof {
                    proof.until = proof.until.max(now + PROOF);
                }
            }
            if now >= link.heard + SILENCE {
                events.push(LinkEvent::Silent(id));
            } else if link.proof.as_ref().is_some_and(|p| now >= p.until) {
                events.push(LinkEvent::Superseded(id));
            } else if now >= link.ping_at {
                events.push(LinkEvent::Ping(id, link.ping(now, rng)));
            }
        }
        if unmeasured && !events.contains(&LinkEvent::Costs) {
            events.push(LinkEvent::Costs);
        }
        self.look_at = self.links.values().filter_map(Link::look_at).min();
        events
    }

    /// All of them are asked at the next look, which is due now.
    pub(crate) fn ping_all(&mut self, now: Instant) {
        self.links.values_mut().for_each(|link| link.ping_at = link.ping_at.min(now));
        self.look_at = self.links.values().filter_map(Link::look_at).min();
    }

    /// When to look at the links again, and what for. It may turn out that by then something was heard.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.recost_at.map(|at| (at, "a cost changed")).into_iter().chain(self.look_at).min()
    }
}

impl Link {
    /// Whether frames came by it lately.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        self.frames_at.is_some_and(|at| now < at + BUSY)
    }

    /// Smoothed round-trip time.
    pub(crate) const fn rtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// The class of cost that we state. While nothing is measured the worst is assumed.
    pub(crate) const fn cost(&self) -> u8 {
        match self.cost {
            _ if self.is_control_only => CONTROL_ONLY,
            Some(cost) => cost,
            None => MAX_CLASS,
        }
    }

    fn look_at(&self) -> Option<(Instant, &'static str)> {
        let proof = self.proof.as_ref().map(|p| (p.until, "a peer's proof is due"));
        let own = [(self.ping_at, "a ping is due"), (self.heard + SILENCE, "a link is silent")];
        let measure = self.cost.is_none().then(|| (self.up_since + MEASURE, "a link is to be stated"));
        own.into_iter().chain(proof).chain(measure).min()
    }

    /// What others may dial is stated as dialled; a proxy's address is of no use to them.
    const fn entry(&self) -> LinkEntry {
        let (address, outbound) = match self.way {
            LinkWay::Direct | LinkWay::Proxy => (self.address, self.outbound),
            LinkWay::TheirProxy => (SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), false),
            LinkWay::Meeting => (self.address, false),
        };
        LinkEntry { peer: self.peer, address, outbound, cost: self.cost() }
    }

    fn ping(&mut self, now: Instant, rng: &mut StdRng) -> u64 {
        let token = rng.random();
        self.ping_at = now + PING_EVERY;
        self.pings.push_back((token, now));
        if self.pings.len() > MAX_PINGS {
            self.pings.pop_front();
        }
        token
    }
}

/// Measurements in a row that were far shorter than the smoothed time: how many, and the longest of them.
#[derive(Debug, Default)]
struct Shorter {
    row: u32,
    longest: Duration,
}

impl Shorter {
    /// The time that a link's cost follows. A queue, or a host without a processor, makes a time longer than the way is; nothing
    /// makes it shorter. So where times are far shorter again and again, those before say nothing any more. One alone proves
    /// nothing: times that only waver must not move the cost.
    fn approach(&mut self, srtt: Option<Duration>, rtt: Duration) -> Duration {
        if srtt.is_none_or(|srtt| rtt > srtt / FAR_SHORTER) {
            *self = Self::default();
            return smooth(srtt, rtt);
        }
        (self.row, self.longest) = (self.row + 1, self.longest.max(rtt));
        if self.row < IN_A_ROW {
            return smooth(srtt, rtt);
        }
        std::mem::take(self).longest
    }
}

/// SRTT of RFC 6298 section 2: the first measurement as it is, then one eighth of each new one.
pub(crate) fn smooth(srtt: Option<Duration>, rtt: Duration) -> Duration {
    srtt.map_or(rtt, |srtt| srtt * 7 / 8 + rtt / 8)
}

#[cfg(test)]
mod tests;
