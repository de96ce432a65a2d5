//! The links that both ends state.

mod build;
mod index;
mod rows;
mod update;

use wire::PeerName;

pub use update::Change;

use rows::Rows;

/// Most peers in a graph; more are left out. Sixteen times as many as the network is built for.
const MAX_PEERS: usize = (1 << 16) - 1;

/// Links between peers, as far as both ends state them, each at the greater of the two costs (P8.1).
///
/// Peers are numbered by the order of their names; the links of each lie side by side, in the order of the other ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    names: Vec<PeerName>,
    /// The one who sees it so. Its own links are those that it has, whatever the other ends state: it knows best.
    own: Option<u16>,
    /// What each states, whether or not the other end does.
    stated: Rows,
    edges: Rows,
}

/// One end's view of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) to: u16,
    pub(crate) class: u8,
}

impl Graph {
    /// Everyone who states something, and the neighbours of the one who sees it, by name.
    pub fn names(&self) -> &[PeerName] {
        &self.names
    }

    /// How many links there are.
    pub const fn links(&self) -> usize {
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
        let wanted = key(name);
        self.names.binary_search_by(|&name| key(name).cmp(&wanted)).ok().and_then(|n| u16::try_from(n).ok())
    }

    pub(crate) fn name(&self, number: u16) -> PeerName {
        self.names[usize::from(number)]
    }

    pub(crate) fn edges(&self, number: u16) -> &[Edge] {
        self.edges.row(number)
    }

    pub(crate) fn edge(&self, a: u16, b: u16) -> Option<Edge> {
        self.edges.get(a, b)
    }
}

/// A name as a number of the same order: compared in one instruction.
const fn key(name: PeerName) -> u64 {
    let [a, b, c, d, e, f] = name.bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests;
