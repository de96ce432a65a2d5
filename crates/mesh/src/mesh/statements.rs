//! What we say about ourselves (P5.4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::{
    DigestEntry, FactKind, LinkEntry, LinkList, MAX_FACT_PAYLOAD, PeerFact, PeerName, RemovedEntry,
    encode_links, encode_removed,
};

use super::{COALESCE, Mesh};
use crate::facts::sign_fact;
use crate::pace::Pace;

/// How long the statement waits that a link is gone which its other end states no more: nobody counts it any longer.
const WITHDRAWN: Duration = Duration::from_secs(30);

/// In a mesh of more than [`FEW`] peers one more link waits so long for others for each of them, and [`LONGEST`] at most: who joins or
/// finds its place on the rings gets ten within a moment.
const ONE_MORE: Duration = Duration::from_micros(500);
const LONGEST: Duration = Duration::from_secs(1);
const FEW: usize = 64;
/// Most links stated: as many fit a fact (P5.1).
const MAX_STATED: usize = MAX_FACT_PAYLOAD / LinkEntry::MAX_LEN;
/// What a fact is longer than its payload.
const AROUND: usize = wire::MAX_FACT - MAX_FACT_PAYLOAD;

/// What was stated, and what is going to be.
#[derive(Debug)]
pub(super) struct Statements {
    /// Counter and payload of each fact that we last stated.
    stated: BTreeMap<FactKind, (u64, Vec<u8>)>,
    /// Since when our links are other than stated.
    changed: Option<Instant>,
    /// The same, before it was found how long that may wait.
    since: Option<Instant>,
    pace: Pace,
    /// Peers that our operator had removed: the incarnation that is void, and when.
    pub(super) removed: BTreeMap<PeerName, (u64, Instant)>,
}

impl Statements {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            stated: BTreeMap::new(),
            changed: None,
            since: None,
            pace: Pace::new(now),
            removed: BTreeMap::new(),
        }
    }
}

impl Mesh {
    /// States who we are: what an earlier run of ours said ends with that.
    pub(super) fn introduce(&mut self, now: Instant) {
        let peer = PeerFact {
            nickname: self.config.nickname.clone(),
            uid: self.config.uid.0,
            port: self.config.port,
            program: Some(self.config.program.clone()),
            udp_port: (self.config.udp_port != 0).then_some(self.config.udp_port),
            mapping: self.nat.mapping(),
            addresses: self.nat.advertised.clone(),
            listening: self.nat.listening.clone(),
            inside: self.nat.inside.clone(),
        };
        self.state(now, FactKind::PEER, peer.encode());
        self.state_ourselves(now);
    }

    /// States what changed about us since we last did.
    pub(super) fn state_ourselves(&mut self, now: Instant) {
        self.state_links(now);
        let conflict = |(&peer, &(address, _)): (&_, &(SocketAddr, _))| LinkEntry {
            peer,
            address,
            outbound: false,
            cost: 0,
        };
        let conflicts: Vec<_> = self.conflicts.iter().map(conflict).collect();
        self.state_list(now, FactKind::CONFLICTS, encode_links(&conflicts));
        let removed = self.statements.removed.iter();
        let removed: Vec<_> =
            removed.map(|(&peer, &(incarnation, _))| RemovedEntry { peer, incarnation }).collect();
        self.state_list(now, FactKind::REMOVED, encode_removed(&removed));
        self.tend_gossip(now);
    }

    /// States whom we are linked to, or puts it off (see [`Pace`]).
    fn state_links(&mut self, now: Instant) {
        let mut links = self.links.entries();
        links.truncate(MAX_STATED);
        let payload = encode_links(&links);
        let own = &mut self.statements;
        if own.stated.get(&FactKind::LINKS).is_some_and(|(_, last)| *last == payload) {
            (own.changed, own.since) = (None, None);
            return;
        }
        // Whatever an earlier run of ours said ended with who we are now.
        if payload.is_empty() && !own.stated.contains_key(&FactKind::LINKS) {
            return;
        }
        let since = *own.since.get_or_insert(now);
        let due = since + self.patience(&links);
        if now < due {
            return self.state_by(due);
        }
        let own = &mut self.statements;
        let changed = *own.changed.get_or_insert(now.checked_sub(COALESCE).unwrap_or(now));
        let at = own.pace.take(now, AROUND + payload.len(), self.facts.peers(), changed);
        if at > now {
            self.state_by(at);
        } else {
            (own.changed, own.since) = (None, None);
            self.state(now, FactKind::LINKS, payload);
        }
    }

    /// How long it may wait that our links are other than stated. What others may go by and is not there any more is told at once.
    fn patience(&self, links: &[LinkEntry]) -> Duration {
        let Some((_, last)) = self.statements.stated.get(&FactKind::LINKS) else { return Duration::ZERO };
        let (own, peers) = (self.config.name, self.facts.peers());
        let now: BTreeMap<_, _> = links.iter().map(|entry| (entry.peer, entry)).collect();
        let states_us = |peer| self.facts.links(peer).any(|entry| entry.peer == own);
        let (mut stay, mut withdrawn) = (0, 0);
        for entry in LinkList::trusted(last) {
            match now.get(&entry.peer) {
                Some(same) if **same == entry => stay += 1,
                None if self.facts.knows(entry.peer) && !states_us(entry.peer) => withdrawn += 1,
                _ => return Duration::ZERO,
            }
        }
        if stay == links.len() && withdrawn > 0 {
            WITHDRAWN
        } else if stay > 0 && peers > FEW {
            (ONE_MORE * u32::try_from(peers).unwrap_or(u32::MAX)).min(LONGEST)
        } else {
            Duration::ZERO
        }
    }

    /// States what changed about us at `at`, if not before.
    pub(super) fn state_by(&mut self, at: Instant) {
        self.state_at = Some(self.state_at.map_or(at, |before| before.min(at)));
    }

    /// States a list that most never have: an empty one only to take back what was in it.
    fn state_list(&mut self, now: Instant, kind: FactKind, payload: Vec<u8>) {
        if !payload.is_empty() || self.statements.stated.contains_key(&kind) {
            self.state(now, kind, payload);
        }
    }

    /// Makes a new fact of ours, if it says anything new, and spreads it.
    fn state(&mut self, now: Instant, kind: FactKind, payload: Vec<u8>) {
        let (counter, last) = self.statements.stated.entry(kind).or_default();
        if *counter > 0 && *last == payload {
            return;
        }
        *counter += 1;
        last.clone_from(&payload);
        let (origin, version) = (self.config.name, (self.config.incarnation, *counter));
        let bytes = sign_fact(&self.config.identity, origin, kind, version, payload);
        self.facts.publish(Arc::clone(&bytes));
        if self.links.len() > 0 {
            self.gossip.news(now, DigestEntry { origin, kind, version }, bytes, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkId;
    use crate::testing::{link_up, mesh, start};

    /// A mesh that is linked to `n` others, while time passes in steps of 10 ms.
    struct Rig {
        mesh: Mesh,
        now: Instant,
    }

    impl Rig {
        fn linked_to(n: u8) -> Self {
            let now = start();
            let mut rig = Self { mesh: mesh(now), now };
            (2..n + 2).for_each(|peer| rig.link(peer));
            rig.wait(2000);
            rig
        }

        fn link(&mut self, n: u8) {
            self.mesh.handle_link_up(self.now, LinkId(n.into()), link_up(n, true)).unwrap();
        }

        fn wait(&mut self, ms: u64) {
            for _ in 0..ms / 10 {
                self.now += Duration::from_millis(10);
                self.mesh.handle_timeout(self.now);
            }
        }

        fn stated(&self) -> u64 {
            self.mesh.statements.stated.get(&FactKind::LINKS).map_or(0, |stated| stated.0)
        }
    }

    #[test]
    fn among_many_one_more_link_waits_for_the_next() {
        for (peers, expected) in [(10, 2), (120, 1)] {
            let mut rig = Rig::linked_to(peers);
            let before = rig.stated();
            assert!(before > 0);
            // Both are stated a second later, at what they cost if they were not measured.
            rig.link(201);
            rig.wait(130);
            rig.link(202);
            rig.wait(1500);
            assert_eq!(rig.stated() - before, expected, "{peers} peers");
        }
    }

    #[test]
    fn as_many_links_as_are_stated_fit_a_fact() {
        let longest = (std::net::Ipv6Addr::LOCALHOST, 65535).into();
        let entry = LinkEntry { peer: crate::testing::name(1), address: longest, outbound: true, cost: 0 };
        let payload = encode_links(&vec![entry; MAX_STATED]);
        let identity = crate::testing::identity(1);
        let fact = sign_fact(&identity, identity.name(), FactKind::LINKS, (1, 1), payload);
        assert!(wire::Fact::decode(&fact).is_ok(), "{} bytes", fact.len());
    }
}
