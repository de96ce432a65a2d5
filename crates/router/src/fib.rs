//! The snapshot that data threads forward by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use foldhash::HashMap;
use packet::Mac;
use transport::FramePath;
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
    /// The ways to it.
    pub paths: PeerPaths,
}

/// Everything a frame's way depends on. Replaced, never changed.
#[derive(Default)]
pub struct Fib {
    /// All peers with a link.
    pub peers: Vec<PeerEntry>,
    index: HashMap<PeerName, usize>,
    pub(crate) macs: HashMap<Mac, Arc<MacEntry>>,
}

impl Fib {
    /// A snapshot of these peers and the table's addresses.
    pub fn new(peers: Vec<PeerEntry>, macs: HashMap<Mac, Arc<MacEntry>>) -> Self {
        let index = peers.iter().enumerate().map(|(i, p)| (p.name, i)).collect();
        Self { peers, index, macs }
    }

    /// Where in [`peers`](Self::peers) the peer of this name is.
    pub fn position(&self, name: PeerName) -> Option<usize> {
        self.index.get(&name).copied()
    }
}
