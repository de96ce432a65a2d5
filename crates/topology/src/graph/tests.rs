use super::*;
use crate::cost::CONTROL_ONLY;
use crate::testing::name;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn graph(stated: &[(u16, &[(u16, u8)])]) -> Graph {
    Graph::new(stated.iter().map(|&(from, links)| (name(from), links.iter().map(|&(to, c)| (name(to), c)))))
}

#[test]
fn a_link_counts_only_when_both_ends_state_it_and_at_the_greater_cost() {
    let g = graph(&[(1, &[(2, 3), (3, 0)]), (2, &[(1, 5)]), (3, &[(4, 0)])]);
    assert_eq!((g.class(name(1), name(2)), g.class(name(2), name(1))), (Some(5), Some(5)));
    assert!(!g.linked(name(1), name(3)) && !g.linked(name(3), name(4)) && !g.linked(name(9), name(1)));
    assert_eq!(g.links(), 1);
}

#[test]
fn what_makes_no_sense_does_no_harm() {
    let g = graph(&[
        (2, &[(2, 0), (1, 200), (1, 2), (1, 7)]),
        (1, &[(2, 1), (2, 0)]),
        (2, &[(3, 0)]),
        (3, &[(2, 0)]),
    ]);
    assert!(!g.linked(name(2), name(2)), "nobody is linked to itself");
    assert_eq!(g.class(name(1), name(2)), Some(CONTROL_ONLY));
    assert!(g.linked(name(2), name(3)), "what is said in two parts counts");
}

#[test]
fn who_looks_knows_its_own_links_best() {
    let stated: &[(u16, &[(u16, u8)])] = &[(1, &[(2, 0), (3, 0)]), (2, &[(1, 4)]), (3, &[(1, 0)])];
    let stated = stated.iter().map(|&(n, l)| (name(n), l.iter().map(|&(to, c)| (name(to), c))));
    let g = Graph::seen_by(name(1), &[(name(2), 1), (name(7), 2)], stated);
    assert_eq!(g.class(name(1), name(2)), Some(4));
    assert_eq!(g.class(name(7), name(1)), Some(2), "it stated nothing yet");
    assert!(!g.linked(name(1), name(3)), "it is down");
    assert_eq!(g.names().len(), 4);
}

proptest! {
    #[test]
    fn it_is_what_a_table_of_all_pairs_says(
        stated in proptest::collection::vec((0_u16..9, 0_u16..9, 0_u8..12), 0..60),
        sees in proptest::option::of((0_u16..9, proptest::collection::btree_map(0_u16..9, 0_u8..9, 0..5))),
    ) {
        let mut table: BTreeMap<(u16, u16), u8> = BTreeMap::new();
        let mut known: Vec<_> = stated.iter().map(|s| s.0).collect();
        for &(a, b, c) in &stated {
            let held = table.entry((a, b)).or_default();
            *held = (*held).max(c);
        }
        let said = stated.iter().map(|&(a, b, c)| (name(a), [(name(b), c)]));
        let g = match &sees {
            None => Graph::new(said),
            Some((own, links)) => {
                table.retain(|&(a, b), _| a != *own && (b != *own || links.contains_key(&a)));
                for (&peer, &class) in links {
                    table.insert((*own, peer), class);
                    let held = table.entry((peer, *own)).or_default();
                    *held = (*held).max(class);
                }
                known.extend(links.keys());
                known.push(*own);
                let links: Vec<_> = links.iter().map(|(&n, &c)| (name(n), c)).collect();
                Graph::seen_by(name(*own), &links, said)
            }
        };
        known.sort_unstable();
        known.dedup();
        prop_assert_eq!(g.names(), known.iter().map(|&n| name(n)).collect::<Vec<_>>());
        for a in 0..9 {
            for b in 0..9 {
                let both = table.get(&(a, b)).zip(table.get(&(b, a))).filter(|_| a != b);
                prop_assert_eq!(g.class(name(a), name(b)), both.map(|(&x, &y)| x.max(y).min(CONTROL_ONLY)));
            }
        }
    }

    #[test]
    fn updates_lead_to_the_graph_that_is_made_at_once(
        own_links in proptest::collection::vec(proptest::collection::btree_map(1_u16..9, 0_u8..12, 0..6), 1..6),
        stated in proptest::collection::vec(proptest::collection::vec((0_u16..11, 0_u8..12), 0..7), 8),
        changes in proptest::collection::vec((1_u16..9, proptest::collection::vec((0_u16..11, 0_u8..12), 0..7)), 0..12),
    ) {
        let named = |links: &[(u16, u8)]| links.iter().map(|&(n, c)| (name(n), c)).collect::<Vec<_>>();
        let all = |stated: &BTreeMap<u16, Vec<(u16, u8)>>| {
            stated.iter().map(|(&n, links)| (name(n), named(links))).collect::<Vec<_>>()
        };
        let mut stated: BTreeMap<_, _> = (1_u16..).zip(stated).collect();
        let (own, mut links) = (name(0), Vec::new());
        let mut graph = Graph::seen_by(own, &links, all(&stated));
        for (n, own_links) in own_links.iter().enumerate() {
            let before = graph.clone();
            links = named(&own_links.iter().map(|(&n, &c)| (n, c)).collect::<Vec<_>>());
            // Some at once, of some twice.
            let changed: Vec<_> = changes.iter().skip(2 * n).take(3).cloned().collect();
            stated.extend(changed.iter().cloned());
            let change = graph.update(&links, changed.iter().map(|(n, _)| (name(*n), named(&stated[n]))));
            prop_assert_eq!(&graph, &Graph::seen_by(own, &links, all(&stated)));
            let pairs = |g: &Graph| (0..9).flat_map(|a| (0..9).map(move |b| (a, b)))
                .filter_map(|(a, b)| Some(((a, b), g.class(name(a), name(b))?))).collect::<BTreeMap<_, _>>();
            let (was, is) = (pairs(&before), pairs(&graph));
            let expected = if was.keys().ne(is.keys()) {
                Change::Links
            } else if was != is {
                Change::Costs
            } else {
                Change::Nothing
            };
            prop_assert_eq!(change, Some(expected));
        }
    }
}

#[test]
fn who_is_not_in_the_graph_cannot_change_it() {
    let mut g = Graph::seen_by(name(1), &[], [(name(2), [(name(1), 0)])]);
    let before = g.clone();
    assert_eq!(g.update(&[(name(2), 0)], [(name(3), [(name(1), 0)])]), None);
    assert_eq!(g.update(&[(name(3), 0)], [(name(2), [(name(1), 0)])]), None);
    assert_eq!(g, before);
    assert_eq!(g.update(&[(name(2), 0)], [(name(2), [])]), Some(Change::Links));
    let mut nobodys = Graph::new([(name(2), [(name(1), 0)])]);
    assert_eq!(nobodys.update(&[], [(name(2), [(name(1), 0)])]), None);
}
