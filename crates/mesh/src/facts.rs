//! The facts this peer holds, its own among them (P5).
//!
//! A fact enters when its origin signed it, when it is newer than what is held, and when the origin's name belongs
//! to the key it is signed with. Everything else is told apart by reason. Nobody but the origin ever makes or
//! changes a fact, and nothing is made anew just because it is passed on: so a fact crosses each link once, however
//! often it is heard.

use std::collections::BTreeMap;

use wire::{DigestEntry, Fact, FactError, FactKind, LinkEntry, PeerFact, PeerName, decode_links};

use crate::identity::{Identity, name_of, verify};

/// Most origins held. Twelve bits of peers is four times the size the network is built for.
pub(crate) const MAX_PEERS: usize = 4096;
/// Most kinds held of one origin; the protocol has three.
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
        origin: PeerName,
        kind: FactKind,
        /// Nothing was known of the origin before.
        is_first: bool,
    },
    /// It is held already, or a newer one is.
    Stale,
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
}

/// All facts held, by origin and kind.
#[derive(Debug)]
pub(crate) struct FactStore {
    own: PeerName,
    origins: BTreeMap<PeerName, Origin>,
    facts: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Origin {
    key: [u8; 32],
    /// The key proved itself on a link that is up: no fact can dispute it.
    linked: bool,
    held: BTreeMap<FactKind, Held>,
    peer: Option<PeerFact>,
    links: Vec<LinkEntry>,
    conflicts: Vec<LinkEntry>,
}

#[derive(Debug)]
struct Held {
    version: (u64, u64),
    bytes: Vec<u8>,
}

/// Makes a fact about ourselves, in its own encoding.
pub(crate) fn sign_fact(
    identity: &Identity,
    origin: PeerName,
    kind: FactKind,
    version: (u64, u64),
    payload: Vec<u8>,
) -> Vec<u8> {
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
    bytes
}

impl FactStore {
    /// A store that knows nobody but its owner.
    pub(crate) fn new(own: PeerName, own_key: [u8; 32]) -> Self {
        let owner = Origin { linked: true, ..Origin::new(own_key) };
        Self { own, origins: BTreeMap::from([(own, owner)]), facts: 0, bytes: 0 }
    }

    /// Takes a fact of ours that [`sign_fact`] made.
    pub(crate) fn publish(&mut self, bytes: Vec<u8>) {
        if let Ok(fact) = Fact::decode(&bytes) {
            self.hold(&fact, bytes);
        }
    }

    /// Takes a fact that was heard.
    pub(crate) fn insert(&mut self, bytes: Vec<u8>) -> Outcome {
        let fact = match Fact::decode(&bytes) {
            Ok(fact) => fact,
            Err(FactError::Long) => return Outcome::Dropped(DropReason::Oversized),
            Err(_) => return Outcome::Dropped(DropReason::Malformed),
        };
        // What is heard again, most of what is heard, must not cost a signature check.
        if self.has(&fact) {
            return Outcome::Stale;
        }
        if !self.has_room(&fact, bytes.len()) {
            return Outcome::Dropped(DropReason::Full);
        }
        if !verify(&fact.public_key, &fact.signed_bytes(), &fact.signature) {
            return Outcome::Dropped(DropReason::Forged);
        }
        if !self.is_free_for(fact.origin, &fact.public_key) {
            return Outcome::Dropped(DropReason::Collision(fact.origin));
        }
        if fact.origin == self.own {
            return Outcome::Dropped(DropReason::Copied(nickname_in(&fact)));
        }
        let is_first = !self.knows(fact.origin);
        self.hold(&fact, bytes);
        Outcome::New { origin: fact.origin, kind: fact.kind, is_first }
    }

    /// Says that a link to this peer is up: its key has proved itself. The caller asked [`FactStore::is_free_for`]
    /// before.
    pub(crate) fn link_up(&mut self, name: PeerName, key: [u8; 32]) {
        self.give_name(name, key).linked = true;
    }

    /// Says that no link to this peer is up any more.
    pub(crate) fn link_down(&mut self, name: PeerName) {
        if let Some(origin) = self.origins.get_mut(&name) {
            origin.linked = false;
        }
    }

    /// Forgets a peer and all it said.
    pub(crate) fn remove(&mut self, name: PeerName) {
        if let Some(origin) = self.origins.remove(&name) {
            self.facts -= origin.held.len();
            self.bytes -= origin.held.values().map(|h| h.bytes.len()).sum::<usize>();
        }
    }

    /// What we hold (P5.6).
    pub(crate) fn digest(&self) -> Vec<DigestEntry> {
        let of = |(&origin, o): (&PeerName, &Origin)| {
            o.held
                .iter()
                .map(move |(&kind, h)| DigestEntry { origin, kind, version: h.version })
                .collect::<Vec<_>>()
        };
        self.origins.iter().flat_map(of).collect()
    }

    /// The facts that the sender of `digest` lacks, or has in older versions, of the origins that `offered` admits.
    pub(crate) fn missing_from(
        &self,
        digest: &[DigestEntry],
        offered: impl Fn(PeerName) -> bool,
    ) -> Vec<Vec<u8>> {
        let theirs: BTreeMap<_, _> = digest.iter().map(|e| ((e.origin, e.kind), e.version)).collect();
        let mut missing = Vec::new();
        for (&name, origin) in self.origins.iter().filter(|&(&name, _)| offered(name)) {
            for (&kind, held) in &origin.held {
                if theirs.get(&(name, kind)).is_none_or(|&version| version < held.version) {
                    missing.push(held.bytes.clone());
                }
            }
        }
        missing
    }

    /// Everyone known, ourselves included.
    pub(crate) fn origins(&self) -> impl Iterator<Item = PeerName> {
        self.origins.keys().copied()
    }

    /// Whether `key` may use `name`: nobody else does, or it has the better right to it (P1.3).
    pub(crate) fn is_free_for(&self, name: PeerName, key: &[u8; 32]) -> bool {
        // Who came first keeps the name. The one exception keeps a name that follows from a key (P1.2) from being
        // squatted on by a key it does not follow from, whichever was heard first.
        self.origins.get(&name).is_none_or(|holder| {
            holder.key == *key || (!holder.linked && name_of(&holder.key) != name && name_of(key) == name)
        })
    }

    /// A fact in its own encoding.
    pub(crate) fn bytes(&self, origin: PeerName, kind: FactKind) -> Option<&[u8]> {
        Some(&self.origins.get(&origin)?.held.get(&kind)?.bytes)
    }

    /// Whether anything is known of this peer.
    pub(crate) fn knows(&self, name: PeerName) -> bool {
        self.origins.contains_key(&name)
    }

    /// Who the peer says it is.
    pub(crate) fn peer(&self, name: PeerName) -> Option<&PeerFact> {
        self.origins.get(&name)?.peer.as_ref()
    }

    /// Whom the peer says it is linked to.
    pub(crate) fn links(&self, name: PeerName) -> &[LinkEntry] {
        self.origins.get(&name).map_or(&[], |o| o.current(FactKind::LINKS, &o.links))
    }

    /// Which identities the peer saw in use twice.
    pub(crate) fn conflicts(&self, name: PeerName) -> &[LinkEntry] {
        self.origins.get(&name).map_or(&[], |o| o.current(FactKind::CONFLICTS, &o.conflicts))
    }

    fn has(&self, fact: &Fact) -> bool {
        let Some(origin) = self.origins.get(&fact.origin).filter(|o| o.key == fact.public_key) else {
            return false;
        };
        if fact.origin == self.own {
            // Also of kinds that we never state: only what is newer than this run can be someone else's.
            let newest = origin.held.get(&fact.kind).map(|h| h.version).or_else(|| origin.newest());
            return newest.is_some_and(|newest| fact.version() <= newest);
        }
        origin.held.get(&fact.kind).is_some_and(|h| fact.version() <= h.version)
    }

    fn has_room(&self, fact: &Fact, len: usize) -> bool {
        let held = match self.origins.get(&fact.origin) {
            None if self.origins.len() >= MAX_PEERS => return false,
            None => None,
            Some(o) if o.held.len() >= MAX_KINDS && !o.held.contains_key(&fact.kind) => return false,
            Some(o) => o.held.get(&fact.kind),
        };
        let freed = held.map_or(0, |h| h.bytes.len());
        (held.is_some() || self.facts < MAX_FACTS) && self.bytes - freed + len <= MAX_BYTES
    }

    fn hold(&mut self, fact: &Fact, bytes: Vec<u8>) {
        let origin = self.give_name(fact.origin, fact.public_key);
        // A payload that is not understood, from a later version perhaps, is passed on all the same (P5.3).
        match fact.kind {
            FactKind::PEER => origin.peer = PeerFact::decode(&fact.payload).ok(),
            FactKind::LINKS => origin.links = entries(&fact.payload),
            FactKind::CONFLICTS => origin.conflicts = entries(&fact.payload),
            _ => {}
        }
        let len = bytes.len();
        match origin.held.insert(fact.kind, Held { version: fact.version(), bytes }) {
            Some(old) => self.bytes -= old.bytes.len(),
            None => self.facts += 1,
        }
        self.bytes += len;
    }

    /// The entry of `name`, which belongs to `key` from now on.
    fn give_name(&mut self, name: PeerName, key: [u8; 32]) -> &mut Origin {
        if self.origins.get(&name).is_some_and(|holder| holder.key != key) {
            self.remove(name);
        }
        self.origins.entry(name).or_insert_with(|| Origin::new(key))
    }
}

impl Origin {
    const fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            linked: false,
            held: BTreeMap::new(),
            peer: None,
            links: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    fn newest(&self) -> Option<(u64, u64)> {
        self.held.values().map(|h| h.version).max()
    }

    /// `entries`, unless the origin said them in an earlier run than its newest: a restart ended what was true
    /// then.
    fn current<'a>(&self, kind: FactKind, entries: &'a [LinkEntry]) -> &'a [LinkEntry] {
        let said_in = self.held.get(&kind).map(|h| h.version.0);
        if said_in == self.newest().map(|v| v.0) { entries } else { &[] }
    }
}

fn entries(payload: &[u8]) -> Vec<LinkEntry> {
    let mut entries = decode_links(payload).unwrap_or_default();
    entries.truncate(MAX_PEERS);
    entries
}

fn nickname_in(fact: &Fact) -> Option<String> {
    if fact.kind != FactKind::PEER {
        return None;
    }
    PeerFact::decode(&fact.payload).ok().map(|p| p.nickname)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::encode_links;

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    fn store() -> FactStore {
        let own = identity(1);
        FactStore::new(own.name(), own.public_key())
    }

    fn fact_of(who: &Identity, kind: u16, version: (u64, u64), payload: &[u8]) -> Vec<u8> {
        sign_fact(who, who.name(), FactKind(kind), version, payload.to_vec())
    }

    fn new(who: &Identity, kind: u16) -> Outcome {
        Outcome::New { origin: who.name(), kind: FactKind(kind), is_first: true }
    }

    fn again(who: &Identity, kind: u16) -> Outcome {
        Outcome::New { origin: who.name(), kind: FactKind(kind), is_first: false }
    }

    #[test]
    fn only_a_newer_fact_replaces_one_that_is_held() {
        let (mut store, who) = (store(), identity(2));
        assert_eq!(store.insert(fact_of(&who, 9, (5, 5), b"a")), new(&who, 9));
        for version in [(5, 5), (5, 4), (4, 99)] {
            assert_eq!(store.insert(fact_of(&who, 9, version, b"b")), Outcome::Stale);
        }
        assert_eq!(
            store.insert(fact_of(&who, 9, (6, 0), b"c")),
            again(&who, 9),
            "a restart begins its counter anew"
        );
        assert_eq!(store.digest(), [DigestEntry { origin: who.name(), kind: FactKind(9), version: (6, 0) }]);
    }

    #[test]
    fn a_fact_with_any_bit_changed_is_forged_or_no_fact() {
        let who = identity(2);
        let good = fact_of(&who, 9, (5, 5), b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let outcome = store().insert(bad);
            assert!(
                matches!(outcome, Outcome::Dropped(DropReason::Forged | DropReason::Malformed)),
                "bit {bit}: {outcome:?}"
            );
        }
    }

    #[test]
    fn an_unknown_kind_is_passed_on_byte_for_byte() {
        let (mut store, who) = (store(), identity(2));
        let fact = fact_of(&who, 4711, (1, 1), b"from the future");
        store.insert(fact.clone());
        assert_eq!(store.missing_from(&[], |_| true), [fact]);
    }

    #[test]
    fn a_digest_is_answered_with_what_it_lacks_or_has_older() {
        let (mut store, two, three) = (store(), identity(2), identity(3));
        let (old, newer) = (fact_of(&two, 1, (1, 1), b""), fact_of(&two, 1, (1, 2), b""));
        let other = fact_of(&three, 2, (1, 1), b"");
        for fact in [&old, &newer, &other] {
            store.insert(fact.clone());
        }
        let entry =
            |who: &Identity, kind, version| DigestEntry { origin: who.name(), kind: FactKind(kind), version };
        let mut lacks_nothing = store.missing_from(&store.digest(), |_| true);
        assert_eq!(lacks_nothing.pop(), None);
        let theirs = [entry(&two, 1, (1, 1)), entry(&three, 2, (2, 0))];
        assert_eq!(store.missing_from(&theirs, |_| true), [newer]);
        assert!(store.missing_from(&[], |_| false).is_empty());
    }

    #[test]
    fn a_chosen_name_belongs_to_the_first_key_it_is_heard_with() {
        let (mut store, two, three) = (store(), identity(2), identity(3));
        let name = PeerName::new([2, 0, 0, 0, 0, 9]);
        let by = |who: &Identity, version| sign_fact(who, name, FactKind(1), version, Vec::new());
        assert!(matches!(store.insert(by(&two, (1, 1))), Outcome::New { .. }));
        assert_eq!(store.insert(by(&three, (9, 9))), Outcome::Dropped(DropReason::Collision(name)));
        assert!(!store.is_free_for(name, &three.public_key()));
        assert!(store.is_free_for(name, &two.public_key()));
        store.remove(name);
        assert!(matches!(store.insert(by(&three, (1, 1))), Outcome::New { .. }), "a forgotten name is free");
    }

    #[test]
    fn a_name_that_follows_from_a_key_cannot_be_squatted_on() {
        let (mut store, rightful, squatter) = (store(), identity(2), identity(3));
        let squat = |version| sign_fact(&squatter, rightful.name(), FactKind(1), version, Vec::new());
        assert!(matches!(store.insert(squat((9, 9))), Outcome::New { .. }));
        assert!(store.is_free_for(rightful.name(), &rightful.public_key()));
        assert_eq!(store.insert(fact_of(&rightful, 1, (1, 1), b"")), again(&rightful, 1));
        let taken = Outcome::Dropped(DropReason::Collision(rightful.name()));
        assert_eq!(store.insert(squat((10, 1))), taken);
        assert_eq!(store.digest().len(), 1);
    }

    #[test]
    fn a_linked_peer_keeps_its_name_against_every_fact() {
        let (mut store, linked, other) = (store(), identity(2), identity(3));
        store.link_up(other.name(), linked.public_key());
        let outcome = store.insert(fact_of(&other, 1, (9, 9), b""));
        assert_eq!(outcome, Outcome::Dropped(DropReason::Collision(other.name())));
    }

    #[test]
    fn a_newer_fact_about_ourselves_means_a_copied_identity_and_is_not_held() {
        let (mut store, own) = (store(), identity(1));
        store.publish(fact_of(&own, 1, (5, 1), b""));
        assert_eq!(store.insert(fact_of(&own, 1, (4, 99), b"")), Outcome::Stale, "our own last run");
        assert_eq!(
            store.insert(fact_of(&own, 7, (4, 99), b"")),
            Outcome::Stale,
            "our own last run, another kind"
        );
        let copy = PeerFact { nickname: "clone".into(), uid: 1, port: 2, program: None }.encode();
        let heard = store.insert(fact_of(&own, 1, (6, 1), &copy));
        assert_eq!(heard, Outcome::Dropped(DropReason::Copied(Some("clone".into()))));
        assert_eq!(store.insert(fact_of(&own, 7, (6, 1), b"")), Outcome::Dropped(DropReason::Copied(None)));
        assert_eq!(store.digest().len(), 1);
    }

    #[test]
    fn one_origin_has_room_for_sixteen_kinds() {
        let (mut store, who) = (store(), identity(2));
        assert_eq!(store.insert(fact_of(&who, 0, (1, 1), b"")), new(&who, 0));
        for kind in 1..16 {
            assert_eq!(store.insert(fact_of(&who, kind, (1, 1), b"")), again(&who, kind));
        }
        assert_eq!(store.insert(fact_of(&who, 16, (1, 1), b"")), Outcome::Dropped(DropReason::Full));
        assert_eq!(
            store.insert(fact_of(&who, 3, (1, 2), b"")),
            again(&who, 3),
            "those it has can be renewed"
        );
    }

    #[test]
    fn the_store_is_full_at_4096_peers() {
        let (mut store, who) = (store(), identity(2));
        let name = |n: usize| PeerName::new([2, 0, 0, 9, (n >> 8) as u8, n as u8]);
        for n in 1..MAX_PEERS {
            // Signing is not what is tested here.
            let bytes = sign_fact(&who, name(n), FactKind(1), (1, 1), Vec::new());
            store.publish(bytes);
        }
        let late = sign_fact(&who, name(MAX_PEERS), FactKind(1), (1, 1), Vec::new());
        assert_eq!(store.insert(late.clone()), Outcome::Dropped(DropReason::Full));
        store.remove(name(1));
        assert!(matches!(store.insert(late), Outcome::New { .. }));
    }

    #[test]
    fn an_oversized_fact_is_told_apart() {
        let who = identity(2);
        let outcome = store().insert(fact_of(&who, 9, (1, 1), &vec![0; 64 * 1024]));
        assert_eq!(outcome, Outcome::Dropped(DropReason::Oversized));
    }

    #[test]
    fn what_was_said_before_a_restart_is_void_after_it() {
        let (mut store, who) = (store(), identity(2));
        let link = LinkEntry { peer: identity(3).name(), address: "10.0.0.3:6783".into(), outbound: true };
        store.insert(fact_of(&who, 2, (5, 7), &encode_links(std::slice::from_ref(&link))));
        assert_eq!(store.links(who.name()), [link]);
        store.insert(fact_of(&who, 1, (6, 1), b""));
        assert_eq!(store.links(who.name()), []);
    }

    #[test]
    fn removing_a_peer_frees_what_it_used() {
        let (mut store, who) = (store(), identity(2));
        store.insert(fact_of(&who, 1, (1, 1), b"one"));
        store.insert(fact_of(&who, 1, (1, 2), b"longer than one"));
        store.insert(fact_of(&who, 2, (1, 1), b"two"));
        assert_eq!(store.facts, 2);
        store.remove(who.name());
        assert_eq!((store.facts, store.bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_dropped_and_never_panic(b in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(matches!(store().insert(b), Outcome::Dropped(_)));
        }

        #[test]
        fn two_stores_that_heard_the_same_in_any_order_hold_the_same(
            order in Just((0..24).collect::<Vec<u64>>()).prop_shuffle(),
        ) {
            let who = identity(2);
            let fact = |i: u64| fact_of(&who, (i % 3) as u16, (i / 12, i % 12), &[i as u8]);
            let (mut one, mut two) = (store(), store());
            for i in 0..24 {
                one.insert(fact(i));
            }
            for &i in &order {
                two.insert(fact(i));
            }
            prop_assert_eq!(one.missing_from(&[], |_| true), two.missing_from(&[], |_| true));
        }
    }
}
