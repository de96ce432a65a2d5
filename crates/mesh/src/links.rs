//! The links that are up: are they alive, how far away is the other end, and which of two stays.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use topology::cost::{self, MAX_CLASS};
use wire::{LinkEntry, PeerName, RefuseCode, Uid};

use crate::mesh::{LinkId, LinkUp};

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
    /// Orders two links between the same peers (P2.10): the dialler's name, then its nonce.
    pub(crate) rank: (PeerName, u32),
    pub(crate) up_since: Instant,
    /// The code of the refusal that arrived on it: it is about to be closed by the other end.
    pub(crate) refusal: Option<RefuseCode>,
    heard: Instant,
    ping_at: Instant,
    pings: VecDeque<(u64, Instant)>,
    srtt: Option<Duration>,
    /// The class of cost that `srtt` is in.
    class: Option<u8>,
    /// The class that we state (P8.1).
    cost: Option<u8>,
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
            rank,
            up_since: now,
            refusal: None,
            heard: now,
            ping_at: now,
            pings: VecDeque::new(),
            srtt: None,
            class: None,
            cost: None,
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
        let entry = |id| {
            let link: &Link = self.links.get(id)?;
            Some(LinkEntry {
                peer: link.peer,
                address: link.address,
                outbound: link.outbound,
                cost: link.cost(),
            })
        };
        self.by_peer.values().filter_map(entry).collect()
    }

    /// Our neighbours and what the links to them cost.
    pub(crate) fn costs(&self) -> Vec<(PeerName, u8)> {
        self.by_peer.iter().filter_map(|(&peer, id)| Some((peer, self.links.get(id)?.cost()))).collect()
    }

    /// Something arrived on this link.
    pub(crate) fn heard(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.heard = link.heard.max(now);
        }
    }

    /// The other end refused the link: it closes next.
    pub(crate) fn refused(&mut self, id: LinkId, code: Option<RefuseCode>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.refusal = code;
        }
    }

    /// States each link at the class that its round-trip time is in now. Says whether that changes anything.
    pub(crate) fn recost(&mut self, now: Instant) -> bool {
        self.recost_at = None;
        let mut changed = false;
        for link in self.links.values_mut() {
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
            let srtt = smooth(link.srtt, now.saturating_duration_since(sent));
            link.srtt = Some(srtt);
            let class = link.class.map_or_else(|| cost::class(srtt), |class| cost::next_class(class, srtt));
            link.class = Some(class);
            if link.cost.is_none() {
                // The first measurement is stated as soon as the link itself.
                self.recost_at = Some(now);
            } else if link.cost != Some(class) {
                let soonest = self.recosted.map_or(now, |last| now.max(last + RECOST_EVERY));
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
        for (&id, link) in &mut self.links {
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
        self.look_at = self.links.values().filter_map(Link::look_at).min();
        events
    }

    /// When to look at the links again, and what for. It may turn out that by then something was heard.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.recost_at.map(|at| (at, "a cost changed")).into_iter().chain(self.look_at).min()
    }
}

impl Link {
    /// Smoothed round-trip time.
    pub(crate) const fn rtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// The class of cost that we state. While nothing is measured the worst is assumed.
    pub(crate) const fn cost(&self) -> u8 {
        if let Some(cost) = self.cost { cost } else { MAX_CLASS }
    }

    fn look_at(&self) -> Option<(Instant, &'static str)> {
        let proof = self.proof.as_ref().map(|p| (p.until, "a peer's proof is due"));
        let own = [(self.ping_at, "a ping is due"), (self.heard + SILENCE, "a link is silent")];
        own.into_iter().chain(proof).min()
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

/// SRTT of RFC 6298 section 2: the first measurement as it is, then one eighth of each new one.
pub(crate) fn smooth(srtt: Option<Duration>, rtt: Duration) -> Duration {
    srtt.map_or(rtt, |srtt| srtt * 7 / 8 + rtt / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{link_up, start};
    use rand::SeedableRng;

    const ID: LinkId = LinkId(1);

    struct Rig {
        links: Links,
        rng: StdRng,
        start: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let (start, up) = (start(), link_up(2, true));
            let mut links = Links::default();
            links.add(start, ID, &up, (up.peer, 0));
            Self { links, rng: StdRng::from_seed([1; 32]), start }
        }

        fn at(&mut self, s: f64) -> Vec<LinkEvent> {
            self.links.handle_timeout(self.start + Duration::from_secs_f64(s), &mut self.rng)
        }

        fn ping(&mut self, s: f64) -> u64 {
            let mut events = self.at(s);
            events.retain(|e| *e != LinkEvent::Costs);
            match events[..] {
                [LinkEvent::Ping(ID, token)] => token,
                ref other => panic!("no ping at {s} s but {other:?}"),
            }
        }

        fn pong(&mut self, s: f64, token: u64) -> Option<SocketAddr> {
            let now = self.start + Duration::from_secs_f64(s);
            self.links.heard(now, ID);
            self.links.pong(now, ID, token)
        }
    }

    #[test]
    fn a_ping_goes_out_at_once_and_every_3_s() {
        let mut rig = Rig::new();
        let mut tokens = vec![rig.ping(0.0)];
        assert_eq!(rig.links.poll_timeout(), Some((rig.start + PING_EVERY, "a ping is due")));
        assert_eq!(rig.at(2.9), []);
        tokens.extend([rig.ping(3.0), rig.ping(6.0)]);
        tokens.dedup();
        assert_eq!(tokens.len(), 3);
    }

    #[test]
    fn silence_of_6_5_s_ends_a_link_and_anything_heard_saves_it() {
        let mut rig = Rig::new();
        for s in [0.0, 3.0, 6.0] {
            rig.ping(s);
        }
        rig.links.heard(rig.start + Duration::from_secs(4), ID);
        rig.ping(9.0);
        assert_eq!(rig.at(10.4), []);
        assert_eq!(rig.at(10.5), [LinkEvent::Silent(ID)]);
    }

    #[test]
    fn a_cost_is_stated_when_it_is_first_known_and_then_twice_a_minute_at_most() {
        let mut rig = Rig::new();
        let cost = |rig: &Rig| rig.links.entries()[0].cost;
        assert_eq!(cost(&rig), MAX_CLASS, "nothing is known");
        let token = rig.ping(0.0);
        rig.pong(0.003, token);
        assert_eq!(rig.at(0.003), [LinkEvent::Costs]);
        assert_eq!((cost(&rig), rig.links.costs()[0].1), (2, 2));
        let mut stated = Vec::new();
        for n in 1..40 {
            let s = f64::from(n) * 3.0;
            let events = rig.at(s);
            if events.contains(&LinkEvent::Costs) {
                stated.push((s, cost(&rig)));
            }
            for event in events {
                if let LinkEvent::Ping(_, token) = event {
                    rig.pong(s + 0.1, token);
                }
            }
        }
        assert_eq!(stated, [(33.0, 6), (63.0, 7)], "nothing is stated that did not change");
    }

    #[test]
    fn a_cost_that_wavers_around_a_bound_is_stated_once() {
        let mut rig = Rig::new();
        for n in 0..100 {
            let s = f64::from(n) * 3.0;
            let token = rig
                .at(s)
                .into_iter()
                .find_map(|e| if let LinkEvent::Ping(_, t) = e { Some(t) } else { None });
            rig.pong(s + if n % 2 == 0 { 0.0078 } else { 0.0083 }, token.unwrap());
            if n > 0 {
                assert!(!rig.at(s + 0.1).contains(&LinkEvent::Costs));
            }
        }
    }

    #[test]
    fn a_host_that_slept_does_not_take_its_own_absence_for_silence() {
        let mut rig = Rig::new();
        rig.ping(0.0);
        rig.ping(500.0);
        assert_eq!(rig.at(502.9), []);
        assert_eq!(rig.at(503.0), [LinkEvent::Silent(ID)], "the one more ping was not answered either");
    }

    #[test]
    fn a_host_that_slept_gives_its_peer_another_3_s_for_the_proof() {
        let mut rig = Rig::new();
        let newcomer = "10.0.0.9:1".parse().unwrap();
        let Some(LinkEvent::Ping(ID, token)) = rig.links.demand_proof(rig.start, ID, newcomer, &mut rig.rng)
        else {
            panic!("no ping");
        };
        assert!(matches!(rig.at(500.0)[..], [LinkEvent::Ping(..)]));
        assert_eq!(rig.pong(500.1, token), Some(newcomer), "it lay unread");
    }

    #[test]
    fn the_round_trip_time_is_smoothed_as_rfc_6298_says() {
        let mut rig = Rig::new();
        let ms = Duration::from_millis;
        let token = rig.ping(0.0);
        rig.pong(0.080, token);
        assert_eq!(rig.links.get(ID).unwrap().rtt(), Some(ms(80)));
        let token = rig.ping(3.0);
        rig.pong(3.160, token);
        assert_eq!(rig.links.get(ID).unwrap().rtt(), Some(ms(90)));
    }

    #[test]
    fn a_pong_nobody_asked_for_or_a_second_one_measures_nothing() {
        let mut rig = Rig::new();
        rig.pong(0.5, 4711);
        assert_eq!(rig.links.get(ID).unwrap().rtt(), None);
        let token = rig.ping(1.0);
        rig.pong(1.1, token);
        let once = rig.links.get(ID).unwrap().rtt();
        rig.pong(2.9, token);
        assert_eq!(rig.links.get(ID).unwrap().rtt(), once);
    }

    #[test]
    fn a_proof_that_does_not_come_within_3_s_ends_the_old_link() {
        let mut rig = Rig::new();
        let earlier = rig.ping(0.0);
        let newcomer = "10.0.0.9:1".parse().unwrap();
        let now = rig.start + Duration::from_secs(1);
        assert!(matches!(rig.links.demand_proof(now, ID, newcomer, &mut rig.rng), Some(LinkEvent::Ping(..))));
        assert_eq!(
            rig.links.demand_proof(now, ID, newcomer, &mut rig.rng),
            None,
            "asking twice does not prolong it"
        );
        assert_eq!(rig.pong(1.5, earlier), None, "an answer under way before the question proves nothing");
        assert_eq!(rig.at(1.5), [LinkEvent::Costs]);
        assert_eq!(rig.links.poll_timeout().unwrap().0, rig.start + Duration::from_secs(4));
        assert_eq!(rig.at(4.0), [LinkEvent::Superseded(ID)]);
    }

    #[test]
    fn a_proof_in_time_names_where_the_second_router_is() {
        let mut rig = Rig::new();
        let newcomer = "10.0.0.9:1".parse().unwrap();
        let Some(LinkEvent::Ping(ID, token)) = rig.links.demand_proof(rig.start, ID, newcomer, &mut rig.rng)
        else {
            panic!("no ping");
        };
        assert_eq!(rig.pong(2.9, token), Some(newcomer));
        assert!(!rig.at(3.0).contains(&LinkEvent::Superseded(ID)));
    }
}
