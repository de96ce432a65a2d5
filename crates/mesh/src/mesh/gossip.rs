//! Facts in, facts out (P5).

use std::collections::BTreeSet;
use std::time::Instant;

use rand::RngExt;
use wire::{DigestEntry, FactKind, LinkEntry, Message, PeerFact, encode_links};

use super::{Action, COALESCE, LinkId, Mesh};
use crate::discovery;
use crate::facts::{DropReason, Outcome, sign_fact};
use crate::notices::{CURE, Subject};
use crate::text;
use crate::topology::Topology;

/// Most bytes of facts in one message: a quarter of what P2.5 allows, so that pings and frames come in between.
const MAX_BATCH: usize = 256 * 1024;
/// Most links stated. With the longest address text an entry takes 58 bytes, so that as many fit the 64 KiB of a
/// fact (P5.1).
const MAX_STATED: usize = 1000;

impl Mesh {
    /// States who we are. What we are linked to is stated at once too: so it replaces what an earlier run of ours
    /// said.
    pub(super) fn introduce(&mut self) {
        let peer = PeerFact {
            nickname: self.config.nickname.clone(),
            uid: self.config.uid.0,
            port: self.config.port,
            program: Some(self.config.program.clone()),
        };
        self.state(FactKind::PEER, peer.encode());
        self.state_ourselves();
    }

    /// States what changed about us since we last did.
    pub(super) fn state_ourselves(&mut self) {
        let mut links = self.links.entries();
        links.truncate(MAX_STATED);
        let mut news = Vec::from_iter(self.state(FactKind::LINKS, encode_links(&links)));
        let conflict = |(&peer, (address, _)): (&_, &(std::net::SocketAddr, _))| LinkEntry {
            peer,
            address: address.to_string(),
            outbound: false,
        };
        let conflicts: Vec<_> = self.conflicts.iter().map(conflict).collect();
        if !conflicts.is_empty() || self.stated.contains_key(&FactKind::CONFLICTS) {
            news.extend(self.state(FactKind::CONFLICTS, encode_links(&conflicts)));
        }
        self.flood(&news, None);
    }

    /// Takes facts that a neighbour sent, and passes the new ones on to all others (P5.5).
    pub(super) fn hear_facts(&mut self, now: Instant, from: LinkId, facts: Vec<Vec<u8>>) {
        let mut news = BTreeSet::new();
        for bytes in facts {
            match self.facts.insert(bytes) {
                Outcome::New { origin, kind, is_first } => {
                    self.counters.facts_new += 1;
                    if is_first {
                        self.actions.push_back(Action::PeerSeen(origin));
                    }
                    news.insert((origin, kind));
                }
                Outcome::Stale => self.counters.facts_stale += 1,
                Outcome::Dropped(reason) => self.count_dropped(now, reason),
            }
        }
        if news.is_empty() {
            return;
        }
        self.survey_at.get_or_insert(now + COALESCE);
        let news: Vec<_> =
            news.iter().filter_map(|&(o, k)| self.facts.bytes(o, k).map(<[u8]>::to_vec)).collect();
        self.flood(&news, Some(from));
    }

    /// Answers a digest with what it lacks, and with our own if it asks for that (P5.6).
    pub(super) fn hear_digest(&mut self, now: Instant, from: LinkId, answer: bool, entries: &[DigestEntry]) {
        let missing = self.facts.missing_from(entries, |origin| self.reach.is_offered(now, origin));
        for batch in batches(&missing) {
            self.send(from, Message::Facts(batch.to_vec()));
        }
        if answer {
            self.send(from, Message::Digest { answer: false, entries: self.facts.digest() });
        }
    }

    /// Asks one neighbour to compare facts.
    pub(super) fn compare_with_someone(&mut self) {
        let links: Vec<_> = self.links.iter().map(|(id, _)| id).collect();
        if links.is_empty() {
            return;
        }
        let entries = self.facts.digest();
        if let Some(&link) = links.get(self.rng.random_range(0..links.len())) {
            self.send(link, Message::Digest { answer: true, entries });
        }
    }

    /// Works out anew who is within reach and where they can be dialled.
    pub(super) fn survey(&mut self, now: Instant) {
        let own = self.config.name;
        self.topology = Topology::from_facts(&self.facts);
        // Our own links count while they live, whether or not the other end's fact has arrived.
        let reachable = self.topology.reachable(std::iter::once(own).chain(self.links.peers()));
        let heard = discovery::addresses(&self.facts, &self.topology, own, &reachable);
        self.targets.discover(now, &reachable, &heard);
        self.reach.update(now, &reachable, self.facts.origins());
    }

    /// Makes a new fact of ours, if it says anything new.
    fn state(&mut self, kind: FactKind, payload: Vec<u8>) -> Option<Vec<u8>> {
        let (counter, last) = self.stated.entry(kind).or_default();
        if *counter > 0 && *last == payload {
            return None;
        }
        *counter += 1;
        last.clone_from(&payload);
        let version = (self.config.incarnation, *counter);
        let bytes = sign_fact(&self.config.identity, self.config.name, kind, version, payload);
        self.facts.publish(bytes.clone());
        Some(bytes)
    }

    fn flood(&mut self, facts: &[Vec<u8>], except: Option<LinkId>) {
        let links: Vec<_> = self.links.iter().map(|(id, _)| id).filter(|&id| Some(id) != except).collect();
        for batch in batches(facts) {
            for &link in &links {
                self.send(link, Message::Facts(batch.to_vec()));
            }
        }
    }

    fn count_dropped(&mut self, now: Instant, reason: DropReason) {
        let counter = match reason {
            DropReason::Malformed => &mut self.counters.facts_malformed,
            DropReason::Oversized => &mut self.counters.facts_oversized,
            DropReason::Forged => &mut self.counters.facts_forged,
            DropReason::Full => &mut self.counters.facts_full,
            DropReason::Collision(name) => {
                self.name_is_taken(now, name, None);
                &mut self.counters.facts_collision
            }
            DropReason::Copied(nickname) => {
                let who = nickname.map_or_else(String::new, |n| format!(" (`{}`)", text::nickname(&n)));
                let text = format!(
                    "another host{who} runs with this host's identity, or this host's clock was set back and its state \
                     lost: {CURE}"
                );
                self.warnings.add(now, Subject::OwnIdentity, text);
                &mut self.counters.facts_copied
            }
        };
        *counter += 1;
    }
}

/// The facts in runs of at most 256 KiB, each at least one fact.
fn batches(facts: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let mut batches = Vec::new();
    let mut rest = facts;
    while !rest.is_empty() {
        let mut len = 0;
        let fits = rest.iter().take_while(|f| {
            len += 4 + f.len();
            len <= MAX_BATCH
        });
        let (batch, after) = rest.split_at(fits.count().max(1));
        batches.push(batch);
        rest = after;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_at_most_256_kib_and_lose_nothing() {
        let facts: Vec<_> = (0..40_u8).map(|n| vec![n; 20_000]).collect();
        let batches = batches(&facts);
        assert_eq!(batches.len(), 4);
        assert!(batches.iter().all(|b| b.iter().map(|f| f.len() + 4).sum::<usize>() <= MAX_BATCH));
        assert_eq!(batches.concat(), facts);
    }

    #[test]
    fn as_many_links_as_are_stated_fit_a_fact() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".to_owned();
        let entry = LinkEntry { peer: crate::testing::name(1), address: longest, outbound: true };
        let payload = encode_links(&vec![entry; MAX_STATED]);
        let identity = crate::testing::identity(1);
        let fact = sign_fact(&identity, identity.name(), FactKind::LINKS, (1, 1), payload);
        assert!(wire::Fact::decode(&fact).is_ok(), "{} bytes", fact.len());
    }
}
