//! Facts in, facts out (P5.5).

use std::sync::Arc;
use std::time::Instant;

use wire::{DigestEntry, Message, PeerName};

use super::{Action, LinkId, Mesh};
use crate::facts::{DropReason, Outcome};
use crate::notices::{CURE, Subject};
use crate::plumtree::Push;
use crate::text;

/// Most bytes of facts in one message: a quarter of what P2.5 allows, so that pings and frames come in between.
const MAX_BATCH: usize = 256 * 1024;
/// Most lines in one message, for the same reason.
const MAX_LINES: usize = 8192;

impl Mesh {
    /// A link came up: news go over it from now on, and its ends compare what they hold.
    pub(super) fn gossip_with(&mut self, now: Instant, link: LinkId, peer: PeerName) {
        self.gossip.link_up(now, link, self.config.name < peer);
        let dialled = self.links.get(link).is_some_and(|link| link.outbound);
        if dialled && self.gossip.is_superfluous(now, link) {
            self.counters.pruned += 1;
            self.send_gossip(link, Message::Prune);
        }
        self.compare_first(now, link);
    }

    /// Takes facts that a neighbour sent, and passes the new ones on (P5.5).
    pub(super) fn hear_facts(&mut self, now: Instant, from: LinkId, facts: Vec<Arc<[u8]>>) {
        let (mut is_news, mut is_superfluous) = (false, false);
        for bytes in facts {
            match self.facts.insert(from, &bytes) {
                Outcome::New { line, is_first } => {
                    self.counters.facts_new += 1;
                    if is_first {
                        self.actions.push_back(Action::PeerSeen(line.origin));
                    }
                    self.gossip.news(now, line, bytes, Some(from));
                    is_news = true;
                }
                Outcome::Stale(repeated) => {
                    self.counters.facts_stale += 1;
                    is_superfluous |= self.gossip.repeated(now, from, &repeated);
                }
                Outcome::Dropped(reason) => {
                    // It must not be asked for again of everyone who announced it.
                    if let Some(line) = DigestEntry::of_fact(&bytes) {
                        self.gossip.is_unwanted(&line);
                    }
                    self.count_dropped(now, reason);
                }
            }
        }
        if is_superfluous {
            self.counters.pruned += 1;
            self.send_gossip(from, Message::Prune);
        }
        if is_news {
            self.survey_soon(now, false);
            self.tend_gossip(now);
        }
    }

    /// A neighbour has these, and did not send them.
    pub(super) fn hear_announcement(&mut self, now: Instant, from: LinkId, lines: &[DigestEntry]) {
        for line in lines {
            if self.facts.lacks(line) {
                self.gossip.announced_missing(now, from, line);
            } else {
                self.gossip.announced_known(from, line);
            }
        }
    }

    /// A neighbour asks for these, and for news from now on.
    pub(super) fn hear_want(&mut self, from: LinkId, lines: &[DigestEntry]) {
        self.gossip.wanted(from);
        // Each once, however often it is asked for.
        let lines = lines.iter().collect::<std::collections::BTreeSet<_>>().into_iter();
        let facts: Vec<_> = lines.filter_map(|line| self.facts.wanted(line).cloned()).collect();
        self.send_facts(from, &facts);
    }

    /// A neighbour asks to send no more news.
    pub(super) fn hear_prune(&mut self, from: LinkId) {
        if self.gossip.pruned(from) {
            self.send_gossip(from, Message::Want(Vec::new()));
        }
    }

    /// Passes on, announces and asks for what is due.
    pub(super) fn tend_gossip(&mut self, now: Instant) {
        for push in self.gossip.handle_timeout(now) {
            match push {
                Push::Facts(link, facts) => self.send_facts(link, &facts),
                Push::Announce(link, lines) => {
                    self.counters.announced += lines.len() as u64;
                    for lines in lines.chunks(MAX_LINES) {
                        self.send_gossip(link, Message::Announce(lines.to_vec()));
                    }
                }
                Push::Want(link, lines) => {
                    self.counters.wanted += lines.len() as u64;
                    if lines.is_empty() {
                        self.send_gossip(link, Message::Want(lines));
                        continue;
                    }
                    for lines in lines.chunks(MAX_LINES) {
                        self.send_gossip(link, Message::Want(lines.to_vec()));
                    }
                }
            }
        }
    }

    pub(super) fn send_facts(&mut self, link: LinkId, facts: &[Arc<[u8]>]) {
        for batch in batches(facts) {
            self.send_gossip(link, Message::Facts(batch.to_vec()));
        }
    }

    /// Sends a message and counts it as one of the gossip.
    pub(super) fn send_gossip(&mut self, link: LinkId, message: Message) {
        self.counters.gossip_messages += 1;
        self.counters.gossip_bytes += message.encoded_len() as u64;
        self.send(link, message);
    }

    fn count_dropped(&mut self, now: Instant, reason: DropReason) {
        let counter = match reason {
            DropReason::Malformed => &mut self.counters.facts_malformed,
            DropReason::Oversized => &mut self.counters.facts_oversized,
            DropReason::Forged => &mut self.counters.facts_forged,
            DropReason::Full => &mut self.counters.facts_full,
            DropReason::Removed => &mut self.counters.facts_removed,
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
fn batches(facts: &[Arc<[u8]>]) -> Vec<&[Arc<[u8]>]> {
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
        let facts: Vec<Arc<[u8]>> = (0..40_u8).map(|n| vec![n; 20_000].into()).collect();
        let batches = batches(&facts);
        assert_eq!(batches.len(), 4);
        assert!(batches.iter().all(|b| b.iter().map(|f| f.len() + 4).sum::<usize>() <= MAX_BATCH));
        assert_eq!(batches.concat(), facts);
    }
}
