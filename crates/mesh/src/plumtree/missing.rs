//! Facts that were announced and have not come.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use wire::DigestEntry;

use super::Key;
use crate::mesh::LinkId;

/// How long news may take by the tree before they are asked for, and how long one who announced them has to send them
/// before the next one is asked (P5.5).
const WAIT: Duration = Duration::from_millis(250);
/// Most facts waited for. Digests repair what this leaves out.
const MAX_MISSING: usize = 8192;
/// Most neighbours to ask for one fact.
const MAX_TELLERS: usize = 8;

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Missing {
    facts: BTreeMap<Key, Awaited>,
    /// Nothing is due before then.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Awaited {
    version: (u64, u64),
    due: Instant,
    /// Those who announced it and were not asked yet.
    tellers: VecDeque<LinkId>,
}

impl Missing {
    pub(super) fn add(&mut self, now: Instant, link: LinkId, line: &DigestEntry) {
        let key = (line.origin, line.kind);
        if self.facts.len() >= MAX_MISSING && !self.facts.contains_key(&key) {
            return;
        }
        let due = now + WAIT;
        let awaited = self.facts.entry(key).or_insert_with(|| Awaited {
            version: line.version,
            due,
            tellers: VecDeque::new(),
        });
        awaited.version = awaited.version.max(line.version);
        if awaited.tellers.len() < MAX_TELLERS && !awaited.tellers.contains(&link) {
            awaited.tellers.push_back(link);
        }
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// A fact is here, or need not come.
    pub(super) fn arrived(&mut self, line: &DigestEntry) {
        let key = (line.origin, line.kind);
        if self.facts.get(&key).is_some_and(|awaited| awaited.version <= line.version) {
            self.facts.remove(&key);
        }
    }

    pub(super) fn retain(&mut self, is_up: impl Fn(LinkId) -> bool) {
        for awaited in self.facts.values_mut() {
            awaited.tellers.retain(|&teller| is_up(teller));
        }
    }

    /// Who is to be asked for what.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> BTreeMap<LinkId, Vec<DigestEntry>> {
        let mut asked: BTreeMap<LinkId, Vec<DigestEntry>> = BTreeMap::new();
        if self.due.is_none_or(|due| due > now) {
            return asked;
        }
        self.facts.retain(|&(origin, kind), awaited| {
            if awaited.due > now {
                return true;
            }
            awaited.due = now + WAIT;
            let Some(teller) = awaited.tellers.pop_front() else { return false };
            let line = DigestEntry { origin, kind, version: awaited.version };
            asked.entry(teller).or_default().push(line);
            true
        });
        self.due = self.facts.values().map(|awaited| awaited.due).min();
        asked
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }
}
