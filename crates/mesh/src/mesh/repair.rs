//! Comparing what is held with a neighbour: digests (P5.6).
//!
//! A comparison goes down level by level, and stops where both agree. When a link comes up both ends begin one, and their
//! messages cross; then the dialler goes on and the acceptor waits, so that it is not done twice. The dialler is the one to do
//! so because it is mostly who joins: its lines are few.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;
use wire::{BUCKETS, Digest, DigestEntry, Message};

use super::{LinkId, Mesh};

/// How often one neighbour is asked to compare facts (P5.6).
pub(super) const DIGEST_EVERY: Duration = Duration::from_secs(30);
/// Level 1 that comes so soon after our own has crossed it.
const CROSSED: Duration = Duration::from_secs(5);

/// When we last sent level 1 on each link.
#[derive(Debug, Default)]
pub(super) struct Comparisons(BTreeMap<LinkId, Instant>);

impl Mesh {
    /// Begins a comparison with one neighbour.
    pub(super) fn compare_with_someone(&mut self) {
        let links: Vec<_> = self.links.iter().map(|(id, _)| id).collect();
        if !links.is_empty()
            && let Some(&link) = links.get(self.rng.random_range(0..links.len()))
        {
            self.greet(link);
        }
    }

    /// Begins a comparison.
    pub(super) fn greet(&mut self, link: LinkId) {
        self.send_gossip(link, Message::Digest(Digest::Whole(self.facts.fingerprint())));
    }

    /// Takes a comparison one level further, or ends it.
    pub(super) fn hear_digest(&mut self, now: Instant, from: LinkId, digest: Digest) {
        match digest {
            Digest::Whole(theirs) => {
                if theirs != self.facts.fingerprint() {
                    self.comparisons.0.insert(from, now);
                    let ours = Box::new(*self.facts.fingerprints());
                    self.send_gossip(from, Message::Digest(Digest::Buckets(ours)));
                }
            }
            Digest::Buckets(theirs) => {
                let buckets = differing(&theirs, self.facts.fingerprints());
                let crossed = self.comparisons.0.get(&from).is_some_and(|&at| now < at + CROSSED);
                let outbound = self.links.get(from).is_some_and(|link| link.outbound);
                if buckets != 0 && (outbound || !crossed) {
                    self.tell(now, from, buckets, true);
                }
            }
            Digest::Lines { answer, buckets, lines } => {
                let missing = self.facts.missing_from(buckets, &lines);
                self.send_facts(from, &missing);
                if answer {
                    self.ask_back(now, from, buckets, &lines);
                }
            }
        }
    }

    /// Forgets what was under way on links that are gone.
    pub(super) fn forget_comparisons(&mut self) {
        self.comparisons.0.retain(|&id, _| self.links.get(id).is_some());
    }

    /// Answers lines with our own, but only of buckets in which we lack something: they are for the other end to find out
    /// what to send.
    fn ask_back(&mut self, now: Instant, to: LinkId, buckets: u64, lines: &[DigestEntry]) {
        let lacking = self.facts.lacking(lines) & buckets;
        if lacking != 0 {
            self.tell(now, to, lacking, false);
        }
    }

    fn tell(&mut self, now: Instant, to: LinkId, buckets: u64, answer: bool) {
        self.gossip.compared(now, to);
        let lines = self.facts.lines(buckets);
        self.send_gossip(to, Message::Digest(Digest::Lines { answer, buckets, lines }));
    }

    /// Keeps those who are out of reach out of it, so that hearsay does not revive the dead.
    pub(super) fn withhold(&mut self, now: Instant) {
        self.facts.withhold(self.reach.withheld(now));
    }
}

fn differing(theirs: &[u64; BUCKETS], ours: &[u64; BUCKETS]) -> u64 {
    let pairs = theirs.iter().zip(ours).enumerate();
    pairs.filter(|(_, (theirs, ours))| theirs != ours).fold(0, |bits, (n, _)| bits | 1 << n)
}
