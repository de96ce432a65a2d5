//! The tree by which frames for everyone travel (P7.3).

use wire::PeerName;

use crate::dijkstra::{FAR, Tree};
use crate::graph::Graph;

/// The neighbours of `me` whose way from `source` leads through `me`. `None` when no links lead from the source to `me`:
/// nothing is known about the tree then.
pub fn children(graph: &Graph, source: PeerName, me: PeerName) -> Option<Vec<PeerName>> {
    let (from, at) = (graph.number(source)?, graph.number(me)?);
    let tree = Tree::grow(graph, from);
    if tree.costs[usize::from(at)] == FAR {
        return None;
    }
    let child = |&to: &u16| to != from && tree.parents[usize::from(to)] == at;
    Some(graph.edges(at).iter().map(|e| e.to).filter(child).map(|to| graph.name(to)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{links, name, of_links};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn in_a_chain_it_goes_on_away_from_the_source() {
        let g = of_links(&[(0, 1, 0), (1, 2, 0), (2, 3, 0)]);
        let of = |source, me| children(&g, name(source), name(me));
        assert_eq!(of(1, 1), Some(vec![name(0), name(2)]));
        assert_eq!(of(1, 2), Some(vec![name(3)]));
        assert_eq!(of(1, 3), Some(vec![]));
        assert_eq!(of(9, 3), None, "nobody knows the source");
    }

    #[test]
    fn a_source_that_no_links_lead_from_has_no_tree() {
        let g = of_links(&[(0, 1, 0), (2, 3, 0)]);
        assert_eq!(children(&g, name(0), name(2)), None);
    }

    proptest! {
        #[test]
        fn everyone_within_reach_is_the_child_of_exactly_one(links in links(12, 60), source in 0_u16..12) {
            let g = of_links(&links);
            prop_assume!(g.number(name(source)).is_some());
            let mut told: BTreeMap<PeerName, usize> = BTreeMap::from([(name(source), 1)]);
            let mut edge = vec![name(source)];
            while let Some(at) = edge.pop() {
                for child in children(&g, name(source), at).unwrap_or_default() {
                    prop_assert!(g.linked(at, child));
                    *told.entry(child).or_default() += 1;
                    edge.push(child);
                }
            }
            prop_assert!(told.values().all(|&times| times == 1));
            let reached = g.reachable([name(source)]);
            prop_assert_eq!(told.into_keys().collect::<Vec<_>>(), reached.iter().collect::<Vec<_>>());
        }
    }
}
