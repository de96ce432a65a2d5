//! The links that are up: are they alive, how far away is the other end, and which of two stays.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use wire::{LinkEntry, PeerName, RefuseCode, Uid};

use crate::mesh::{LinkId, LinkUp};

/// How often a ping goes out on each link (P2.7).
const PING_EVERY: Duration = Duration::from_secs(3);
/// A link on which nothing arrives for this long is closed (P2.11).
const SILENCE: Duration = Duration::from_secs(10);
/// How long the old link has to answer when its peer comes with another UID (P3.7).
const PROOF: Duration = Duration::from_secs(3);
/// Noticing silence later than this means that we were not running, so that what arrived lies unread. The link then
/// gets one more ping's time to be heard on.
const STALLED: Duration = Duration::from_secs(1);
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
}

/// All links that are up; at most one for each peer.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerName, LinkId>,
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
            proof: None,
        };
        self.by_peer.insert(up.peer, id);
        self.links.insert(id, link);
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.by_peer.remove(&link.peer);
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
            Some(LinkEntry { peer: link.peer, address: link.address.to_string(), outbound: link.outbound })
        };
        self.by_peer.values().filter_map(entry).collect()
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

    /// A pong arrived. Tells where a second router of the same identity was refused, if this pong proves that there
    /// are two (P3.7).
    pub(crate) fn pong(&mut self, now: Instant, id: LinkId, token: u64) -> Option<SocketAddr> {
        let link = self.links.get_mut(&id)?;
        let at = link.pings.iter().position(|&(t, _)| t == token)?;
        // Pongs come in the order of the pings, so those before this one were lost.
        let sent = link.pings.drain(..=at).next_back().map(|(_, sent)| sent);
        if let Some(sent) = sent {
            link.srtt = Some(smooth(link.srtt, now.saturating_duration_since(sent)));
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
        Some(LinkEvent::Ping(id, token))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut StdRng) -> Vec<LinkEvent> {
        let mut events = Vec::new();
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
        events
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let of = |link: &Link| {
            let proof = link.proof.as_ref().map(|p| (p.until, "a peer's proof is due"));
            [Some((link.ping_at, "a ping is due")), Some((link.heard + SILENCE, "a link is silent")), proof]
        };
        self.links.values().flat_map(of).flatten().min()
    }
}

impl Link {
    /// Smoothed round-trip time.
    pub(crate) const fn rtt(&self) -> Option<Duration> {
        self.srtt
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
            match self.at(s)[..] {
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
    fn ten_seconds_of_silence_end_a_link_and_anything_heard_saves_it() {
        let mut rig = Rig::new();
        for s in [0.0, 3.0, 6.0] {
            rig.ping(s);
        }
        rig.links.heard(rig.start + Duration::from_secs(2), ID);
        rig.ping(9.0);
        assert_eq!(rig.at(11.9), []);
        assert_eq!(rig.at(12.0), [LinkEvent::Silent(ID)]);
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
