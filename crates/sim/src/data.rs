//! The data path of one peer: a real [`Forwarder`], its tables, and paths that end in the world.
//!
//! This is what the daemon does around the same parts, without threads: paths to neighbours follow the links, sessions with
//! other peers follow what the mesh says, and a snapshot is published whenever one of them changed.

mod distant;
mod hop;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mesh::{LinkId, Mesh};
use packet::SuperFrame;
use records::{Table, TableEvent};
use router::{Fib, Forwarder, Learned, MacTable, Notice, PeerEntry, PeerPaths};
use transport::{FramePath, FrameSink, HopPath, HopPaths, Outbox, TapFrame};
use wire::{GroupHeader, Hops, PeerName};

use distant::Distant;
use hop::Hop;
use tap::Tap;

/// Trees that are kept up to date at most.
const MAX_TREES: usize = 4096;
/// The longest frame on every path. On one through others, the records around it are longer.
const MAX_FRAME: usize = 1414;

/// What travels on a link beside messages.
#[derive(Debug, Clone)]
pub(crate) enum Carried {
    /// A frame for the neighbour, behind its virtio header.
    Frame(Vec<u8>),
    /// A frame for everyone.
    Group(GroupHeader, Vec<u8>),
    /// A record of other peers' session, with the hops it still has to make.
    Relayed(Vec<[u8; PeerName::LEN]>, Vec<u8>),
}

/// What comes out of a data path while it works.
#[derive(Default)]
pub(crate) struct Output {
    /// On its way to neighbours.
    pub(crate) sent: Vec<(LinkId, Carried)>,
    /// Frames for the bridge.
    pub(crate) bridged: Vec<Vec<u8>>,
    notices: Vec<Notice>,
    events: Vec<TableEvent>,
    asked: Vec<PeerName>,
}

impl Carried {
    /// Bytes of frame or record.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Frame(bytes) | Self::Group(_, bytes) | Self::Relayed(_, bytes) => bytes.len(),
        }
    }
}

type Shared = Arc<Mutex<Output>>;

/// The data path of one run of a router.
pub(crate) struct Data {
    own: PeerName,
    forwarder: Arc<Forwarder>,
    table: Arc<Table>,
    output: Shared,
    outbox: Outbox,
    macs: MacTable,
    hops: BTreeMap<PeerName, (LinkId, Arc<Hop>)>,
    distant: BTreeMap<PeerName, Distant>,
    trees: BTreeSet<PeerName>,
    seconds: u32,
    stale: bool,
}

impl Data {
    pub(crate) fn new(own: PeerName, incarnation: u64) -> Self {
        let output = Shared::default();
        let events = with(&output, |output, event| output.events.push(event));
        let table = Arc::new(Table::new(Box::new(events)));
        let notice = with(&output, |output, notice| output.notices.push(notice));
        let tap = Tap(Arc::clone(&output));
        let records = Arc::clone(&table) as Arc<dyn transport::RecordSink>;
        Self {
            own,
            forwarder: Forwarder::new(own, incarnation, records, Box::new(notice), Box::new(tap)),
            table,
            output,
            outbox: Outbox::new(),
            macs: MacTable::default(),
            hops: BTreeMap::new(),
            distant: BTreeMap::new(),
            trees: BTreeSet::new(),
            seconds: 0,
            stale: true,
        }
    }

    /// Links or routes are not what they were.
    pub(crate) const fn touch(&mut self) {
        self.stale = true;
    }

    /// A frame comes out of the bridge.
    pub(crate) fn forward(&mut self, frame: &SuperFrame<'_>) {
        self.forwarder.outgoing(&mut self.outbox).forward(frame);
    }

    /// Something arrives from a neighbour.
    pub(crate) fn arrive(&mut self, from: PeerName, carried: Carried) {
        match carried {
            Carried::Frame(bytes) => {
                if let Ok(frame) = TapFrame::checked(&bytes) {
                    self.forwarder.deliver(from, frame);
                }
            }
            Carried::Group(group, bytes) => {
                if let Ok(frame) = TapFrame::checked(&bytes) {
                    self.forwarder.deliver_group(from, &group, frame, &mut self.outbox);
                }
            }
            Carried::Relayed(names, mut record) => {
                if let Some(hops) = Hops::new(&names) {
                    self.forwarder.relay(from, hops, &mut record, &mut self.outbox);
                }
            }
        }
        self.outbox.flush();
    }

    /// A second passed.
    pub(crate) fn tick(&mut self, mesh: &mut Mesh, now: Instant) {
        self.seconds += 1;
        self.forwarder.set_now(self.seconds);
        self.stale |= self.macs.expire(self.seconds);
        for (&peer, distant) in &mut self.distant {
            distant.tick(&self.table, peer, mesh, now);
        }
    }

    /// Acts on what came up, and gives what leaves the data path. Nothing is left when both lists are empty.
    pub(crate) fn take(&mut self, mesh: &mut Mesh, now: Instant) -> (Vec<(LinkId, Carried)>, Vec<Vec<u8>>) {
        let mut output = std::mem::take(&mut *self.output.lock().unwrap_or_else(PoisonError::into_inner));
        for notice in output.notices.drain(..) {
            self.stale |= match notice {
                Notice::Learned(Learned { mac, place }) => self.macs.learn(mac, place, self.seconds),
                Notice::TreeWanted(source) => self.trees.len() < MAX_TREES && self.trees.insert(source),
            };
        }
        for event in output.events.drain(..) {
            if let TableEvent::Opened { peer, index } = event {
                mesh.handle_session_opened(now, peer, index);
            }
        }
        output.asked.drain(..).for_each(|peer| mesh.want_session(now, peer));
        while let Some(event) = mesh.poll_session() {
            self.session(event);
        }
        if std::mem::take(&mut self.stale) {
            self.publish(mesh);
        }
        (output.sent, output.bridged)
    }

    /// A peer is forgotten.
    pub(crate) fn forget(&mut self, peer: PeerName) {
        self.macs.forget_peer(peer);
        self.trees.remove(&peer);
        self.stale = true;
    }

    /// Addresses known, sessions, trees: for whoever looks whether tables are bounded.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.macs.len(), self.table.len(), self.trees.len()]
    }

    /// Makes the snapshot anew: out of the links, the routes and the addresses.
    fn publish(&mut self, mesh: &mut Mesh) {
        let links: BTreeMap<_, _> = mesh.links().map(|link| (link.peer, link.link)).collect();
        self.hops.retain(|peer, (link, _)| links.get(peer) == Some(link));
        for (peer, link) in links {
            let output = &self.output;
            self.hops.entry(peer).or_insert_with(|| (link, Arc::new(Hop::new(link, Arc::clone(output)))));
        }
        let mut entries: Vec<_> = self.hops.iter().map(|(&name, (_, hop))| neighbour(name, hop)).collect();
        let routes: BTreeMap<_, _> = mesh.routes().map(|(to, route)| (to, route.to_vec())).collect();
        self.distant.retain(|peer, distant| routes.contains_key(peer) || distant.is_in_use());
        for (&name, route) in routes.iter().filter(|(name, _)| !self.hops.contains_key(name)) {
            let output = &self.output;
            let distant = self.distant.entry(name).or_insert_with(|| Distant::new(name, Arc::clone(output)));
            distant.set_route(self.hops.get(&route[0]).map(|(_, hop)| (hop_paths(hop), &route[1..])));
            let paths = PeerPaths { primary: Some(distant.path()), fallback: None };
            entries.push(PeerEntry { name, paths, hop: None });
        }
        for (peer, distant) in &mut self.distant {
            if !routes.contains_key(peer) {
                distant.set_route(None);
            }
        }
        let trees =
            self.trees.iter().chain([&self.own]).map(|&source| (source, mesh.children(source))).collect();
        self.forwarder.publish(self.snapshot(entries, trees));
    }

    fn snapshot(&self, entries: Vec<PeerEntry>, trees: Vec<(PeerName, Vec<PeerName>)>) -> Fib {
        self.macs.snapshot(self.own, entries, trees)
    }
}

impl Drop for Data {
    /// The table keeps the forwarder, and the forwarder the table.
    fn drop(&mut self) {
        self.table.clear();
    }
}

fn neighbour(name: PeerName, hop: &Arc<Hop>) -> PeerEntry {
    let path = Arc::clone(hop) as Arc<dyn FramePath>;
    PeerEntry { name, paths: PeerPaths { primary: Some(path), fallback: None }, hop: Some(hop_paths(hop)) }
}

fn hop_paths(hop: &Arc<Hop>) -> HopPaths {
    HopPaths { primary: Arc::clone(hop) as Arc<dyn HopPath>, fallback: None }
}

/// A callback that does something with what comes out.
fn with<T: 'static>(output: &Shared, f: fn(&mut Output, T)) -> impl Fn(T) + Send + Sync + 'static {
    let output = Arc::clone(output);
    move |value| f(&mut output.lock().unwrap_or_else(PoisonError::into_inner), value)
}
