use super::*;
use proptest::prelude::*;
use wire::{LinkEntry, RemovedEntry, encode_links, encode_removed};

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn store() -> FactStore {
    let own = identity(1);
    FactStore::new(own.name(), own.public_key(), crate::verify)
}

/// An outcome without the version that went in.
#[derive(Debug, PartialEq)]
enum Heard {
    New { origin: PeerName, kind: FactKind, is_first: bool },
    Stale,
    Dropped(DropReason),
}

fn hear(store: &mut FactStore, fact: Arc<[u8]>) -> Heard {
    match store.insert(LinkId(1), &fact) {
        Outcome::New { line, is_first } => Heard::New { origin: line.origin, kind: line.kind, is_first },
        Outcome::Stale(_) => Heard::Stale,
        Outcome::Dropped(reason) => Heard::Dropped(reason),
    }
}

/// What a store holds, in order.
fn everything(store: &FactStore) -> Vec<Arc<[u8]>> {
    store.missing_from(u64::MAX, &[])
}

fn fact_of(who: &Identity, kind: u16, version: (u64, u64), payload: &[u8]) -> Arc<[u8]> {
    sign_fact(who, who.name(), FactKind(kind), version, payload.to_vec())
}

fn new(who: &Identity, kind: u16) -> Heard {
    Heard::New { origin: who.name(), kind: FactKind(kind), is_first: true }
}

fn again(who: &Identity, kind: u16) -> Heard {
    Heard::New { origin: who.name(), kind: FactKind(kind), is_first: false }
}

#[test]
fn only_a_newer_fact_replaces_one_that_is_held() {
    let (mut store, who) = (store(), identity(2));
    assert_eq!(hear(&mut store, fact_of(&who, 9, (5, 5), b"a")), new(&who, 9));
    for version in [(5, 5), (5, 4), (4, 99)] {
        assert_eq!(hear(&mut store, fact_of(&who, 9, version, b"b")), Heard::Stale);
    }
    assert_eq!(
        hear(&mut store, fact_of(&who, 9, (6, 0), b"c")),
        again(&who, 9),
        "a restart begins its counter anew"
    );
    assert_eq!(
        store.lines(u64::MAX),
        [DigestEntry { origin: who.name(), kind: FactKind(9), version: (6, 0) }]
    );
}

#[test]
fn a_fact_with_any_bit_changed_is_forged_or_no_fact() {
    let who = identity(2);
    let good = fact_of(&who, 9, (5, 5), b"payload");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        Arc::make_mut(&mut bad)[bit / 8] ^= 1 << (bit % 8);
        let outcome = hear(&mut store(), bad);
        assert!(
            matches!(outcome, Heard::Dropped(DropReason::Forged | DropReason::Malformed)),
            "bit {bit}: {outcome:?}"
        );
    }
}

#[test]
fn an_unknown_kind_is_passed_on_byte_for_byte() {
    let (mut store, who) = (store(), identity(2));
    let fact = fact_of(&who, 4711, (1, 1), b"from the future");
    hear(&mut store, fact.clone());
    assert_eq!(everything(&store), [fact]);
}

#[test]
fn a_digest_is_answered_with_what_it_lacks_or_has_older() {
    let (mut store, two, three) = (store(), identity(2), identity(3));
    let (old, newer) = (fact_of(&two, 1, (1, 1), b""), fact_of(&two, 1, (1, 2), b""));
    let other = fact_of(&three, 2, (1, 1), b"");
    for fact in [&old, &newer, &other] {
        hear(&mut store, fact.clone());
    }
    let entry =
        |who: &Identity, kind, version| DigestEntry { origin: who.name(), kind: FactKind(kind), version };
    let mut lacks_nothing = store.missing_from(u64::MAX, &store.lines(u64::MAX));
    assert_eq!(lacks_nothing.pop(), None);
    let theirs = [entry(&two, 1, (1, 1)), entry(&three, 2, (2, 0))];
    assert_eq!(store.missing_from(u64::MAX, &theirs), [newer]);
    store.withhold([two.name(), three.name()].into_iter());
    assert!(everything(&store).is_empty(), "nor of peers that take no part");
}

#[test]
fn a_chosen_name_belongs_to_the_first_key_it_is_heard_with() {
    let (mut store, two, three) = (store(), identity(2), identity(3));
    let name = PeerName::new([2, 0, 0, 0, 0, 9]);
    let by = |who: &Identity, version| sign_fact(who, name, FactKind(1), version, Vec::new());
    assert!(matches!(hear(&mut store, by(&two, (1, 1))), Heard::New { .. }));
    assert_eq!(hear(&mut store, by(&three, (9, 9))), Heard::Dropped(DropReason::Collision(name)));
    assert!(!store.is_free_for(name, &three.public_key()));
    assert!(store.is_free_for(name, &two.public_key()));
    store.remove(name);
    assert!(matches!(hear(&mut store, by(&three, (1, 1))), Heard::New { .. }), "a forgotten name is free");
}

#[test]
fn a_name_that_follows_from_a_key_cannot_be_squatted_on() {
    let (mut store, rightful, squatter) = (store(), identity(2), identity(3));
    let squat = |version| sign_fact(&squatter, rightful.name(), FactKind(1), version, Vec::new());
    assert!(matches!(hear(&mut store, squat((9, 9))), Heard::New { .. }));
    assert!(store.is_free_for(rightful.name(), &rightful.public_key()));
    assert_eq!(hear(&mut store, fact_of(&rightful, 1, (1, 1), b"")), again(&rightful, 1));
    let taken = Heard::Dropped(DropReason::Collision(rightful.name()));
    assert_eq!(hear(&mut store, squat((10, 1))), taken);
    assert_eq!(store.lines(u64::MAX).len(), 1);
}

#[test]
fn a_linked_peer_keeps_its_name_against_every_fact() {
    let (mut store, linked, other) = (store(), identity(2), identity(3));
    store.link_up(other.name(), linked.public_key());
    let outcome = hear(&mut store, fact_of(&other, 1, (9, 9), b""));
    assert_eq!(outcome, Heard::Dropped(DropReason::Collision(other.name())));
}

#[test]
fn a_newer_fact_about_ourselves_means_a_copied_identity_and_is_not_held() {
    let (mut store, own) = (store(), identity(1));
    store.publish(fact_of(&own, 1, (5, 1), b""));
    assert_eq!(hear(&mut store, fact_of(&own, 1, (4, 99), b"")), Heard::Stale, "our own last run");
    assert_eq!(
        hear(&mut store, fact_of(&own, 7, (4, 99), b"")),
        Heard::Stale,
        "our own last run, another kind"
    );
    let copy = PeerFact {
        nickname: "clone".into(),
        uid: 1,
        port: 2,
        program: None,
        udp_port: None,
        ..PeerFact::default()
    }
    .encode();
    let heard = hear(&mut store, fact_of(&own, 1, (6, 1), &copy));
    assert_eq!(heard, Heard::Dropped(DropReason::Copied(Some("clone".into()))));
    assert_eq!(hear(&mut store, fact_of(&own, 7, (6, 1), b"")), Heard::Dropped(DropReason::Copied(None)));
    assert_eq!(store.lines(u64::MAX).len(), 1);
}

#[test]
fn one_origin_has_room_for_sixteen_kinds() {
    let (mut store, who) = (store(), identity(2));
    assert_eq!(hear(&mut store, fact_of(&who, 0, (1, 1), b"")), new(&who, 0));
    for kind in 1..16 {
        assert_eq!(hear(&mut store, fact_of(&who, kind, (1, 1), b"")), again(&who, kind));
    }
    assert_eq!(hear(&mut store, fact_of(&who, 16, (1, 1), b"")), Heard::Dropped(DropReason::Full));
    assert_eq!(
        hear(&mut store, fact_of(&who, 3, (1, 2), b"")),
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
    assert_eq!(hear(&mut store, late.clone()), Heard::Dropped(DropReason::Full));
    store.remove(name(1));
    assert!(matches!(hear(&mut store, late), Heard::New { .. }));
}

#[test]
fn an_oversized_fact_is_told_apart() {
    let who = identity(2);
    let outcome = hear(&mut store(), fact_of(&who, 9, (1, 1), &vec![0; 64 * 1024]));
    assert_eq!(outcome, Heard::Dropped(DropReason::Oversized));
}

#[test]
fn what_was_said_before_a_restart_is_void_after_it() {
    let (mut store, who) = (store(), identity(2));
    let link = LinkEntry {
        peer: identity(3).name(),
        address: ([10, 0, 0, 3], 6783).into(),
        outbound: true,
        cost: 0,
    };
    hear(&mut store, fact_of(&who, 2, (5, 7), &encode_links(std::slice::from_ref(&link))));
    assert_eq!(store.links(who.name()).collect::<Vec<_>>(), [link]);
    hear(&mut store, fact_of(&who, 1, (6, 1), b""));
    assert_eq!(store.links(who.name()).count(), 0);
}

#[test]
fn removing_a_peer_frees_what_it_used() {
    let (mut store, who) = (store(), identity(2));
    hear(&mut store, fact_of(&who, 1, (1, 1), b"one"));
    hear(&mut store, fact_of(&who, 1, (1, 2), b"longer than one"));
    hear(&mut store, fact_of(&who, 2, (1, 1), b"two"));
    assert_eq!(store.facts, 2);
    store.remove(who.name());
    assert_eq!((store.facts, store.bytes, store.fingerprint()), (0, 0, 0));
}

/// The fingerprints of a store as P5.6 defines them, made anew.
fn fingerprints_of(store: &FactStore) -> [u64; BUCKETS] {
    let mut sums = [0; BUCKETS];
    for line in store.lines(u64::MAX) {
        sums[usize::from(sums::bucket_of(line.origin))] ^= sums::fingerprint(&line);
    }
    sums
}

#[test]
fn a_fingerprint_is_the_one_of_p5_6() {
    let origin = PeerName::new([2, 0, 0, 0, 0, 9]);
    let line = DigestEntry { origin, kind: FactKind::LINKS, version: (3, 4) };
    assert_eq!((sums::bucket_of(origin), sums::fingerprint(&line)), (22, 0xce5be0486795c516));
}

#[test]
fn a_digest_of_some_buckets_tells_of_the_facts_in_these_only() {
    let (mut store, two, three) = (store(), identity(2), identity(3));
    for who in [&two, &three] {
        hear(&mut store, fact_of(who, 1, (1, 1), b""));
    }
    let bit = |who: &Identity| 1 << sums::bucket_of(who.name());
    assert_ne!(bit(&two), bit(&three));
    assert_eq!(store.lines(bit(&two)).len(), 1);
    assert_eq!(store.missing_from(!bit(&two), &[]), [fact_of(&three, 1, (1, 1), b"")]);
    let newer = DigestEntry { origin: two.name(), kind: FactKind(1), version: (1, 2) };
    assert_eq!(store.lacking(&store.lines(u64::MAX)), 0);
    assert_eq!(store.lacking(&[newer]), bit(&two));
    assert_eq!(store.lacking(&[DigestEntry { kind: FactKind(2), version: (0, 0), ..newer }]), bit(&two));
}

#[test]
fn a_removed_peer_is_silent_until_it_starts_again_or_someone_within_reach_is_linked_to_it() {
    let (mut store, teller, gone) = (store(), identity(2), identity(3));
    let removed = |incarnation| encode_removed(&[RemovedEntry { peer: gone.name(), incarnation }]);
    hear(&mut store, fact_of(&gone, 1, (5, 1), b""));
    hear(&mut store, fact_of(&teller, 4, (1, 1), &removed(5)));
    assert_eq!(store.removed(), [gone.name()]);
    store.remove(gone.name());
    assert_eq!(store.removed(), []);
    assert_eq!(hear(&mut store, fact_of(&gone, 1, (5, 2), b"")), Heard::Dropped(DropReason::Removed));
    let line = |version| DigestEntry { origin: gone.name(), kind: FactKind(1), version };
    assert!(!store.lacks(&line((5, 2))) && store.lacks(&line((6, 1))));
    let link =
        LinkEntry { peer: gone.name(), address: ([10, 0, 0, 3], 6783).into(), outbound: true, cost: 0 };
    hear(&mut store, fact_of(&teller, 2, (1, 1), &encode_links(&[link])));
    assert_eq!(hear(&mut store, fact_of(&gone, 1, (5, 3), b"")), new(&gone, 1));
    assert_eq!(store.removed(), []);
    store.withhold([teller.name()].into_iter());
    assert_eq!(store.removed(), [gone.name()], "what someone out of reach states is hearsay");
    assert_eq!(hear(&mut store, fact_of(&gone, 1, (6, 1), b"")), again(&gone, 1));
    assert_eq!(store.removed(), []);
}

#[test]
fn a_removal_stands_as_long_as_its_statement() {
    let (mut store, teller, gone) = (store(), identity(2), identity(3));
    let removed = encode_removed(&[RemovedEntry { peer: gone.name(), incarnation: 5 }]);
    let state = |store: &mut FactStore, version, payload| hear(store, fact_of(&teller, 4, version, payload));
    state(&mut store, (1, 1), &removed);
    assert!(store.is_removed(gone.name(), 5) && !store.is_removed(gone.name(), 6));
    state(&mut store, (1, 2), &[]);
    assert!(!store.is_removed(gone.name(), 5));
    state(&mut store, (1, 3), &removed);
    assert!(store.is_removed(gone.name(), 5));
    hear(&mut store, fact_of(&teller, 1, (2, 1), b""));
    assert!(!store.is_removed(gone.name(), 5), "a restart voids what was stated before");
    state(&mut store, (2, 1), &removed);
    assert!(store.is_removed(gone.name(), 5));
    store.remove(teller.name());
    assert!(!store.is_removed(gone.name(), 5));
}

#[test]
fn nobody_can_remove_us() {
    let (mut store, teller, own) = (store(), identity(2), identity(1));
    let removed = encode_removed(&[RemovedEntry { peer: own.name(), incarnation: u64::MAX }]);
    hear(&mut store, fact_of(&teller, 4, (1, 1), &removed));
    assert_eq!(store.removed(), []);
}

#[test]
fn the_port_is_that_of_the_newest_peer_fact() {
    let (mut store, who) = (store(), identity(2));
    let peer = PeerFact {
        nickname: String::new(),
        uid: 1,
        port: 6783,
        program: None,
        udp_port: Some(7),
        ..PeerFact::default()
    };
    hear(&mut store, fact_of(&who, 1, (1, 1), &peer.encode()));
    assert_eq!((store.port(who.name()), store.peer(who.name())), (Some(6783), Some(peer)));
    hear(&mut store, fact_of(&who, 1, (1, 2), b"nonsense"));
    assert_eq!((store.port(who.name()), store.peer(who.name())), (None, None));
}

#[test]
fn a_thousand_peers_with_ten_links_each_take_less_than_1_mib() {
    let mut store = store();
    let who = identity(2);
    let name = |n: usize| PeerName::new([2, 0, 0, 9, (n >> 8) as u8, n as u8]);
    let peer = PeerFact {
        nickname: "a-host-somewhere".into(),
        uid: 1,
        port: 1,
        program: Some("0.1.0".into()),
        udp_port: Some(1),
        ..PeerFact::default()
    };
    let links: Vec<_> = (0..10)
        .map(|n| LinkEntry { peer: name(n), address: ([10, 0, 0, 1], 1).into(), outbound: true, cost: 0 })
        .collect();
    for n in 0..1000 {
        store.publish(sign_fact(&who, name(n), FactKind::PEER, (1, 1), peer.encode()));
        store.publish(sign_fact(&who, name(n), FactKind::LINKS, (1, 1), encode_links(&links)));
    }
    assert_eq!(store.len(), 2000);
    assert!(store.memory() < 1 << 20, "{} bytes", store.memory());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_dropped_and_never_panic(b in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(matches!(hear(&mut store(), b.into()), Heard::Dropped(_)));
    }

    #[test]
    fn two_stores_that_heard_the_same_in_any_order_hold_the_same(
        order in Just((0..24).collect::<Vec<u64>>()).prop_shuffle(),
    ) {
        let who = identity(2);
        let fact = |i: u64| fact_of(&who, (i % 3) as u16, (i / 12, i % 12), &[i as u8]);
        let (mut one, mut two) = (store(), store());
        for i in 0..24 {
            hear(&mut one, fact(i));
        }
        for &i in &order {
            hear(&mut two, fact(i));
        }
        prop_assert_eq!(everything(&one), everything(&two));
        prop_assert_eq!(one.fingerprints(), two.fingerprints());
    }

    #[test]
    fn fingerprints_are_right_after_any_changes(changes in proptest::collection::vec((0u8..6, 2u8..6, 0u16..4, 0u64..4), 0..60)) {
        let mut store = store();
        for (what, who, kind, counter) in changes {
            let who = identity(who);
            match what {
                0 => store.remove(who.name()),
                1 => store.withhold(std::iter::once(who.name()).filter(|_| counter > 0)),
                _ => drop(hear(&mut store, fact_of(&who, kind, (1, counter), &[]))),
            }
            let expected = fingerprints_of(&store);
            prop_assert_eq!(store.fingerprints(), &expected);
            prop_assert_eq!(store.fingerprint(), expected.iter().fold(0, |all, sum| all ^ sum));
        }
    }

    #[test]
    fn what_a_digest_lacks_is_found_as_by_looking_at_each(
        held in proptest::collection::vec((2u8..6, 0u16..3, 0u64..4), 0..12),
        theirs in proptest::collection::vec((2u8..7, 0u16..3, 0u64..4), 0..12),
    ) {
        let mut store = store();
        for (who, kind, counter) in held {
            hear(&mut store, fact_of(&identity(who), kind, (1, counter), &[]));
        }
        let line = |(who, kind, counter)| DigestEntry { origin: identity(who).name(), kind: FactKind(kind), version: (1, counter) };
        let theirs: Vec<_> = theirs.into_iter().map(line).collect();
        let have = |l: &DigestEntry| theirs.iter().any(|t| (t.origin, t.kind) == (l.origin, l.kind) && t.version >= l.version);
        let expected: Vec<_> = store.lines(u64::MAX).into_iter().filter(|l| !have(l)).collect();
        let missing = store.missing_from(u64::MAX, &theirs);
        let of = |b: &Arc<[u8]>| FactView::decode(b).map(|f| DigestEntry { origin: f.origin, kind: f.kind, version: f.version }).unwrap();
        prop_assert_eq!(missing.iter().map(of).collect::<Vec<_>>(), expected);
    }
}
