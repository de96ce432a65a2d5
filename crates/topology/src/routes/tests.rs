//! Routes step by step, and against all paths there are.

use super::*;
use crate::testing::{links, name, of_links};
use proptest::prelude::*;

fn fresh(graph: &Graph, source: u16) -> Routes {
    Routes::new(graph, name(source), &Routes::default())
}

fn to(routes: &Routes, peer: u16) -> Option<Vec<u8>> {
    routes.to(name(peer)).map(|hops| hops.iter().map(|h| h.bytes()[5]).collect())
}

fn chain(n: u16) -> Vec<(u16, u16, u8)> {
    (1..n).map(|n| (n - 1, n, 0)).collect()
}

#[test]
fn a_route_names_the_hops_behind_the_source_and_the_destination_last() {
    let routes = fresh(&of_links(&chain(4)), 0);
    assert_eq!(to(&routes, 3), Some(vec![1, 2, 3]));
    assert_eq!((to(&routes, 0), to(&routes, 9)), (None, None));
    assert_eq!(routes.iter().map(|(_, hops)| hops.len()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((routes.len(), routes.is_empty()), (3, false));
}

#[test]
fn a_neighbour_is_reached_by_the_link_to_it_however_slow() {
    let routes = fresh(&of_links(&[(0, 1, 0), (1, 2, 0), (0, 2, 8), (2, 3, 0)]), 0);
    assert_eq!((to(&routes, 2), to(&routes, 3)), (Some(vec![2]), Some(vec![1, 2, 3])));
}

#[test]
fn a_link_that_carries_no_frames_is_no_route_where_there_is_another_way() {
    let links = [(0, 1, 0), (1, 2, 8), (0, 2, 9), (2, 3, 0), (0, 4, 9)];
    let before = fresh(&of_links(&[(0, 2, 0), (2, 3, 0)]), 0);
    for routes in [fresh(&of_links(&links), 0), Routes::new(&of_links(&links), name(0), &before)] {
        assert_eq!((to(&routes, 2), to(&routes, 3)), (Some(vec![1, 2]), Some(vec![1, 2, 3])));
        assert_eq!(to(&routes, 4), Some(vec![4]), "there is no other");
    }
}

const FURTHEST: u8 = MAX_HOPS as u8;

#[test]
fn what_lies_behind_more_hops_than_a_route_has_is_not_within_reach() {
    let routes = fresh(&of_links(&chain(u16::from(FURTHEST) + 3)), 0);
    assert_eq!(to(&routes, FURTHEST.into()), Some((1..=FURTHEST).collect()));
    assert_eq!((to(&routes, u16::from(FURTHEST) + 1), routes.len()), (None, MAX_HOPS));
}

#[test]
fn a_shorter_way_that_costs_more_is_taken_where_the_cheapest_is_too_long() {
    let end = FURTHEST + 2;
    let mut links = chain(u16::from(end) + 1);
    links.extend([(0, 90, 8), (90, u16::from(end), 8)]);
    let routes = fresh(&of_links(&links), 0);
    assert_eq!(to(&routes, end.into()), Some(vec![90, end]));
    assert_eq!(to(&routes, u16::from(end) - 1), Some(vec![90, end, end - 1]));
    assert_eq!(to(&routes, FURTHEST.into()), Some((1..=FURTHEST).collect()));
}

#[test]
fn a_route_stays_until_a_link_of_it_goes_or_another_is_cheaper_by_a_fifth() {
    // By 1: two links of 5. By 2: 5 and 3 (a fifth less), or 5 and 4 of which there is none; so 9 and 2 is compared too.
    let old = fresh(&of_links(&[(0, 1, 2), (1, 3, 2)]), 0);
    let next = |links: &[(u16, u16, u8)]| to(&Routes::new(&of_links(links), name(0), &old), 3);
    let by = |n| Some(vec![n, 3]);
    assert_eq!(next(&[(0, 1, 2), (1, 3, 2), (0, 2, 3), (2, 3, 0)]), by(1), "11 for 10");
    assert_eq!(next(&[(0, 1, 2), (1, 3, 2), (0, 2, 2), (2, 3, 1)]), by(2), "8 for 10");
    assert_eq!(next(&[(0, 1, 3), (1, 3, 0), (0, 2, 3), (2, 3, 0)]), by(1), "11 for 11");
    assert_eq!(next(&[(0, 1, 3), (1, 3, 1), (0, 2, 2), (2, 3, 2)]), by(1), "10 for 12");
    assert_eq!(next(&[(0, 1, 2), (0, 2, 8), (2, 3, 8)]), by(2), "a link of it is gone");
}

#[test]
fn a_graph_that_does_not_hold_the_source_has_no_routes() {
    assert!(fresh(&of_links(&chain(3)), 9).is_empty());
    assert!(fresh(&Graph::default(), 0).is_empty());
}

/// The weight of the cheapest path of at most so many hops, by trying all links as often.
fn naive(graph: &Graph, source: PeerName) -> Vec<(PeerName, u64)> {
    let names = graph.names();
    let mut best: Vec<_> = names.iter().map(|&n| (n == source).then_some(0)).collect();
    for _ in 0..MAX_HOPS {
        let below = best.clone();
        for (a, &from) in names.iter().enumerate() {
            for (b, &to) in names.iter().enumerate() {
                if let (Some(so_far), Some(class)) = (below[a], graph.class(from, to)) {
                    let new = so_far + u64::from(weight(class));
                    best[b] = Some(best[b].map_or(new, |old: u64| old.min(new)));
                }
            }
        }
    }
    names
        .iter()
        .zip(best)
        .filter_map(|(&n, weight)| Some((n, weight?)))
        .filter(|&(n, _)| n != source)
        .collect()
}

proptest! {
    #[test]
    fn routes_are_real_short_and_cheapest(links in links(14, 40), more in 0_u16..14, source in 0_u16..3) {
        let mut links = links;
        links.extend(chain(more + 1).into_iter().filter(|&(a, b, _)| !links.iter().any(|l| (l.0, l.1) == (a, b))).collect::<Vec<_>>());
        let graph = of_links(&links);
        prop_assume!(graph.number(name(source)).is_some());
        let routes = fresh(&graph, source);
        let found: Vec<_> = routes.iter().map(|(to, hops)| {
            assert!(hops.len() <= MAX_HOPS && hops.last() == Some(&to) && !hops.contains(&name(source)));
            let weighs = graph.weight(name(source), hops).expect("links that are there");
            let direct = graph.class(name(source), to).filter(|&class| class < CONTROL_ONLY);
            (to, if direct.is_some() { assert_eq!(hops, [to]); None } else { Some(weighs) })
        }).collect();
        let expected: Vec<_> = naive(&graph, name(source)).into_iter()
            .map(|(to, w)| (to, graph.class(name(source), to).is_none_or(|class| class == CONTROL_ONLY).then_some(w))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_stays_is_there_and_never_dearer_than_a_quarter_more(
        before in links(9, 30), after in links(9, 30), source in 0_u16..9,
    ) {
        let (old, graph) = (of_links(&before), of_links(&after));
        prop_assume!(graph.number(name(source)).is_some());
        let best = fresh(&graph, source);
        let kept = Routes::new(&graph, name(source), &fresh(&old, source));
        prop_assert_eq!(kept.iter().map(|r| r.0).collect::<Vec<_>>(), best.iter().map(|r| r.0).collect::<Vec<_>>());
        for ((_, kept), (_, best)) in kept.iter().zip(best.iter()) {
            let weigh = |hops| graph.weight(name(source), hops).expect("links that are there");
            prop_assert!(weigh(kept) * 4 < weigh(best) * 5 || kept == best);
        }
    }
}
