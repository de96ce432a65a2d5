//! The links that both ends state.

use wire::PeerName;

use crate::cost::MAX_CLASS;

/// Most peers in a graph; more are left out. Sixteen times as many as the network is built for.
const MAX_PEERS: usize = (1 << 16) - 1;

/// Links between peers, as far as both ends state them, each at the greater of the two costs (P8.1).
///
/// Peers are numbered by the order of their names; the links of each lie side by side, in the order of the other ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    names: Vec<PeerName>,
    /// Where the links of each peer begin, and one more for where the last ones end.
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

/// One end's view of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) to: u16,
    pub(crate) class: u8,
}

impl Graph {
    /// The graph of what peers state: for each its name, and the name and class of each of its links. Of a peer that is
    /// there twice all counts.
    pub fn new<L>(statements: impl IntoIterator<Item = (PeerName, L)>) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        Self::build(None, statements)
    }

    /// The graph as `own` sees it. Its own links are those that it has, whatever the other ends state: it knows best. What
    /// the statements say of it is left aside.
    pub fn seen_by<L>(
        own: PeerName,
        links: &[(PeerName, u8)],
        statements: impl IntoIterator<Item = (PeerName, L)>,
    ) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        Self::build(Some((own, links)), statements)
    }

    fn build<L>(
        own: Option<(PeerName, &[(PeerName, u8)])>,
        statements: impl IntoIterator<Item = (PeerName, L)>,
    ) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        let mut keys = Vec::new();
        let mut stated = Vec::new();
        for (name, links) in statements {
            keys.push(key(name));
            if own.is_none_or(|(own, _)| own != name) {
                stated.extend(links.into_iter().map(|(to, class)| (key(name), key(to), class)));
            }
        }
        if let Some((own, links)) = own {
            // What the other ends say of the cost counts; that there is a link, or none, does not.
            stated
                .retain(|&(from, to, _)| to != key(own) || links.iter().any(|&(peer, _)| key(peer) == from));
            keys.push(key(own));
            for &(peer, class) in links {
                keys.push(key(peer));
                stated.extend([(key(own), key(peer), class), (key(peer), key(own), class)]);
            }
        }
        sort(&mut keys);
        keys.dedup();
        keys.truncate(MAX_PEERS);
        let index = Index::new(&keys);
        let mut packed = Vec::with_capacity(stated.len());
        let mut origin = None;
        for (from, to, class) in stated {
            // What one peer states mostly comes in one piece.
            let known = origin.filter(|&(same, _)| same == from);
            let (_, number) = *origin.insert(known.unwrap_or_else(|| (from, index.number(from))));
            if let (Some(from), Some(to)) = (number, index.number(to)) {
                packed.push(pack(from, to, class));
            }
        }
        sort(&mut packed);
        // The classes of one pair are side by side now, the least first.
        packed.reverse();
        packed.dedup_by_key(|p| *p >> 8);
        packed.reverse();
        let names = keys.into_iter().map(name).collect();
        Self::mutual(names, &packed)
    }

    /// Keeps of the sorted statements those that are there from both ends.
    fn mutual(names: Vec<PeerName>, stated: &[u64]) -> Self {
        // Turned around and counted by the other end: so what is stated *to* a peer lies in the same order as what is
        // stated *by* it.
        let mut starts = vec![0_u32; names.len() + 1];
        for &s in stated {
            starts[to(s) + 1] += 1;
        }
        for n in 1..starts.len() {
            starts[n] += starts[n - 1];
        }
        let mut place = starts.clone();
        let mut turned = vec![Edge { to: 0, class: 0 }; stated.len()];
        for &s in stated {
            turned[place[to(s)] as usize] = Edge { to: from(s) as u16, class: class(s) };
            place[to(s)] += 1;
        }
        let mut edges = Vec::with_capacity(stated.len());
        let mut begins = Vec::with_capacity(starts.len());
        begins.push(0);
        let mut rest = stated;
        for n in 0..names.len() {
            let (by, after) = rest.split_at(rest.iter().take_while(|&&s| from(s) == n).count());
            rest = after;
            let mut toward = turned[starts[n] as usize..starts[n + 1] as usize].iter().peekable();
            for &s in by {
                while toward.next_if(|e| usize::from(e.to) < to(s)).is_some() {}
                if let Some(e) = toward.next_if(|e| usize::from(e.to) == to(s))
                    && usize::from(e.to) != n
                {
                    edges.push(Edge { to: e.to, class: e.class.max(class(s)).min(MAX_CLASS) });
                }
            }
            begins.push(edges.len() as u32);
        }
        edges.shrink_to_fit();
        Self { names, starts: begins, edges }
    }

    /// Everyone who states something, and the neighbours of the one who sees it, by name.
    pub fn names(&self) -> &[PeerName] {
        &self.names
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.edges.len() / 2
    }

    /// Whether there is a link between the two.
    pub fn linked(&self, a: PeerName, b: PeerName) -> bool {
        self.class(a, b).is_some()
    }

    /// What the link between the two costs.
    pub fn class(&self, a: PeerName, b: PeerName) -> Option<u8> {
        let (a, b) = (self.number(a)?, self.number(b)?);
        self.edge(a, b).map(|e| e.class)
    }

    /// The other ends of a peer's links, by name.
    pub fn neighbours(&self, name: PeerName) -> impl Iterator<Item = PeerName> {
        let edges = self.number(name).map_or(&[][..], |n| self.edges(n));
        edges.iter().map(|e| self.name(e.to))
    }

    pub(crate) fn number(&self, name: PeerName) -> Option<u16> {
        self.names.binary_search(&name).ok().and_then(|n| u16::try_from(n).ok())
    }

    pub(crate) fn name(&self, number: u16) -> PeerName {
        self.names[usize::from(number)]
    }

    pub(crate) fn edges(&self, number: u16) -> &[Edge] {
        let n = usize::from(number);
        &self.edges[self.starts[n] as usize..self.starts[n + 1] as usize]
    }

    pub(crate) fn edge(&self, a: u16, b: u16) -> Option<Edge> {
        let edges = self.edges(a);
        edges.binary_search_by_key(&b, |e| e.to).ok().map(|at| edges[at])
    }
}

/// Finds the number of a name. Names are spread over buckets by some bits of a product (Fibonacci hashing: Knuth, *The Art
/// of Computer Programming*, volume 3, section 6.4), and each bucket is in order: where names were chosen so that all fall
/// into one bucket, looking one up is still a binary search.
struct Index {
    shift: u32,
    starts: Vec<u32>,
    /// Names and their numbers.
    entries: Vec<(u64, u16)>,
}

impl Index {
    /// Of keys that are in order.
    fn new(keys: &[u64]) -> Self {
        let bits = keys.len().next_power_of_two().trailing_zeros() + 1;
        let mut index =
            Self { shift: 64 - bits, starts: vec![0; (1 << bits) + 1], entries: vec![(0, 0); keys.len()] };
        for &key in keys {
            let bucket = index.bucket(key);
            index.starts[bucket + 1] += 1;
        }
        for n in 1..index.starts.len() {
            index.starts[n] += index.starts[n - 1];
        }
        let mut place = index.starts.clone();
        for (number, &key) in (0..).zip(keys) {
            let place = &mut place[index.bucket(key)];
            index.entries[*place as usize] = (key, number);
            *place += 1;
        }
        index
    }

    fn number(&self, key: u64) -> Option<usize> {
        let bucket = self.bucket(key);
        let entries = &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        let at = match entries {
            [] => return None,
            [one] => (one.0 == key).then_some(0)?,
            many => many.binary_search_by_key(&key, |e| e.0).ok()?,
        };
        Some(usize::from(entries[at].1))
    }

    const fn bucket(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

/// A name as a number of the same order: compared in one instruction.
const fn key(name: PeerName) -> u64 {
    let [a, b, c, d, e, f] = name.bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

const fn name(key: u64) -> PeerName {
    let [_, _, a, b, c, d, e, f] = key.to_be_bytes();
    PeerName::new([a, b, c, d, e, f])
}

const fn pack(from: usize, to: usize, class: u8) -> u64 {
    (from as u64) << 24 | (to as u64) << 8 | class as u64
}

const fn from(packed: u64) -> usize {
    (packed >> 24) as usize
}

const fn to(packed: u64) -> usize {
    (packed >> 8) as usize & 0xffff
}

const fn class(packed: u64) -> u8 {
    packed as u8
}

fn sort(list: &mut [u64]) {
    if !list.is_sorted() {
        list.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn graph(stated: &[(u16, &[(u16, u8)])]) -> Graph {
        Graph::new(
            stated.iter().map(|&(from, links)| (name(from), links.iter().map(|&(to, c)| (name(to), c)))),
        )
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
        assert_eq!(g.class(name(1), name(2)), Some(MAX_CLASS));
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
                    prop_assert_eq!(g.class(name(a), name(b)), both.map(|(&x, &y)| x.max(y).min(MAX_CLASS)));
                }
            }
        }
    }
}
