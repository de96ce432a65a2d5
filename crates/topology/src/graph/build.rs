//! A graph out of all that is stated.

use wire::PeerName;

use super::index::Index;
use super::rows::Rows;
use super::{Edge, Graph, MAX_PEERS, key};
use crate::cost::CONTROL_ONLY;

impl Graph {
    /// The graph of what peers state: for each its name, and the name and class of each of its links. Of a peer that is
    /// there twice all counts.
    pub fn new<L>(statements: impl IntoIterator<Item = (PeerName, L)>) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        Self::build(statements, None, &[])
    }

    /// The graph as `own` sees it, with the links that it has. What the statements say of these is left aside, but for
    /// what the other ends state of their cost.
    pub fn seen_by<L>(
        own: PeerName,
        links: &[(PeerName, u8)],
        statements: impl IntoIterator<Item = (PeerName, L)>,
    ) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        let mut graph = Self::build(statements, Some(own), links);
        graph.own = graph.number(own);
        graph.update(links, std::iter::empty::<(PeerName, L)>());
        graph
    }

    /// The graph of these statements, without what `own` states, and with the names of `own` and of its links.
    fn build<L>(
        statements: impl IntoIterator<Item = (PeerName, L)>,
        own: Option<PeerName>,
        links: &[(PeerName, u8)],
    ) -> Self
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        let mut keys: Vec<_> = own.into_iter().chain(links.iter().map(|l| l.0)).map(key).collect();
        let mut stated = Vec::new();
        for (name, links) in statements {
            keys.push(key(name));
            if own != Some(name) {
                stated.extend(links.into_iter().map(|(to, class)| (key(name), key(to), class)));
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
                packed.push(pack(from, to, class.min(CONTROL_ONLY)));
            }
        }
        sort(&mut packed);
        // The classes of one pair are side by side now, the least first.
        packed.reverse();
        packed.dedup_by_key(|p| *p >> 8);
        packed.reverse();
        let names: Vec<_> = keys.into_iter().map(name).collect();
        let stated = rows(&packed, names.len());
        let edges = mutual(&stated, &packed, names.len());
        Self { names, own: None, stated, edges }
    }
}

/// What is stated, by who states it.
fn rows(stated: &[u64], peers: usize) -> Rows {
    let mut rows = Rows::with_capacity(peers, stated.len());
    let mut rest = stated;
    for n in 0..peers {
        let (by, after) = rest.split_at(rest.iter().take_while(|&&s| from(s) == n).count());
        rest = after;
        rows.push(by.iter().map(|&s| Edge { to: to(s) as u16, class: class(s) }));
    }
    rows
}

/// Keeps of the sorted statements those that are there from both ends.
fn mutual(stated: &Rows, packed: &[u64], peers: usize) -> Rows {
    // Turned around and counted by the other end: so what is stated *to* a peer lies in the same order as what is
    // stated *by* it.
    let mut starts = vec![0_u32; peers + 1];
    for &s in packed {
        starts[to(s) + 1] += 1;
    }
    for n in 1..starts.len() {
        starts[n] += starts[n - 1];
    }
    let mut place = starts.clone();
    let mut turned = vec![Edge { to: 0, class: 0 }; packed.len()];
    for &s in packed {
        turned[place[to(s)] as usize] = Edge { to: from(s) as u16, class: class(s) };
        place[to(s)] += 1;
    }
    let mut edges = Rows::with_capacity(peers, packed.len());
    for (n, numbers) in (0..).zip(starts.windows(2)) {
        let mut toward = turned[numbers[0] as usize..numbers[1] as usize].iter().peekable();
        let both = stated.row(n).iter().filter_map(|by| {
            while toward.next_if(|e| e.to < by.to).is_some() {}
            let back = toward.next_if(|e| e.to == by.to).filter(|_| by.to != n)?;
            Some(Edge { to: by.to, class: back.class.max(by.class) })
        });
        edges.push(both);
    }
    edges.shrink();
    edges
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
