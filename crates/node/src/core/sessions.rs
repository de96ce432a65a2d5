//! Peers within reach that are not neighbours: routes to them, keys for them, and what the data path asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::SessionEvent;
use records::TableEvent;
use router::{Fib, MAX_SOURCES, PeerEntry};
use transport::FrameSink;
use transport_relay::Route;
use wire::PeerName;

use super::distant::{Distant, Keys, Means};
use super::{Core, Input};
use crate::TransportChoice;

/// The tree of a source is kept up to date for so long after it was asked for. It is asked for again if need be.
const TREE_KEPT: Duration = Duration::from_secs(600);

/// After so long without a direct path over UDP a link is sought to a peer that frames go to: probes are answered sooner, if at all.
const RELAYED: Duration = Duration::from_secs(2);

impl Core {
    /// Takes up what the mesh says about who is within reach.
    pub(super) fn routes_changed(&mut self) {
        // Keys outlive the route: it may be back in a moment, and the direct path may not need it.
        let useless = |(peer, d): &(&PeerName, &Distant)| {
            !d.has_session() && self.parts.mesh.route(**peer).is_none_or(|hops| hops.len() == 1)
        };
        let useless: Vec<_> = self.distants.iter().filter(useless).map(|(peer, _)| *peer).collect();
        useless.into_iter().for_each(|peer| self.forget_distant(peer));
        let ask = self.ask();
        for (peer, _) in self.parts.mesh.routes().filter(|(_, hops)| hops.len() > 1) {
            self.distants.entry(peer).or_insert_with(|| Distant::new(peer, Arc::clone(&ask)));
        }
        self.stale = true;
    }

    /// Somebody lives at this peer. Frames to it wait, also when the route to it is found a moment later.
    pub(super) fn expect(&mut self, peer: PeerName) {
        let is_new = !self.by_peer.contains_key(&peer) && !self.distants.contains_key(&peer);
        // A neighbour can make names up.
        if is_new && self.distants.len() < MAX_SOURCES {
            self.distants.insert(peer, Distant::new(peer, self.ask()));
            self.stale = true;
        }
    }

    /// How a path tells that a frame waits for keys. Who asks in vain asks again: it is looked at once a second.
    fn ask(&self) -> Arc<dyn Fn(PeerName) + Send + Sync> {
        let sender = self.parts.sender.clone();
        Arc::new(move |peer| drop(sender.try_send(Input::KeysWanted(peer))))
    }

    /// What the mesh agreed on with others.
    pub(super) fn take_session_events(&mut self, now: Instant) {
        while let Some(event) = self.parts.mesh.poll_session() {
            match event {
                SessionEvent::Keys { peer, index, sealer, opener, seal_now, addresses, .. } => {
                    tracing::debug!(%peer, "keys for a peer that is no neighbour");
                    let keys = Keys { index, sealer, opener, seal_now, addresses };
                    let sink: Arc<dyn FrameSink> = self.parts.forwarder.clone();
                    let means = Means {
                        table: &self.parts.table,
                        udp: self.parts.udp.as_ref(),
                        sink: &sink,
                        mtu: self.parts.mtu,
                    };
                    let ask = self.ask();
                    let distant = self.distants.entry(peer).or_insert_with(|| Distant::new(peer, ask));
                    distant.take_up(now, &means, keys);
                    self.give_route(peer);
                }
                SessionEvent::Addresses { peer, addresses, .. } => {
                    self.take_addresses(now, peer, &addresses);
                }
                SessionEvent::Seal { peer, index } => {
                    if let Some(distant) = self.distants.get_mut(&peer) {
                        distant.seal_with(index);
                    }
                }
                SessionEvent::End { peer, index } => {
                    if let Some(distant) = self.distants.get_mut(&peer) {
                        distant.end(&self.parts.table, index);
                    }
                }
            }
            self.stale = true;
        }
    }

    /// Something happened in a session with a peer that is no neighbour.
    pub(super) fn table_event(&mut self, now: Instant, event: TableEvent) {
        match event {
            TableEvent::Opened { peer, index } => self.parts.mesh.handle_session_opened(now, peer, index),
            TableEvent::Udp(event) => {
                if let Some(distant) = event.peer().and_then(|peer| self.distants.get_mut(&peer)) {
                    distant.udp_event(now, event);
                }
            }
        }
    }

    /// Frames for everyone come from this peer, and their tree is not known to the data path.
    pub(super) fn tree_wanted(&mut self, now: Instant, source: PeerName) {
        if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
            self.stale |= self.sources.insert(source, now).is_none();
        }
    }

    /// Timers of direct paths.
    pub(super) fn drive_distants(&mut self, now: Instant) {
        for distant in self.distants.values_mut().filter(|distant| distant.has_session()) {
            self.stale |= distant.drive(now);
        }
    }

    /// Once a second.
    pub(super) fn look_at_distants(&mut self, now: Instant) {
        let mut looks = Vec::new();
        for (peer, distant) in &mut self.distants {
            let look = distant.look(now, &self.parts.table);
            let is_relayed = distant.relayed_for(now).is_some_and(|so_long| so_long >= RELAYED);
            looks.push((*peer, is_relayed && look.used, look));
        }
        // Over a link alone frames cannot go where this host has UDP only.
        let may_link = self.parts.choice != TransportChoice::Udp;
        let mesh = &mut self.parts.mesh;
        for (peer, is_relayed, look) in looks {
            // One that answers has to prove itself only.
            if is_relayed && self.distants.get(&peer).is_some_and(|distant| distant.udp_address().is_none()) {
                mesh.want_guess(now, peer);
            }
            if is_relayed && may_link {
                mesh.want_link(now, peer);
            }
            if look.wants {
                mesh.want_session(now, peer);
            }
            look.opened.into_iter().for_each(|index| mesh.handle_session_opened(now, peer, index));
            if look.used {
                mesh.session_used(now, peer);
            }
            if look.rekey {
                mesh.rekey_session(now, peer);
            }
        }
        self.sources.retain(|_, since| now.saturating_duration_since(*since) < TREE_KEPT);
        self.look_at_addresses(now);
    }

    /// What the data path forwards by from now on.
    pub(super) fn publish(&mut self) {
        let with_session: Vec<_> =
            self.distants.iter().filter(|(_, d)| d.has_session()).map(|(peer, _)| *peer).collect();
        with_session.into_iter().for_each(|peer| self.give_route(peer));
        let mut peers: BTreeMap<_, _> = BTreeMap::new();
        for (name, distant) in &self.distants {
            peers.insert(*name, PeerEntry { name: *name, paths: distant.paths(), hop: None });
        }
        for (name, id) in &self.by_peer {
            // Frames to a neighbour that has no transport in common with us go as if it were none.
            if let Some(neighbour) = self.neighbours.get(id)
                && (neighbour.chosen().is_some() || !peers.contains_key(name))
            {
                let entry = PeerEntry { name: *name, paths: neighbour.paths(), hop: neighbour.hop() };
                peers.insert(*name, entry);
            }
        }
        let own = self.parts.endpoint.hello.name;
        let sources = self.sources.keys().copied().chain([own]).collect::<Vec<_>>();
        let trees = sources.into_iter().map(|source| (source, self.parts.mesh.children(source))).collect();
        let fib: Fib = self.macs.snapshot(own, peers.into_values().collect(), trees);
        self.parts.forwarder.publish(fib);
    }

    /// Tells the session with a peer which way its records go through others.
    fn give_route(&self, peer: PeerName) {
        let Some(distant) = self.distants.get(&peer) else { return };
        let route = self.parts.mesh.route(peer).and_then(|hops| {
            let (first, behind) = hops.split_first()?;
            let hop = self.neighbours.get(self.by_peer.get(first)?)?.hop()?;
            Some(Route { hop, names: behind.iter().map(PeerName::bytes).collect() })
        });
        distant.set_route(route);
    }

    pub(super) fn forget_distant(&mut self, peer: PeerName) {
        if let Some(mut distant) = self.distants.remove(&peer) {
            distant.close(&self.parts.table);
            for (reason, n) in distant.drops() {
                *self.past_drops.entry(reason).or_default() += n;
            }
        }
    }
}
