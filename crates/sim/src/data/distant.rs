//! Peers that are not neighbours: keys, and the way through others (P6).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use mesh::{Mesh, SessionEvent};
use records::Table;
use session::Sealer;
use transport::{FramePath, FrameSink, HopPaths, Inbox};
use transport_relay::{RelayPath, Route, WaitingPath};
use wire::PeerName;

use super::{Data, MAX_FRAME, Shared};

/// What there is for one of them.
pub(super) struct Distant {
    name: PeerName,
    output: Shared,
    /// What frames take: they wait in it for keys, and pass through it when there are some.
    waiting: Arc<WaitingPath>,
    relay: Option<Arc<RelayPath>>,
    route: Option<Route>,
    /// By our index.
    keys: BTreeMap<u32, Arc<Sealer>>,
    /// The keys that are sealed with.
    in_use: Option<u32>,
    /// Frames that went either way when it was looked last.
    used: u64,
}

impl Distant {
    pub(super) fn new(name: PeerName, output: Shared) -> Self {
        Self {
            waiting: Arc::new(waiting(name, &output)),
            name,
            output,
            relay: None,
            route: None,
            keys: BTreeMap::new(),
            in_use: None,
            used: 0,
        }
    }

    pub(super) fn path(&self) -> Arc<dyn FramePath> {
        Arc::clone(&self.waiting) as Arc<dyn FramePath>
    }

    pub(super) fn is_in_use(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn set_route(&mut self, route: Option<(HopPaths, &[PeerName])>) {
        self.route =
            route.map(|(hop, names)| Route { hop, names: names.iter().map(|name| name.bytes()).collect() });
        if let Some(relay) = &self.relay {
            relay.set_route(self.route.clone());
        }
    }

    /// Looks whether frames wait for keys, and whether the keys there are are used.
    pub(super) fn tick(&mut self, table: &Table, peer: PeerName, mesh: &mut Mesh, now: Instant) {
        if self.in_use.is_none() {
            if self.waiting.wants() {
                mesh.want_session(now, peer);
            }
            return;
        }
        let opened = |index| table.opened(index).unwrap_or(0);
        for &index in self.keys.keys().filter(|&&index| opened(index) > 0) {
            mesh.handle_session_opened(now, peer, index);
        }
        let sent = self.relay.as_ref().map_or(0, |relay| relay.counters().tx_frames.load(Relaxed));
        let used = sent + self.keys.keys().map(|&index| opened(index)).sum::<u64>();
        if std::mem::replace(&mut self.used, used) != used {
            mesh.session_used(now, peer);
        }
    }

    /// The path that records of these keys are counted at.
    fn relay(&mut self, sealer: &Arc<Sealer>) -> Arc<RelayPath> {
        let relay = self.relay.get_or_insert_with(|| Arc::new(RelayPath::new(Arc::clone(sealer), MAX_FRAME)));
        Arc::clone(relay)
    }

    fn seal_with(&mut self, index: u32) {
        let Some(sealer) = self.keys.get(&index).cloned() else { return };
        let relay = self.relay(&sealer);
        relay.rekey(sealer);
        relay.set_route(self.route.clone());
        self.in_use = Some(index);
        self.waiting.drain(relay);
    }

    fn end(&mut self, index: u32) {
        self.keys.remove(&index);
        if self.in_use == Some(index) {
            self.in_use = None;
            if let Some(relay) = self.relay.take() {
                relay.close();
            }
            self.waiting = Arc::new(waiting(self.name, &self.output));
        }
    }
}

impl Data {
    /// Something happened to a session.
    pub(super) fn session(&mut self, event: SessionEvent) {
        let (SessionEvent::Keys { peer, .. }
        | SessionEvent::Addresses { peer, .. }
        | SessionEvent::Seal { peer, .. }
        | SessionEvent::End { peer, .. }) = event;
        let output = &self.output;
        let distant = self.distant.entry(peer).or_insert_with(|| Distant::new(peer, Arc::clone(output)));
        match event {
            SessionEvent::Keys { index, sealer, opener, seal_now, .. } => {
                let relay = distant.relay(&sealer);
                let inbox = Inbox::new(peer, Arc::clone(&self.forwarder) as Arc<dyn FrameSink>);
                self.table.install(index, opener, inbox, relay);
                distant.keys.insert(index, sealer);
                if seal_now {
                    distant.seal_with(index);
                }
            }
            // There are no addresses of NATs here.
            SessionEvent::Addresses { .. } => {}
            SessionEvent::Seal { index, .. } => distant.seal_with(index),
            SessionEvent::End { index, .. } => {
                self.table.remove(index);
                distant.end(index);
            }
        }
        self.stale = true;
    }
}

fn waiting(name: PeerName, output: &Shared) -> WaitingPath {
    let output = Arc::clone(output);
    let ask = move || output.lock().unwrap_or_else(PoisonError::into_inner).asked.push(name);
    WaitingPath::new(Box::new(ask))
}
