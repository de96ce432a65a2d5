//! Who is within reach.

use wire::PeerName;

use crate::graph::Graph;

/// Everyone that a chain of links leads to, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    names: Vec<PeerName>,
}

impl Reached {
    /// Whether this one is.
    pub fn contains(&self, name: PeerName) -> bool {
        self.names.binary_search(&name).is_ok()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = PeerName> {
        self.names.iter().copied()
    }

    /// All of them, sorted.
    pub fn as_slice(&self) -> &[PeerName] {
        &self.names
    }

    /// How many they are.
    pub const fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is nobody.
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl FromIterator<PeerName> for Reached {
    fn from_iter<I: IntoIterator<Item = PeerName>>(names: I) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self { names }
    }
}

impl Graph {
    /// Everyone that a chain of links leads to from any of `from`, those included if they are known.
    pub fn reachable(&self, from: impl IntoIterator<Item = PeerName>) -> Reached {
        let seen = self.walk(from.into_iter().filter_map(|name| self.number(name)), |_, _| true);
        let names = seen.iter().zip(self.names()).filter(|(seen, _)| **seen).map(|(_, &name)| name);
        Reached { names: names.collect() }
    }

    /// Whether the two ends of a link, or any two peers, reach each other also without the link between them.
    pub fn connected_without(&self, a: PeerName, b: PeerName) -> bool {
        let (Some(a), Some(b)) = (self.number(a), self.number(b)) else { return false };
        let passes = |from, to| !(from == a && to == b || from == b && to == a);
        self.walk([a], passes)[usize::from(b)]
    }

    fn walk(&self, from: impl IntoIterator<Item = u16>, passes: impl Fn(u16, u16) -> bool) -> Vec<bool> {
        let mut seen = vec![false; self.names().len()];
        let mut edge: Vec<_> = from.into_iter().collect();
        for &at in &edge {
            seen[usize::from(at)] = true;
        }
        while let Some(at) = edge.pop() {
            for link in self.edges(at) {
                if !seen[usize::from(link.to)] && passes(at, link.to) {
                    seen[usize::from(link.to)] = true;
                    edge.push(link.to);
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{links, name, of_links};
    use proptest::prelude::*;

    /// Who is reached, by joining sets until nothing changes.
    fn naive(links: &[(u16, u16, u8)], from: u16) -> Vec<u16> {
        let mut reached = vec![from];
        loop {
            let new = links.iter().flat_map(|&(a, b, _)| [(a, b), (b, a)]);
            let new: Vec<_> = new.filter(|(a, b)| reached.contains(a) && !reached.contains(b)).collect();
            if new.is_empty() {
                reached.sort_unstable();
                return reached;
            }
            for (_, b) in new {
                if !reached.contains(&b) {
                    reached.push(b);
                }
            }
        }
    }

    #[test]
    fn reach_goes_along_chains_and_around_loops() {
        let g = of_links(&[(1, 2, 0), (2, 3, 0), (3, 4, 0), (4, 1, 0), (4, 5, 0), (7, 8, 0)]);
        let reached = g.reachable([name(1)]);
        assert_eq!(reached.iter().collect::<Vec<_>>(), (1..=5).map(name).collect::<Vec<_>>());
        assert_eq!((reached.len(), reached.contains(name(7)), reached.is_empty()), (5, false, false));
        assert_eq!(g.reachable([name(1), name(7)]).len(), 7);
        assert!(g.reachable([name(9)]).is_empty());
    }

    #[test]
    fn a_link_in_a_loop_can_be_spared_and_a_bridge_cannot() {
        let g = of_links(&[(1, 2, 0), (2, 3, 0), (3, 1, 0), (3, 4, 0)]);
        assert!(g.connected_without(name(1), name(2)));
        assert!(!g.connected_without(name(4), name(3)));
        assert!(!g.connected_without(name(1), name(9)));
    }

    proptest! {
        #[test]
        fn it_is_what_joining_sets_says(links in links(10, 30), from in 0_u16..10) {
            let g = of_links(&links);
            prop_assume!(g.number(name(from)).is_some());
            let expected: Vec<_> = naive(&links, from).into_iter().map(name).collect();
            let reached = g.reachable([name(from)]);
            prop_assert_eq!(reached.as_slice(), expected);
        }

        #[test]
        fn a_link_can_be_spared_when_the_graph_without_it_joins_its_ends(links in links(8, 20)) {
            let g = of_links(&links);
            for (n, &(a, b, _)) in links.iter().enumerate() {
                let mut without = links.clone();
                without.remove(n);
                prop_assert_eq!(g.connected_without(name(a), name(b)), naive(&without, a).contains(&b));
            }
        }
    }
}
