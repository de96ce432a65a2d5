//! What we say about ourselves (P5.4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::{
    DigestEntry, FactKind, LinkEntry, MAX_FACT_PAYLOAD, PeerFact, PeerName, RemovedEntry, encode_links,
    encode_removed,
};

use super::{COALESCE, Mesh};
use crate::facts::sign_fact;
use crate::pace::Pace;

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
    pace: Pace,
    /// Peers that our operator had removed: the incarnation that is void, and when.
    pub(super) removed: BTreeMap<PeerName, (u64, Instant)>,
}

impl Statements {
    pub(super) const fn new(now: Instant) -> Self {
        Self { stated: BTreeMap::new(), changed: None, pace: Pace::new(now), removed: BTreeMap::new() }
    }
}

impl Mesh {
    /// States who we are. What we are linked to is stated at once too: so it replaces what an earlier run of ours
    /// said.
    pub(super) fn introduce(&mut self, now: Instant) {
        let peer = PeerFact {
            nickname: self.config.nickname.clone(),
            uid: self.config.uid.0,
            port: self.config.port,
            program: Some(self.config.program.clone()),
            udp_port: (self.config.udp_port != 0).then_some(self.config.udp_port),
            mapping: self.nat.mapping(),
            addresses: self.nat.advertised.clone(),
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
            own.changed = None;
            return;
        }
        let changed = *own.changed.get_or_insert(now.checked_sub(COALESCE).unwrap_or(now));
        let at = own.pace.take(now, AROUND + payload.len(), self.facts.peers(), changed);
        if at > now {
            self.state_at = Some(self.state_at.map_or(at, |before| before.min(at)));
        } else {
            own.changed = None;
            self.state(now, FactKind::LINKS, payload);
        }
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
