//! Cheapest paths from one peer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cost::{CONTROL_ONLY, weight};
use crate::graph::Graph;

/// What a path costs: its weight, and below it the number of its hops, so that of equal weights fewer hops win.
pub(crate) type Cost = u64;

/// Not reached.
pub(crate) const FAR: Cost = Cost::MAX;

const HOP_BITS: u32 = 16;

/// Cost of each peer from the source, and the peer before it on the cheapest path.
///
/// Among paths that cost the same the last hop but one has the smallest name. This rule does not depend on the order in
/// which peers are looked at, so all who hold the same graph find the same tree.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) costs: Vec<Cost>,
    pub(crate) parents: Vec<u16>,
}

/// What one hop over a link of this class adds.
pub(crate) const fn step(class: u8) -> Cost {
    (weight(class) as Cost) << HOP_BITS | 1
}

/// The weight of a path.
pub(crate) const fn weight_of(cost: Cost) -> u64 {
    cost >> HOP_BITS
}

/// The number of hops of a path.
pub(crate) const fn hops_of(cost: Cost) -> usize {
    (cost & ((1 << HOP_BITS) - 1)) as usize
}

impl Tree {
    pub(crate) fn grow(graph: &Graph, source: u16) -> Self {
        let n = graph.names().len();
        let steps: [Cost; CONTROL_ONLY as usize + 1] = std::array::from_fn(|class| step(class as u8));
        let mut tree = Self { costs: vec![FAR; n], parents: vec![source; n] };
        let mut edge = BinaryHeap::with_capacity(n);
        tree.costs[usize::from(source)] = 0;
        edge.push(Reverse((0, source)));
        while let Some(Reverse((cost, at))) = edge.pop() {
            if cost > tree.costs[usize::from(at)] {
                continue;
            }
            for link in graph.edges(at) {
                let to = usize::from(link.to);
                let new = cost + steps[usize::from(link.class)];
                if new < tree.costs[to] {
                    tree.costs[to] = new;
                    tree.parents[to] = at;
                    edge.push(Reverse((new, link.to)));
                } else if new == tree.costs[to] && at < tree.parents[to] {
                    tree.parents[to] = at;
                }
            }
        }
        tree
    }

    /// Puts the numbers behind the source on the way to `to` into `path`. Nothing, if it is not reached.
    pub(crate) fn path(&self, to: u16, path: &mut Vec<u16>) {
        path.clear();
        let (mut at, mut left) = (to, self.costs[usize::from(to)]);
        if left == FAR {
            return;
        }
        while left > 0 {
            path.push(at);
            at = self.parents[usize::from(at)];
            left = self.costs[usize::from(at)];
        }
        path.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{links, of_links};
    use proptest::prelude::*;

    /// Costs by Bellman and Ford's way: all links, over and over.
    fn naive(graph: &Graph, source: u16) -> Vec<Cost> {
        let n = graph.names().len();
        let mut costs = vec![FAR; n];
        costs[usize::from(source)] = 0;
        for _ in 0..n {
            for at in (0..n).filter(|&at| at < n) {
                for link in graph.edges(at as u16) {
                    if costs[at] != FAR {
                        let to = usize::from(link.to);
                        costs[to] = costs[to].min(costs[at] + step(link.class));
                    }
                }
            }
        }
        costs
    }

    #[test]
    fn of_equal_weights_fewer_hops_win_and_then_the_smaller_names() {
        // 0-1-3 weighs 2+2, so does no single link but 0-3 of class 1 weighs 3.
        let tree = Tree::grow(&of_links(&[(0, 1, 0), (1, 3, 0), (0, 3, 1)]), 0);
        assert_eq!(tree.parents[2], 0);
        // 0-3 of class 3 weighs 9, as 0-1-2-3 with 5+2+2 does.
        let tree = Tree::grow(&of_links(&[(0, 1, 2), (1, 2, 0), (2, 3, 0), (0, 3, 3)]), 0);
        assert_eq!((tree.parents[3], hops_of(tree.costs[3])), (0, 1));
        let tree = Tree::grow(&of_links(&[(0, 2, 0), (0, 1, 0), (2, 3, 0), (1, 3, 0)]), 0);
        assert_eq!(tree.parents[3], 1);
    }

    proptest! {
        #[test]
        fn costs_are_those_of_the_naive_way_and_parents_fit_them(links in links(12, 60), source in 0_u16..12) {
            let graph = of_links(&links);
            prop_assume!(usize::from(source) < graph.names().len());
            let tree = Tree::grow(&graph, source);
            prop_assert_eq!(&tree.costs, &naive(&graph, source));
            for at in (0..graph.names().len()).filter(|&at| tree.costs[at] != FAR && at != usize::from(source)) {
                let fits = |link: &&crate::graph::Edge| {
                    let before = tree.costs[usize::from(link.to)];
                    before != FAR && before + step(link.class) == tree.costs[at]
                };
                let least = graph.edges(at as u16).iter().filter(fits).map(|link| link.to).min();
                prop_assert_eq!(Some(tree.parents[at]), least);
            }
        }
    }
}
