//! Comparing what is held with a neighbour: digests (P5.6).
//!
//! A comparison goes down level by level, and stops where both agree. When a link comes up both ends begin one, and their
//! messages cross; then the dialler goes on and the acceptor waits, so that it is not done twice. The dialler is the one to do
//! so because it is mostly who joins: its lines are few.
//!
//! Who joins gets ten links within a moment. What it lacks it would be told on each of them; so while it learns on one, the
//! others wait. When their turn comes there is mostly nothing left to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;
use wire::{BUCKETS, Digest, DigestEntry, Message};

use super::{LinkId, Mesh};

/// How often one neighbour is asked to compare facts (P5.6).
pub(super) const DIGEST_EVERY: Duration = Duration::from_secs(30);
/// Level 1 that comes so soon after our own has crossed it.
const CROSSED: Duration = Duration::from_secs(5);

/// How long after the last sign of it what we asked for is taken to be still on its way.
const LEARNING: Duration = Duration::from_secs(1);
/// Between two comparisons that had to wait. Time enough for an answer, if there is one: who agrees gives none.
const NEXT: Duration = Duration::from_millis(500);

/// The comparisons that are under way or wait.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    /// When we last sent level 1 on each link.
    told: BTreeMap<LinkId, Instant>,
    /// The link on which we asked for what we lack, and until when it is taken to be on its way.
    learning: Option<(LinkId, Instant)>,
    waiting: BTreeSet<LinkId>,
    next_at: Option<Instant>,
}

impl Comparisons {
    /// When the next one that waits begins.
    pub(super) const fn next_due(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether a comparison on this link must wait. If so it does from now on.
    fn defer(&mut self, now: Instant, link: LinkId) -> bool {
        let Some((_, until)) = self.learning.filter(|&(other, until)| other != link && now < until) else {
            return false;
        };
        self.waiting.insert(link);
        self.next_at.get_or_insert(until);
        true
    }
}

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

    /// Begins a comparison on a link that came up, now or when it is its turn.
    pub(super) fn compare_first(&mut self, now: Instant, link: LinkId) {
        if !self.comparisons.defer(now, link) {
            self.greet(link);
        }
    }

    /// Begins the next comparison that had to wait.
    pub(super) fn tend_comparisons(&mut self, now: Instant) {
        if self.comparisons.next_at.is_none_or(|at| at > now) {
            return;
        }
        self.comparisons.next_at = match self.comparisons.learning {
            Some((_, until)) if now < until => Some(until),
            _ => {
                if let Some(link) = self.comparisons.waiting.pop_first() {
                    self.greet(link);
                }
                (!self.comparisons.waiting.is_empty()).then_some(now + NEXT)
            }
        };
    }

    /// Begins a comparison.
    fn greet(&mut self, link: LinkId) {
        self.send_gossip(link, Message::Digest(Digest::Whole(self.facts.fingerprint())));
    }

    /// Takes a comparison one level further, or ends it.
    pub(super) fn hear_digest(&mut self, now: Instant, from: LinkId, digest: Digest) {
        match digest {
            Digest::Whole(theirs) => {
                if theirs != self.facts.fingerprint() && !self.comparisons.defer(now, from) {
                    self.comparisons.told.insert(from, now);
                    let ours = Box::new(*self.facts.fingerprints());
                    self.send_gossip(from, Message::Digest(Digest::Buckets(ours)));
                }
            }
            Digest::Buckets(theirs) => {
                let buckets = differing(&theirs, self.facts.fingerprints());
                let crossed = self.comparisons.told.get(&from).is_some_and(|&at| now < at + CROSSED);
                let outbound = self.links.get(from).is_some_and(|link| link.outbound);
                if buckets != 0 && (outbound || !crossed) && !self.comparisons.defer(now, from) {
                    self.comparisons.learning = Some((from, now + LEARNING));
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
        let is_up = |id| self.links.get(id).is_some();
        self.comparisons.told.retain(|&id, _| is_up(id));
        self.comparisons.waiting.retain(|&id| is_up(id));
        self.comparisons.learning.take_if(|(id, _)| !is_up(*id));
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
}

fn differing(theirs: &[u64; BUCKETS], ours: &[u64; BUCKETS]) -> u64 {
    let pairs = theirs.iter().zip(ours).enumerate();
    pairs.filter(|(_, (theirs, ours))| theirs != ours).fold(0, |bits, (n, _)| bits | 1 << n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn while_something_is_learned_on_one_link_the_others_wait() {
        let (now, mut comparisons) = (start(), Comparisons::default());
        let (one, two) = (LinkId(1), LinkId(2));
        assert!(!comparisons.defer(now, one), "nothing is under way");
        comparisons.learning = Some((one, now + LEARNING));
        assert!(!comparisons.defer(now, one), "it is this one");
        assert!(comparisons.defer(now, two));
        assert_eq!((comparisons.waiting.len(), comparisons.next_due()), (1, Some(now + LEARNING)));
        assert!(!comparisons.defer(now + LEARNING, two), "what was to come has come by then");
    }

    #[test]
    fn buckets_that_differ_are_the_bits_of_these() {
        let (mut one, two) = ([7; BUCKETS], [7; BUCKETS]);
        assert_eq!(differing(&one, &two), 0);
        (one[0], one[63]) = (1, 2);
        assert_eq!(differing(&one, &two), 1 | 1 << 63);
    }
}
