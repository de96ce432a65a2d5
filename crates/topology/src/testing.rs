//! What the tests of several modules need.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wire::PeerName;

use crate::Graph;

/// The peer name number `n`; names are in the order of their numbers.
pub(crate) const fn name(n: u16) -> PeerName {
    let [high, low] = n.to_be_bytes();
    PeerName::new([2, 0, 0, 0, high, low])
}

/// The graph of these links.
pub(crate) fn of_links(links: &[(u16, u16, u8)]) -> Graph {
    let mut stated: BTreeMap<u16, Vec<(PeerName, u8)>> = BTreeMap::new();
    for &(a, b, class) in links {
        stated.entry(a).or_default().push((name(b), class));
        stated.entry(b).or_default().push((name(a), class));
    }
    Graph::new(stated.into_iter().map(|(n, links)| (name(n), links)))
}

/// Links among the peers 0 to `n`, at most one for each pair.
pub(crate) fn links(n: u16, most: usize) -> impl Strategy<Value = Vec<(u16, u16, u8)>> {
    proptest::collection::btree_map((0..n, 0..n), 0_u8..=9, 0..most)
        .prop_map(|map| map.into_iter().filter(|((a, b), _)| a < b).map(|((a, b), c)| (a, b, c)).collect())
}
