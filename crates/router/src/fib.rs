//! The snapshot that data threads forward by.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use foldhash::HashMap;
use packet::Mac;
use transport::{FramePath, HopPaths};
use wire::PeerName;

/// On which side of the router a MAC address lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this host's bridge.
    Local,
    /// Behind this peer.
    Peer(PeerName),
}

/// What is known about one MAC address.
#[derive(Debug)]
pub struct MacEntry {
    /// Where it lives.
    pub place: Place,
    /// When a frame from it was last seen, in seconds. Data threads store here; nothing depends on its order with other memory.
    seen: AtomicU32,
}

impl MacEntry {
    pub(crate) const fn new(place: Place, now: u32) -> Self {
        Self { place, seen: AtomicU32::new(now) }
    }

    /// Notes a frame. Written only when the second changed, so that threads do not fight for the cache line.
    pub(crate) fn touch(&self, now: u32) {
        if self.seen.load(Relaxed) != now {
            self.seen.store(now, Relaxed);
        }
    }

    /// Seconds since the last frame.
    pub fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.seen.load(Relaxed))
    }
}

/// The ways to one peer, best first.
#[derive(Clone, Default)]
pub struct PeerPaths {
    /// What frames take.
    pub primary: Option<Arc<dyn FramePath>>,
    /// What frames take that are too big for the first.
    pub fallback: Option<Arc<dyn FramePath>>,
}

/// One peer that frames can be sent to.
#[derive(Clone)]
pub struct PeerEntry {
    /// Its name.
    pub name: PeerName,
    /// The ways to it, for frames that are for it alone.
    pub paths: PeerPaths,
    /// The ways to it, for what it shall pass on too; only neighbours have them.
    pub hop: Option<HopPaths>,
}

/// Everything a frame's way depends on. Replaced, never changed.
#[derive(Default)]
pub struct Fib {
    /// All peers that frames can be sent to, neighbours or not.
    pub peers: Vec<PeerEntry>,
    index: HashMap<PeerName, usize>,
    pub(crate) macs: HashMap<Mac, Arc<MacEntry>>,
    /// Places of neighbours: first all of them, then those of each tree.
    hops: Vec<usize>,
    neighbours: usize,
    own: Range<usize>,
    /// Where in `hops` the tree of each source is, in the order of their names.
    trees: Vec<(PeerName, Range<usize>)>,
}

impl Fib {
    /// A snapshot for the peer `own`, of these peers and the table's addresses.
    ///
    /// `trees` names, for each source whose tree is known, the neighbours that get its frames for everyone from this peer (P7.3).
    /// What is no neighbour now is left out; where none is left, nothing is passed on. The tree of `own` belongs to them: without it,
    /// its frames go to all neighbours, as those of any source whose tree is not known.
    pub fn new(
        own: PeerName,
        peers: Vec<PeerEntry>,
        macs: HashMap<Mac, Arc<MacEntry>>,
        trees: Vec<(PeerName, Vec<PeerName>)>,
    ) -> Self {
        let mut index = HashMap::with_capacity_and_hasher(peers.len(), Default::default());
        let mut hops = Vec::new();
        for (place, peer) in peers.iter().enumerate() {
            index.insert(peer.name, place);
            if peer.hop.is_some() {
                hops.push(place);
            }
        }
        let neighbours = hops.len();
        let mut ranges = Vec::with_capacity(trees.len());
        let mut places = Vec::new();
        for (source, names) in trees {
            let found = names.iter().filter_map(|name| index.get(name).copied());
            places.extend(found.filter(|i| peers.get(*i).is_some_and(|p| p.hop.is_some())));
            // One order for all, so that the batches of a flood are found in it; and nobody twice.
            places.sort_unstable();
            places.dedup();
            let start = hops.len();
            hops.append(&mut places);
            ranges.push((source, start..hops.len()));
        }
        ranges.sort_unstable_by_key(|(source, _)| *source);
        let own = find(&ranges, own).unwrap_or(0..neighbours);
        Self { peers, index, macs, hops, neighbours, own, trees: ranges }
    }

    /// Where in [`peers`](Self::peers) the peer of this name is.
    #[inline]
    pub fn position(&self, name: PeerName) -> Option<usize> {
        self.index.get(&name).copied()
    }

    /// The ways to this neighbour; `None` if it is none.
    pub fn hop(&self, name: PeerName) -> Option<&HopPaths> {
        self.peers.get(self.position(name)?)?.hop.as_ref()
    }

    /// The neighbours that get this peer's own frames for everyone.
    pub fn own_tree(&self) -> impl Iterator<Item = (PeerName, &HopPaths)> {
        self.at(self.own.clone())
    }

    /// The neighbours that get the frames of `source` for everyone from this peer, if its tree is known.
    pub fn tree(&self, source: PeerName) -> Option<impl Iterator<Item = (PeerName, &HopPaths)>> {
        find(&self.trees, source).map(|range| self.at(range))
    }

    /// All neighbours.
    pub fn neighbours(&self) -> impl Iterator<Item = (PeerName, &HopPaths)> {
        self.at(0..self.neighbours)
    }

    fn at(&self, range: Range<usize>) -> impl Iterator<Item = (PeerName, &HopPaths)> {
        let places = self.hops.get(range).unwrap_or_default();
        places.iter().filter_map(|i| self.peers.get(*i)).filter_map(|p| Some((p.name, p.hop.as_ref()?)))
    }
}

fn find(trees: &[(PeerName, Range<usize>)], source: PeerName) -> Option<Range<usize>> {
    let place = trees.binary_search_by_key(&source, |(name, _)| *name).ok()?;
    trees.get(place).map(|(_, range)| range.clone())
}
