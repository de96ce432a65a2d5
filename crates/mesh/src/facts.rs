//! The facts this peer holds, its own among them (P5).
//!
//! A fact enters when its origin signed it, when it is newer than what is held, and when the origin's name belongs
//! to the key it is signed with. Everything else is told apart by reason. Nobody but the origin ever makes or
//! changes a fact, and nothing is made anew just because it is passed on.
//!
//! With a thousand peers tens of facts arrive for each one that is new. So a fact is read where it lies, its version is looked
//! at before anything else, and what is derived (fingerprints, ports, who is removed) is kept up to date with each change.

mod changes;
mod origin;
mod origins;
mod removed;
mod sums;

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::{BUCKETS, DigestEntry, Fact, FactError, FactKind, FactView, LinkList, PeerFact, PeerName};

use crate::identity::{Identity, Verify, name_of};
use crate::mesh::LinkId;
use crate::plumtree::Repeated;
pub(crate) use changes::Changes;
use origin::{Held, Origin};
use origins::Origins;
use removed::Removed;
use sums::Sums;

/// Most origins held. Twelve bits of peers is four times the size the network is built for.
pub(crate) const MAX_PEERS: usize = 4096;
/// Most kinds held of one origin; the protocol has four.
const MAX_KINDS: usize = 16;
/// Most facts held: their digest, 24 bytes each (P5.6), still fits one message of 1 MiB (P2.5).
const MAX_FACTS: usize = 32 * 1024;
/// Most bytes of facts held, 64 MiB: a thousand peers that are linked to each other state half of that.
const MAX_BYTES: usize = 64 << 20;

/// What became of a fact that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is held now and to be passed on (P5.5).
    New {
        /// Which it is.
        line: DigestEntry,
        /// Nothing was known of the origin before.
        is_first: bool,
    },
    /// It is held already, or a newer one is.
    Stale(Repeated),
    /// It is not worth keeping.
    Dropped(DropReason),
}

/// Why a fact was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The bytes are no fact.
    Malformed,
    /// Over 64 KiB (P5.1).
    Oversized,
    /// The signature does not verify.
    Forged,
    /// The origin's name belongs to another key (P1.3).
    Collision(PeerName),
    /// It is signed with our own key, and we did not make it. Holds the nickname its maker goes by, when it tells.
    Copied(Option<String>),
    /// There is no room for it.
    Full,
    /// Its origin was removed, and has not started again since (P5.8).
    Removed,
}

/// All facts held, by origin and kind.
#[derive(Debug)]
pub(crate) struct FactStore {
    own: PeerName,
    verify: Verify,
    origins: Origins,
    facts: usize,
    bytes: usize,
    sums: Sums,
    /// Origins that take no part in digests.
    withheld: BTreeSet<PeerName>,
    removed: Removed,
    /// What is to be looked at by whoever follows the links that are stated.
    changes: Changes,
}

/// Makes a fact about ourselves, in its own encoding.
pub(crate) fn sign_fact(
    identity: &Identity,
    origin: PeerName,
    kind: FactKind,
    version: (u64, u64),
    payload: Vec<u8>,
) -> Arc<[u8]> {
    let mut fact = Fact {
        origin,
        public_key: identity.public_key(),
        kind,
        incarnation: version.0,
        counter: version.1,
        payload,
        signature: [0; 64],
    };
    fact.signature = identity.sign(&fact.signed_bytes());
    let mut bytes = Vec::new();
    fact.encode(&mut bytes);
    bytes.into()
}

impl FactStore {
    /// A store that knows nobody but its owner.
    pub(crate) fn new(own: PeerName, own_key: [u8; 32], verify: Verify) -> Self {
        let mut origins = Origins::new();
        origins.get_or_insert(own, || Origin::new(own, own_key)).linked = true;
        let (sums, removed) = (Sums::new(), Removed::default());
        let (withheld, changes) = (BTreeSet::new(), Changes::Known);
        Self { own, verify, origins, facts: 0, bytes: 0, sums, withheld, removed, changes }
    }

    /// Takes a fact of ours that [`sign_fact`] made.
    pub(crate) fn publish(&mut self, bytes: Arc<[u8]>) {
        if let Ok(fact) = FactView::decode(&bytes) {
            self.hold(&fact, Arc::clone(&bytes), None);
        }
    }

    /// Takes a fact that was heard over a link.
    pub(crate) fn insert(&mut self, from: LinkId, bytes: &Arc<[u8]>) -> Outcome {
        let fact = match FactView::decode(bytes) {
            Ok(fact) => fact,
            Err(FactError::Long) => return Outcome::Dropped(DropReason::Oversized),
            Err(_) => return Outcome::Dropped(DropReason::Malformed),
        };
        let line = DigestEntry { origin: fact.origin, kind: fact.kind, version: fact.version };
        // What is heard again, most of what is heard, must not cost a signature check.
        if let Some((held, first)) = self.newest_like(&fact)
            && fact.version <= held
        {
            return Outcome::Stale(Repeated { line, is_older: fact.version < held, first });
        }
        match self.judge(&fact, bytes.len()) {
            Ok(()) => {
                let is_first = !self.knows(fact.origin);
                self.hold(&fact, Arc::clone(bytes), Some(from));
                Outcome::New { line, is_first }
            }
            Err(reason) => Outcome::Dropped(reason),
        }
    }

    /// Says that a link to this peer is up: its key has proved itself. The caller asked [`FactStore::is_free_for`]
    /// before.
    pub(crate) fn link_up(&mut self, name: PeerName, key: [u8; 32]) {
        self.give_name(name, key).linked = true;
    }

    /// Says that no link to this peer is up any more.
    pub(crate) fn link_down(&mut self, name: PeerName) {
        if let Some(origin) = self.origins.get_mut(name) {
            origin.linked = false;
        }
    }

    /// Forgets a peer and all it said.
    pub(crate) fn remove(&mut self, name: PeerName) {
        if let Some(origin) = self.origins.remove(name) {
            self.changes = Changes::Known;
            self.facts -= origin.len();
            self.bytes -= origin.held().map(|h| h.bytes.len()).sum::<usize>();
            if origin.offered {
                toggle_all(&mut self.sums, &origin);
            } else {
                self.withheld.remove(&name);
            }
            if origin.get(FactKind::REMOVED).is_some() {
                self.removed.update(&self.origins);
            }
        }
    }

    /// Leaves the facts of exactly these peers out of digests (P5.6).
    pub(crate) fn withhold(&mut self, absent: impl Iterator<Item = PeerName>) {
        let absent: BTreeSet<_> =
            absent.filter(|&name| name != self.own && self.origins.contains(name)).collect();
        for &name in self.withheld.symmetric_difference(&absent) {
            if let Some(origin) = self.origins.get_mut(name) {
                origin.offered = !origin.offered;
                toggle_all(&mut self.sums, origin);
            }
        }
        self.withheld = absent;
    }

    /// Whose links facts say something else than when this was asked last.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The fingerprint of everything that takes part in digests.
    pub(crate) const fn fingerprint(&self) -> u64 {
        self.sums.whole()
    }

    /// The fingerprints of the buckets.
    pub(crate) fn fingerprints(&self) -> &[u64; BUCKETS] {
        self.sums.buckets()
    }

    /// What we hold in these buckets (P5.6).
    pub(crate) fn lines(&self, buckets: u64) -> Vec<DigestEntry> {
        let lines = self.offered(buckets).map(|(line, _)| line);
        lines.collect()
    }

    /// The facts in these buckets that the sender of `lines` lacks, or has in older versions.
    pub(crate) fn missing_from(&self, buckets: u64, lines: &[DigestEntry]) -> Vec<Arc<[u8]>> {
        let mut theirs = lines.to_vec();
        theirs.sort_unstable();
        let has = |line: &DigestEntry| {
            // The first that is not smaller is of the same fact, if they have it in this version or a newer one.
            let at = theirs.partition_point(|other| other < line);
            theirs.get(at).is_some_and(|other| (other.origin, other.kind) == (line.origin, line.kind))
        };
        self.offered(buckets)
            .filter(|(line, _)| !has(line))
            .map(|(_, held)| Arc::clone(&held.bytes))
            .collect()
    }

    /// The buckets of those lines that tell of something we lack.
    pub(crate) fn lacking(&self, lines: &[DigestEntry]) -> u64 {
        lines.iter().filter(|line| self.lacks(line)).fold(0, |buckets, line| {
            let bucket =
                self.origins.get(line.origin).map_or_else(|| sums::bucket_of(line.origin), |o| o.bucket);
            buckets | 1 << bucket
        })
    }

    /// Whether this fact is neither held, nor a newer one, and would be taken.
    pub(crate) fn lacks(&self, line: &DigestEntry) -> bool {
        let held = self.origins.get(line.origin).and_then(|o| o.get(line.kind));
        held.is_none_or(|held| held.version < line.version) && !self.is_removed(line.origin, line.version.0)
    }

    /// Everyone known, ourselves included.
    pub(crate) fn origins(&self) -> impl Iterator<Item = PeerName> {
        self.origins.names()
    }

    /// Whether `key` may use `name`: nobody else does, or it has the better right to it (P1.3).
    pub(crate) fn is_free_for(&self, name: PeerName, key: &[u8; 32]) -> bool {
        // Who came first keeps the name. The one exception keeps a name that follows from a key (P1.2) from being
        // squatted on by a key it does not follow from, whichever was heard first.
        self.origins.get(name).is_none_or(|holder| {
            holder.key == *key || (!holder.linked && name_of(&holder.key) != name && name_of(key) == name)
        })
    }

    /// The fact that this line is about, in this version or a newer one.
    pub(crate) fn wanted(&self, line: &DigestEntry) -> Option<&Arc<[u8]>> {
        let held = self.origins.get(line.origin)?.get(line.kind)?;
        (held.version >= line.version).then_some(&held.bytes)
    }

    /// Whether anything is known of this peer.
    pub(crate) fn knows(&self, name: PeerName) -> bool {
        self.origins.contains(name)
    }

    /// The greatest incarnation in which the peer said anything.
    pub(crate) fn incarnation(&self, name: PeerName) -> Option<u64> {
        self.origins.get(name)?.newest().map(|version| version.0)
    }

    /// The key that the name belongs to.
    pub(crate) fn key(&self, name: PeerName) -> Option<&[u8; 32]> {
        self.origins.get(name).map(|o| &o.key)
    }

    /// Who the peer says it is.
    pub(crate) fn peer(&self, name: PeerName) -> Option<PeerFact> {
        self.origins.get(name)?.peer()
    }

    /// The TCP port that the peer says it listens on.
    pub(crate) fn port(&self, name: PeerName) -> Option<u16> {
        self.origins.get(name).map(|o| o.port).filter(|&port| port != 0)
    }

    /// Whom the peer says it is linked to.
    pub(crate) fn links(&self, name: PeerName) -> LinkList<'_> {
        LinkList::trusted(self.origins.get(name).map_or(&[], |o| o.current(FactKind::LINKS)))
    }

    /// Everyone known with whom each says it is linked to.
    pub(crate) fn all_links(&self) -> impl Iterator<Item = (PeerName, LinkList<'_>)> {
        self.origins.iter().map(|o| (o.name, LinkList::trusted(o.current(FactKind::LINKS))))
    }

    /// Which identities the peer saw in use twice.
    pub(crate) fn conflicts(&self, name: PeerName) -> LinkList<'_> {
        LinkList::trusted(self.origins.get(name).map_or(&[], |o| o.current(FactKind::CONFLICTS)))
    }

    /// How many peers are known, ourselves included.
    pub(crate) fn peers(&self) -> usize {
        self.origins.len()
    }

    /// How many facts are held.
    pub(crate) const fn len(&self) -> usize {
        self.facts
    }

    /// How much memory all of it takes, in bytes, the tables around the facts included.
    pub(crate) fn memory(&self) -> usize {
        // Two counters before the bytes of each fact.
        self.bytes + self.facts * 2 * size_of::<usize>() + self.origins.memory() + self.removed.memory()
    }

    /// The newest version that this fact could replace, and where that came from.
    fn newest_like(&self, fact: &FactView<'_>) -> Option<((u64, u64), Option<LinkId>)> {
        let origin = self.origins.get(fact.origin).filter(|o| o.key == *fact.public_key)?;
        let held = origin.get(fact.kind).map(|held| (held.version, held.from));
        // Also of kinds that we never state: only what is newer than this run can be someone else's.
        let newest = || origin.newest().map(|version| (version, None));
        if fact.origin == self.own { held.or_else(newest) } else { held }
    }

    /// Whether a fact that is news is to be held.
    fn judge(&self, fact: &FactView<'_>, len: usize) -> Result<(), DropReason> {
        if self.is_removed(fact.origin, fact.version.0) {
            return Err(DropReason::Removed);
        }
        if !self.has_room(fact, len) {
            return Err(DropReason::Full);
        }
        if !(self.verify)(fact.public_key, &fact.signed_bytes(), fact.signature) {
            return Err(DropReason::Forged);
        }
        if !self.is_free_for(fact.origin, fact.public_key) {
            return Err(DropReason::Collision(fact.origin));
        }
        if fact.origin == self.own {
            return Err(DropReason::Copied(nickname_in(fact)));
        }
        Ok(())
    }

    fn has_room(&self, fact: &FactView<'_>, len: usize) -> bool {
        let held = match self.origins.get(fact.origin) {
            None if self.origins.len() >= MAX_PEERS => return false,
            None => None,
            Some(o) if o.len() >= MAX_KINDS && o.get(fact.kind).is_none() => return false,
            Some(o) => o.get(fact.kind),
        };
        let freed = held.map_or(0, |h| h.bytes.len());
        (held.is_some() || self.facts < MAX_FACTS) && self.bytes - freed + len <= MAX_BYTES
    }

    fn hold(&mut self, fact: &FactView<'_>, bytes: Arc<[u8]>, from: Option<LinkId>) {
        let (len, new) = (bytes.len(), Held::new(fact, bytes, from));
        let fingerprint = new.fingerprint;
        let origin = self.give_name(fact.origin, *fact.public_key);
        let (bucket, offered) = (origin.bucket, origin.offered);
        // A restart voids what was stated before.
        let restarts = origin.newest().is_some_and(|newest| newest.0 < fact.version.0);
        let old = origin.put(new);
        let tells_removed = origin.get(FactKind::REMOVED).is_some();
        if offered {
            self.sums.toggle(bucket, fingerprint);
            if let Some(old) = &old {
                self.sums.toggle(bucket, old.fingerprint);
            }
        }
        match old {
            Some(old) => self.bytes -= old.bytes.len(),
            None => self.facts += 1,
        }
        self.bytes += len;
        if restarts || fact.kind == FactKind::LINKS {
            self.changes.note(fact.origin);
        }
        if tells_removed {
            self.removed.update(&self.origins);
        }
    }

    /// The entry of `name`, which belongs to `key` from now on.
    fn give_name(&mut self, name: PeerName, key: [u8; 32]) -> &mut Origin {
        if self.origins.get(name).is_some_and(|holder| holder.key != key) {
            self.remove(name);
        }
        let changes = &mut self.changes;
        self.origins.get_or_insert(name, || {
            *changes = Changes::Known;
            Origin::new(name, key)
        })
    }

    fn offered(&self, buckets: u64) -> impl Iterator<Item = (DigestEntry, &Held)> {
        let origins = self.origins.iter().filter(move |o| o.offered && buckets >> o.bucket & 1 == 1);
        origins.flat_map(|o| {
            let line = |held: &Held| DigestEntry { origin: o.name, kind: held.kind, version: held.version };
            o.held().map(move |held| (line(held), held))
        })
    }
}

/// Puts all facts of an origin into the fingerprints, or takes them out.
fn toggle_all(sums: &mut Sums, origin: &Origin) {
    for held in origin.held() {
        sums.toggle(origin.bucket, held.fingerprint);
    }
}

fn nickname_in(fact: &FactView<'_>) -> Option<String> {
    if fact.kind != FactKind::PEER {
        return None;
    }
    PeerFact::decode(fact.payload).ok().map(|p| p.nickname)
}

#[cfg(test)]
mod tests;
