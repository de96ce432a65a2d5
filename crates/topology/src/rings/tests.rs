//! What the rings promise: the same in both ends' eyes, few links, hard to disconnect.

use super::*;
use crate::Graph;
use crate::testing::name;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn rings(numbers: impl IntoIterator<Item = u16>) -> Rings {
    let mut rings = Rings::default();
    rings.update(&numbers.into_iter().map(name).collect());
    rings
}

fn plain(rings: &Rings, me: PeerName) -> Vec<PeerName> {
    rings.wanted(me, RINGS, |_| false)
}

/// The graph of the links that everyone but `without` wants.
fn graph(rings: &Rings, without: &BTreeSet<PeerName>) -> Graph {
    let live = rings.members.iter().map(|m| m.name).filter(|n| !without.contains(n));
    Graph::new(live.map(|n| (n, plain(rings, n).into_iter().map(|to| (to, 0)))))
}

fn is_connected(graph: &Graph) -> bool {
    graph.names().first().is_none_or(|&one| graph.reachable([one]).len() == graph.names().len())
}

/// A row of numbers that looks random and is the same each time (SplitMix64: Steele, Lea and Flood, 2014).
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[test]
fn the_order_on_a_ring_is_that_of_the_first_bytes_of_the_hash() {
    let rings = rings([1, 2, 3]);
    let hash = |ring: u8, n: u16| {
        let text = [b"weave ring".as_slice(), &[ring], &name(n).bytes()].concat();
        digest::digest(&digest::SHA256, &text).as_ref().to_vec()
    };
    for ring in 0..RINGS {
        let mut expected = vec![1, 2, 3];
        expected.sort_by_key(|&n| hash(ring as u8, n));
        let order: Vec<_> = rings.order[ring].iter().map(|&n| n + 1).collect();
        assert_eq!(order, expected, "ring {ring}");
    }
}

#[test]
fn the_last_of_a_few_want_each_other_and_nobody_wants_itself() {
    assert_eq!(plain(&rings([1]), name(1)), []);
    assert_eq!(plain(&rings([1, 2]), name(1)), [name(2)]);
    assert_eq!(plain(&rings([1, 2, 3]), name(2)), [name(1), name(3)]);
    assert_eq!(plain(&rings([1, 2]), name(9)), [], "who is not there");
    assert!(rings([]).is_empty());
}

#[test]
fn one_ring_makes_two_links() {
    let rings = rings(0..100);
    assert!((0..100).all(|n| rings.wanted(name(n), 1, |_| false).len() == 2));
}

#[test]
fn who_cannot_be_reached_is_passed_over_for_the_one_behind() {
    let rings = rings(0..50);
    let next = |passed: &[PeerName]| rings.wanted(name(7), 1, |n| passed.contains(&n));
    let mut passed = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let wanted = next(&passed);
        assert_eq!(wanted.len(), 2);
        assert!(wanted.iter().all(|&n| seen.insert(n)));
        passed.extend(wanted);
    }
    assert_eq!(rings.wanted(name(7), RINGS, |_| true), []);
}

#[test]
fn a_thousand_stay_connected_when_one_in_five_is_gone() {
    for seed in 0..60 {
        let mut random = random(seed);
        // Names of their own for each seed, so that each has rings of its own.
        let rings = rings((0..1000).map(|n| n + 1000 * (seed as u16 % 60)));
        let mut gone = BTreeSet::new();
        while gone.len() < 200 {
            gone.insert(rings.members[random(1000) as usize].name);
        }
        assert!(is_connected(&graph(&rings, &gone)), "seed {seed}");
    }
}

#[test]
fn any_one_of_up_to_300_can_go() {
    for n in (3..20).chain((20..300).step_by(31)).chain([300]) {
        let rings = rings(0..n);
        for gone in 0..n {
            assert!(is_connected(&graph(&rings, &BTreeSet::from([name(gone)]))), "{gone} of {n}");
        }
    }
}

#[test]
fn the_links_of_neighbours_on_a_ring_reach_everyone_and_others_do_not_count() {
    let rings = rings(0..60);
    assert_eq!(rings.reached(name(3), |_, _| true).len(), 60);
    let lone = |a: PeerName, b: PeerName| a != name(8) && b != name(8);
    let reached = rings.reached(name(3), lone);
    assert_eq!((reached.len(), reached.contains(name(8))), (59, false));
    assert_eq!(rings.reached(name(3), |_, _| false).as_slice(), [name(3)]);
    assert!(rings.reached(name(99), |_, _| true).is_empty());
}

proptest! {
    #[test]
    fn both_ends_want_the_same_links_and_at_most_ten(members in proptest::collection::btree_set(0_u16..2000, 0..80)) {
        let rings = rings(members.iter().copied());
        for &a in &members {
            let wanted = plain(&rings, name(a));
            prop_assert!(wanted.len() <= 2 * RINGS && !wanted.contains(&name(a)));
            for b in wanted {
                prop_assert!(plain(&rings, b).contains(&name(a)));
            }
        }
    }

    #[test]
    fn members_that_come_and_go_leave_the_same_rings_as_a_fresh_start(
        steps in proptest::collection::vec(proptest::collection::btree_set(0_u16..60, 0..50), 1..6),
    ) {
        let mut moved = Rings::default();
        for step in &steps {
            moved.update(&step.iter().copied().map(name).collect());
            let fresh = rings(step.iter().copied());
            prop_assert_eq!(&moved.members, &fresh.members);
            prop_assert_eq!((&moved.order, &moved.place), (&fresh.order, &fresh.place));
        }
    }
}
