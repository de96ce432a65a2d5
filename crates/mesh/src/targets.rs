//! Whom to dial, and when.
//!
//! A *target* was given by the operator; it is kept exactly as given, and for ever. An *address* was heard of from
//! others; it is dialled while its peer is within reach and not linked, and given up when its peer is forgotten.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use wire::{PeerName, RefuseCode};

use crate::attempt::{Attempt, Failure, Progress};
use crate::links::Links;
use crate::mesh::{DialId, DialTo, LinkId};
use crate::view::{ConnectionState, TargetView};
use entry::{Discovered, Goal, Target, address_mut};

/// How much later than the other one the peer with the higher name dials an address it heard of, so that two who
/// hear of each other seldom dial at once. Longer than a handshake across the globe with its two round trips.
const HEAD_START: Duration = Duration::from_millis(500);
/// Everything that is or may be dialled.
#[derive(Debug)]
pub(crate) struct Targets {
    own: PeerName,
    discovery: bool,
    /// Most links at once; 0: no limit. Targets are exempt: the operator named them.
    limit: usize,
    configured: Vec<Target>,
    discovered: BTreeMap<PeerName, Discovered>,
    dials: BTreeMap<DialId, Goal>,
    last_dial: u64,
}

/// One line of what is being tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) address: String,
    pub(crate) state: ConnectionState,
    pub(crate) peer: Option<PeerName>,
    pub(crate) error: Option<String>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) target: Option<String>,
}

impl Targets {
    pub(crate) const fn new(own: PeerName, discovery: bool, limit: usize) -> Self {
        Self {
            own,
            discovery,
            limit,
            configured: Vec::new(),
            discovered: BTreeMap::new(),
            dials: BTreeMap::new(),
            last_dial: 0,
        }
    }

    /// Adds a target, or tries it again at once.
    pub(crate) fn connect(&mut self, now: Instant, text: &str) {
        match self.configured.iter_mut().find(|t| t.text == text) {
            Some(target) => target.attempt.anew(now),
            None => {
                let attempt = Attempt::new(now);
                self.configured.push(Target { text: text.to_owned(), peer: None, attempt });
            }
        }
    }

    /// Removes a target. A link it led to stays.
    pub(crate) fn forget(&mut self, text: &str) {
        self.configured.retain(|t| t.text != text);
    }

    /// Removes all targets but these, and adds those that are new.
    pub(crate) fn replace(&mut self, now: Instant, texts: &[String]) {
        self.configured.retain(|t| texts.contains(&t.text));
        for text in texts {
            self.connect(now, text);
        }
    }

    /// Takes what the facts say about where peers within reach can be dialled.
    pub(crate) fn discover(
        &mut self,
        now: Instant,
        reachable: &BTreeSet<PeerName>,
        heard: &BTreeMap<PeerName, BTreeSet<SocketAddr>>,
    ) {
        for (&peer, addresses) in heard {
            let due = now + self.head_start(peer);
            let discovered = self.discovered.entry(peer).or_default();
            for &address in addresses {
                discovered.add(address, due, addresses);
            }
        }
        for (&peer, discovered) in &mut self.discovered {
            let before = std::mem::replace(&mut discovered.reachable, reachable.contains(&peer));
            if discovered.reachable && !before {
                // It is back: what was learned while it was away is void.
                discovered.lost = false;
                let due = now + if self.own > peer { HEAD_START } else { Duration::ZERO };
                discovered.addresses.values_mut().filter(|a| !a.is_final()).for_each(|a| a.anew(due));
            }
        }
    }

    /// Gives up a peer that is forgotten.
    pub(crate) fn forget_peer(&mut self, peer: PeerName) {
        self.discovered.remove(&peer);
    }

    /// Begins what is due.
    pub(crate) fn poll_dials(&mut self, now: Instant, links: &Links) -> Vec<(DialId, DialTo)> {
        let mut begun = Vec::new();
        for target in &mut self.configured {
            if target.attempt.due().is_some_and(|at| at <= now) && !target.is_satisfied(links) {
                let id = next_id(&mut self.last_dial);
                target.attempt.begin(id);
                self.dials.insert(id, Goal::Target(target.text.clone()));
                begun.push((id, DialTo::Target(target.text.clone())));
            }
        }
        while let Some((at, peer, address)) = self.next_address(links)
            && at <= now
            && let Some(attempt) = address_mut(&mut self.discovered, peer, address)
        {
            let id = next_id(&mut self.last_dial);
            attempt.begin(id);
            self.dials.insert(id, Goal::Address(peer, address));
            begun.push((id, DialTo::Address { address, expect: peer }));
        }
        begun
    }

    /// When the next dial is due.
    pub(crate) fn next_due(&self, links: &Links) -> Option<Instant> {
        let targets =
            self.configured.iter().filter(|t| !t.is_satisfied(links)).filter_map(|t| t.attempt.due());
        targets.chain(self.next_address(links).map(|(at, ..)| at)).min()
    }

    /// The dial goes to this address.
    pub(crate) fn dialling(&mut self, id: DialId, address: SocketAddr) {
        if let Some(attempt) = self.dials.get(&id).cloned().and_then(|goal| self.attempt_mut(&goal)) {
            attempt.address = Some(address);
        }
    }

    /// Whom this dial must reach: it went to an address heard of, and not to a target.
    pub(crate) fn expected(&self, id: DialId) -> Option<PeerName> {
        match self.dials.get(&id)? {
            Goal::Target(_) => None,
            &Goal::Address(peer, _) => Some(peer),
        }
    }

    /// A dial led to no link. Says whether it was one of ours.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        id: DialId,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) -> bool {
        let Some(goal) = self.dials.remove(&id) else { return false };
        if let Some(attempt) = self.attempt_mut(&goal).filter(|a| a.progress() == Progress::Dialling(id)) {
            match (&goal, failure.code) {
                (Goal::Target(_), Some(RefuseCode::Oneself)) => attempt.oneself(),
                _ => attempt.failed(now, failure, rng),
            }
        }
        true
    }

    /// A dial reached a peer that is linked already, by a link that stays.
    pub(crate) fn duplicate(&mut self, now: Instant, id: DialId, peer: PeerName) {
        let Some(goal) = self.dials.remove(&id) else { return };
        if let Some(target) = self.target_mut(&goal) {
            target.peer = Some(peer);
        }
        if let Some(attempt) = self.attempt_mut(&goal).filter(|a| a.progress() == Progress::Dialling(id)) {
            attempt.stand_by(now);
        }
    }

    /// A link to `peer` is up; `dial` led to it. The peer can be dialled at `address` from now on.
    pub(crate) fn link_up(
        &mut self,
        now: Instant,
        link: LinkId,
        dial: Option<DialId>,
        peer: PeerName,
        address: Option<SocketAddr>,
    ) {
        let goal = dial.and_then(|id| self.dials.remove(&id));
        if let Some(target) = goal.as_ref().and_then(|goal| self.target_mut(goal)) {
            target.peer = Some(peer);
            target.attempt.linked(link);
        } else if let Some(attempt) = goal.as_ref().and_then(|goal| self.attempt_mut(goal)) {
            attempt.stand_by(now);
        }
        let discovered = self.discovered.entry(peer).or_default();
        discovered.lost = false;
        if let Some(address) = address {
            discovered.add(address, now, &BTreeSet::from([address]));
        }
    }

    /// A link to `peer` was closed in favour of another one to the same peer.
    pub(crate) fn link_replaced(&mut self, now: Instant, link: LinkId) {
        for target in self.configured.iter_mut().filter(|t| t.attempt.progress() == Progress::Linked(link)) {
            target.attempt.stand_by(now);
        }
    }

    /// The link to `peer` was lost after `lived`.
    pub(crate) fn link_down(
        &mut self,
        now: Instant,
        peer: PeerName,
        lived: Duration,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) {
        for target in self.configured.iter_mut().filter(|t| t.peer == Some(peer)) {
            target.attempt.lost(now, lived, Duration::ZERO, failure, rng);
        }
        let head_start = self.head_start(peer);
        if let Some(discovered) = self.discovered.get_mut(&peer) {
            discovered.lost = failure.code != Some(RefuseCode::ShuttingDown);
            for attempt in discovered.addresses.values_mut() {
                attempt.lost(now, lived, head_start, failure, rng);
            }
        }
    }

    /// The targets in the order they were given in.
    pub(crate) fn views(&self, links: &Links) -> Vec<TargetView> {
        let view = |t: &Target| {
            let waits = t.is_satisfied(links) && t.attempt.due().is_some();
            TargetView {
                target: t.text.clone(),
                state: if waits { ConnectionState::Waiting } else { t.attempt.state() },
                peer: t.peer,
                error: t.attempt.error().filter(|_| !waits).map(str::to_owned),
                retry_at: t.attempt.due().filter(|_| !waits),
            }
        };
        self.configured.iter().map(view).collect()
    }

    /// The target that stands for the link to this peer.
    pub(crate) fn target_of(&self, link: LinkId, peer: PeerName) -> Option<&str> {
        let own = self.configured.iter().find(|t| t.attempt.progress() == Progress::Linked(link));
        own.or_else(|| self.configured.iter().find(|t| t.peer == Some(peer))).map(|t| t.text.as_str())
    }

    /// What is being tried and has led to no link yet: each target, and the likeliest address of each peer.
    pub(crate) fn pending(&self, links: &Links) -> Vec<Pending> {
        let tried = |t: &&Target| !t.is_satisfied(links) && t.attempt.state() != ConnectionState::Established;
        let targets = self.configured.iter().filter(tried).map(|t| Pending {
            address: t.attempt.address.map_or_else(|| t.text.clone(), |a| a.to_string()),
            state: t.attempt.state(),
            peer: t.peer,
            error: t.attempt.error().map(str::to_owned),
            retry_at: t.attempt.due(),
            target: Some(t.text.clone()),
        });
        // One line for each peer will do: that of the target, if one leads to it.
        let unnamed = |peer| !self.configured.iter().any(|t| t.peer == Some(peer));
        let wanted =
            self.discovered.iter().filter(|&(&peer, d)| unnamed(peer) && self.is_wanted(peer, d, links));
        let addresses = wanted.filter_map(|(&peer, d)| {
            let (address, attempt) = d.addresses.iter().min_by_key(|(_, a)| a.due())?;
            Some(Pending {
                address: address.to_string(),
                state: attempt.state(),
                peer: Some(peer),
                error: attempt.error().map(str::to_owned),
                retry_at: attempt.due(),
                target: None,
            })
        });
        targets.chain(addresses).collect()
    }

    /// The address that is due next, of all that may be dialled.
    fn next_address(&self, links: &Links) -> Option<(Instant, PeerName, SocketAddr)> {
        let under_way = self.discovered.values().filter(|d| d.is_dialling()).count();
        if self.limit > 0 && links.len() + under_way >= self.limit {
            return None;
        }
        let is_dialled =
            |peer| self.configured.iter().any(|t| t.attempt.is_dialling() && t.peer == Some(peer));
        let idle = |&(&peer, d): &(&PeerName, &Discovered)| {
            self.is_wanted(peer, d, links) && !d.is_dialling() && !is_dialled(peer)
        };
        // Where a target leads is left to the target.
        let is_target = |peer, address| {
            let leads_there = |t: &Target| t.attempt.address == Some(address);
            self.configured
                .iter()
                .any(|t| leads_there(t) && (t.attempt.is_dialling() || t.peer == Some(peer)))
        };
        let due = |(&peer, d): (&PeerName, &'_ Discovered)| {
            let free = d.addresses.iter().filter(|&(&address, _)| !is_target(peer, address));
            free.filter_map(|(&address, attempt)| Some((attempt.due()?, peer, address))).min()
        };
        self.discovered.iter().filter(idle).filter_map(due).min()
    }

    fn is_wanted(&self, peer: PeerName, d: &Discovered, links: &Links) -> bool {
        self.discovery && (d.reachable || d.lost) && !links.has_peer(peer)
    }

    fn head_start(&self, peer: PeerName) -> Duration {
        if self.own > peer { HEAD_START } else { Duration::ZERO }
    }

    fn target_mut(&mut self, goal: &Goal) -> Option<&mut Target> {
        let Goal::Target(text) = goal else { return None };
        self.configured.iter_mut().find(|t| t.text == *text)
    }

    fn attempt_mut(&mut self, goal: &Goal) -> Option<&mut Attempt> {
        match goal {
            Goal::Target(_) => self.target_mut(goal).map(|t| &mut t.attempt),
            &Goal::Address(peer, address) => address_mut(&mut self.discovered, peer, address),
        }
    }
}

const fn next_id(last: &mut u64) -> DialId {
    *last += 1;
    DialId(*last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{link_up, name, start};
    use rand::SeedableRng;

    const OWN: u8 = 5;

    struct Rig {
        targets: Targets,
        links: Links,
        rng: StdRng,
        start: Instant,
    }

    fn address(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 6783).into()
    }

    impl Rig {
        fn new(limit: usize) -> Self {
            let rng = StdRng::from_seed([1; 32]);
            Self {
                targets: Targets::new(name(OWN), true, limit),
                links: Links::default(),
                rng,
                start: start(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn discover(&mut self, ms: u64, reachable: &[u8], heard: &[(u8, u8)]) {
            let mut addresses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for &(peer, at) in heard {
                addresses.entry(name(peer)).or_default().insert(address(at));
            }
            let reachable = reachable.iter().map(|&n| name(n)).collect();
            self.targets.discover(self.at(ms), &reachable, &addresses);
        }

        /// What is dialled now: targets by text, addresses by their last byte.
        fn dials(&mut self, ms: u64) -> Vec<(DialId, String)> {
            let begun = self.targets.poll_dials(self.at(ms), &self.links);
            let text = |to| match to {
                DialTo::Target(text) => text,
                DialTo::Address { address, expect } => format!("{address} {}", expect.bytes()[5]),
            };
            begun.into_iter().map(|(id, to)| (id, text(to))).collect()
        }

        fn dial(&mut self, ms: u64) -> DialId {
            let begun = self.dials(ms);
            assert_eq!(begun.len(), 1, "{begun:?}");
            begun[0].0
        }

        fn fail(&mut self, ms: u64, id: DialId, code: Option<RefuseCode>) {
            let (now, failure) = (self.at(ms), Failure { reason: "no", code });
            self.targets.failed(now, id, failure, &mut self.rng);
        }

        fn link(&mut self, ms: u64, link: u64, peer: u8, dial: Option<DialId>) {
            let up = crate::mesh::LinkUp { peer: name(peer), ..link_up(peer, dial.is_some()) };
            let now = self.at(ms);
            self.links.add(now, LinkId(link), &up, (name(peer), 0));
            self.targets.link_up(now, LinkId(link), dial, name(peer), Some(address(peer)));
        }

        fn lose(&mut self, ms: u64, link: u64, peer: u8, lived_s: u64, code: Option<RefuseCode>) {
            self.links.remove(LinkId(link));
            let (now, failure) = (self.at(ms), Failure { reason: "lost", code });
            self.targets.link_down(now, name(peer), Duration::from_secs(lived_s), failure, &mut self.rng);
        }
    }

    fn texts(dials: &[(DialId, String)]) -> Vec<&str> {
        dials.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn a_target_is_dialled_at_once_exactly_as_given_and_once() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "Host.example:6783");
        rig.targets.connect(rig.start, "Host.example:6783");
        assert_eq!(texts(&rig.dials(0)), ["Host.example:6783"]);
        assert_eq!(rig.dials(60_000), []);
    }

    #[test]
    fn a_target_is_tried_for_ever_and_forgotten_only_by_its_exact_text() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h");
        let mut ms = 0;
        for _ in 0..100 {
            let id = rig.dial(ms);
            rig.fail(ms, id, None);
            let due = rig.targets.next_due(&rig.links).unwrap() - rig.start;
            ms = u64::try_from(due.as_millis()).unwrap() + 1;
        }
        rig.targets.forget("H");
        assert_eq!(rig.targets.views(&rig.links).len(), 1);
        rig.targets.forget("h");
        assert_eq!(rig.targets.next_due(&rig.links), None);
    }

    #[test]
    fn the_result_of_a_dial_to_a_forgotten_target_is_ignored() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h");
        let id = rig.dial(0);
        rig.targets.forget("h");
        rig.fail(1, id, None);
        rig.fail(1, id, None);
        assert_eq!(rig.targets.next_due(&rig.links), None);
    }

    #[test]
    fn the_result_of_an_earlier_dial_does_not_end_the_one_under_way() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h");
        let earlier = rig.dial(0);
        rig.targets.forget("h");
        rig.targets.connect(rig.start, "h");
        rig.dial(0);
        rig.fail(1, earlier, None);
        assert_eq!(rig.targets.views(&rig.links)[0].state, ConnectionState::Connecting);
    }

    #[test]
    fn replacing_targets_keeps_what_is_named_again() {
        let mut rig = Rig::new(0);
        for text in ["a", "b"] {
            rig.targets.connect(rig.start, text);
        }
        rig.dials(0);
        rig.targets.replace(rig.start, &["b".into(), "c".into()]);
        assert_eq!(texts(&rig.dials(0)), ["c"], "b is being dialled already");
        let views = rig.targets.views(&rig.links);
        assert_eq!(views.iter().map(|v| v.target.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_target_whose_peer_is_linked_another_way_waits_until_that_ends() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h2");
        let id = rig.dial(0);
        rig.link(1, 1, 2, None);
        rig.targets.duplicate(rig.at(2), id, name(2));
        assert_eq!(rig.dials(100_000), []);
        let view = &rig.targets.views(&rig.links)[0];
        assert_eq!((view.state, view.peer, view.retry_at), (ConnectionState::Waiting, Some(name(2)), None));
        assert_eq!(rig.targets.target_of(LinkId(1), name(2)), Some("h2"));
        assert!(rig.targets.pending(&rig.links).is_empty());
        rig.lose(200_000, 1, 2, 120, None);
        assert_eq!(texts(&rig.dials(200_000)), ["h2"]);
    }

    #[test]
    fn a_target_that_is_this_host_itself_says_so_and_rests() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "me");
        let id = rig.dial(0);
        rig.fail(1, id, Some(RefuseCode::Oneself));
        assert_eq!(rig.targets.next_due(&rig.links), None);
        let pending = rig.targets.pending(&rig.links);
        assert_eq!(pending[0].error.as_deref(), Some("is this host itself"));
        rig.targets.connect(rig.at(5), "me");
        assert_eq!(texts(&rig.dials(5)), ["me"]);
    }

    #[test]
    fn of_two_peers_the_one_with_the_higher_name_dials_half_a_second_later() {
        let mut rig = Rig::new(0);
        rig.discover(0, &[2, 9], &[(2, 2), (9, 9)]);
        assert_eq!(texts(&rig.dials(0)), ["10.0.0.9:6783 9"]);
        assert_eq!(rig.targets.next_due(&rig.links), Some(rig.at(500)));
        assert_eq!(texts(&rig.dials(500)), ["10.0.0.2:6783 2"]);
    }

    #[test]
    fn nobody_is_dialled_who_is_out_of_reach_or_linked_or_when_discovery_is_off() {
        let mut rig = Rig::new(0);
        rig.link(0, 1, 8, None);
        rig.discover(0, &[8], &[(7, 7), (8, 8)]);
        assert_eq!(rig.targets.next_due(&rig.links), None);
        rig.discover(1, &[7, 8], &[]);
        assert_eq!(texts(&rig.dials(1)), ["10.0.0.7:6783 7"], "it came into reach");
        let mut rig = Rig::new(0);
        rig.targets.discovery = false;
        rig.discover(0, &[9], &[(9, 9)]);
        assert_eq!(rig.targets.next_due(&rig.links), None);
    }

    #[test]
    fn the_addresses_of_a_peer_are_tried_one_after_the_other() {
        let mut rig = Rig::new(0);
        rig.discover(0, &[9], &[(9, 10), (9, 11), (9, 12)]);
        let first = rig.dials(0);
        assert_eq!(texts(&first), ["10.0.0.10:6783 9"]);
        rig.fail(1, first[0].0, None);
        assert_eq!(texts(&rig.dials(1)), ["10.0.0.11:6783 9"]);
    }

    #[test]
    fn an_address_a_target_is_being_dialled_at_is_not_dialled_twice() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h9");
        let id = rig.dial(0);
        rig.targets.dialling(id, address(9));
        rig.discover(1, &[9], &[(9, 9)]);
        assert_eq!(rig.dials(1), []);
        rig.fail(2, id, None);
        assert_eq!(texts(&rig.dials(2)), ["10.0.0.9:6783 9"]);
    }

    #[test]
    fn where_a_target_leads_is_left_to_the_target() {
        let mut rig = Rig::new(0);
        rig.targets.connect(rig.start, "h9");
        let id = rig.dial(0);
        rig.targets.dialling(id, address(9));
        rig.link(1, 1, 9, Some(id));
        rig.discover(2, &[9], &[(9, 9), (9, 10)]);
        rig.lose(100_000, 1, 9, 1, None);
        assert_eq!(texts(&rig.dials(110_000)), ["h9"]);
        let id = *rig.targets.dials.keys().last().unwrap();
        rig.fail(111_000, id, None);
        assert_eq!(texts(&rig.dials(111_000)), ["10.0.0.10:6783 9"]);
        assert_eq!(rig.targets.pending(&rig.links).len(), 1, "one line for one peer");
    }

    #[test]
    fn discovery_stays_within_the_limit_and_targets_do_not_count() {
        let mut rig = Rig::new(2);
        rig.link(0, 1, 3, None);
        rig.discover(0, &[3, 7, 8, 9], &[(7, 7), (8, 8), (9, 9)]);
        rig.targets.connect(rig.start, "h");
        assert_eq!(texts(&rig.dials(0)), ["h", "10.0.0.7:6783 7"]);
        rig.lose(1, 1, 3, 1, None);
        assert_eq!(texts(&rig.dials(1)), ["10.0.0.8:6783 8"]);
    }

    #[test]
    fn a_lost_neighbour_is_dialled_until_it_is_forgotten_even_if_nobody_else_reaches_it() {
        let mut rig = Rig::new(0);
        rig.link(0, 1, 9, None);
        rig.discover(1, &[9], &[]);
        rig.lose(100_000, 1, 9, 100, None);
        rig.discover(100_100, &[], &[]);
        assert_eq!(texts(&rig.dials(100_100)), ["10.0.0.9:6783 9"]);
        rig.targets.forget_peer(name(9));
        assert_eq!(rig.targets.next_due(&rig.links), None);
    }

    #[test]
    fn a_neighbour_that_shut_down_is_not_dialled_until_it_is_back() {
        let mut rig = Rig::new(0);
        rig.link(0, 1, 9, None);
        rig.discover(1, &[9], &[]);
        rig.lose(100_000, 1, 9, 100, Some(RefuseCode::ShuttingDown));
        rig.discover(100_100, &[], &[]);
        assert_eq!(rig.targets.next_due(&rig.links), None);
        rig.discover(110_000, &[9], &[]);
        assert_eq!(texts(&rig.dials(110_000)), ["10.0.0.9:6783 9"]);
    }
}
