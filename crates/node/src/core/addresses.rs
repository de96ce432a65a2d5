//! Where this host may be reached over UDP, what a NAT in front of it does, and who is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mesh::Mesh;
use portmap::{Mapped, State};
use wire::PeerName;

use super::{Core, Distant, Neighbour};
use crate::TransportChoice;

impl Core {
    /// Tells others of what happened to paths since the last turn.
    pub(super) fn share_addresses(&mut self, now: Instant) {
        let neighbours = self.neighbours.values_mut().filter_map(|n| Some((n.peer, n.udp_side()?)));
        let distants = self.distants.iter_mut().filter_map(|(peer, d)| Some((*peer, d.udp_side()?)));
        let (mut moved, mut turned) = (false, Vec::new());
        for (peer, side) in neighbours.chain(distants) {
            let news = side.take_news();
            moved |= news.moved;
            turned.extend(news.turned.then_some(peer));
        }
        if moved {
            self.set_reachable_at(now);
        }
        for peer in turned {
            self.parts.mesh.tell_addresses(now, peer);
        }
    }

    /// The network of this host changed: everything is tried at once, and what works is asked whether it still does.
    pub(super) fn network_changed(&mut self, now: Instant) {
        self.parts.mesh.network_changed(now);
        self.neighbours.values_mut().filter_map(Neighbour::udp_side).for_each(|side| side.restart(now));
        self.distants.values_mut().filter_map(Distant::udp_side).for_each(|side| side.restart(now));
    }

    /// Once a second: what the NAT in front of this host does, and where neighbours may be that do not answer.
    pub(super) fn look_at_addresses(&mut self, now: Instant) {
        self.take_mapped(now);
        self.set_reachable_at(now);
        let seen = self.neighbours.values().filter_map(Neighbour::seen_address);
        self.parts.mesh.set_seen_at(seen.clone());
        let seen = seen.chain(self.distants.values().filter_map(Distant::seen_address));
        self.parts.mesh.set_mapping(now, mesh::mapping_of(seen));
        let inside = self.inside().into_iter().map(|ip| SocketAddr::new(ip, self.parts.port)).collect();
        self.parts.mesh.set_inside(now, inside);
        // Over a link alone frames cannot go where this host has UDP only.
        if self.parts.choice != TransportChoice::Udp {
            let points = self.neighbours.values().filter_map(Neighbour::meeting_point).collect::<Vec<_>>();
            self.parts.mesh.set_meeting_points(points);
        }
        for neighbour in self.neighbours.values_mut() {
            suggest_addresses(now, &self.parts.mesh, neighbour);
            if neighbour.is_to_be_told(now) {
                self.parts.mesh.tell_addresses(now, neighbour.peer);
            }
        }
    }

    /// Our own addresses, where others see those of a NAT or a proxy.
    fn inside(&self) -> BTreeSet<IpAddr> {
        self.neighbours.values().filter_map(Neighbour::inside_address).collect()
    }

    /// Takes up what the router in front of this host did, if that is news.
    fn take_mapped(&mut self, now: Instant) {
        if !self.parts.mapped.has_changed().unwrap_or(false) {
            return;
        }
        let state = self.parts.mapped.borrow_and_update().clone();
        if state != State::NotNeeded {
            tracing::info!("port mapping: {state}");
        }
        let advertised = self.parts.advertised.iter().copied();
        let dialled = advertised.chain(mapped(&state).and_then(|mapped| mapped.tcp)).collect();
        self.parts.mesh.set_advertised(now, dialled);
    }

    /// What came of asking the router, for people; nothing where it is not asked.
    pub(super) fn port_mapping(&self) -> Option<String> {
        match &*self.parts.mapped.borrow() {
            State::Asking | State::NotNeeded => None,
            state => Some(state.to_string()),
        }
    }

    /// What the operator says first, then what the router in front of this host says, then what neighbours see, then what this host
    /// knows itself.
    fn set_reachable_at(&mut self, now: Instant) {
        let mut addresses = self.parts.advertised.clone();
        let mapped = mapped(&self.parts.mapped.borrow()).and_then(|mapped| mapped.udp);
        let inside = self.inside().into_iter().map(|ip| SocketAddr::new(ip, self.parts.port));
        let seen = self.neighbours.values().filter_map(Neighbour::seen_address);
        for seen in mapped.into_iter().chain(seen).chain(inside) {
            if !addresses.contains(&seen) {
                addresses.push(seen);
            }
        }
        self.parts.mesh.set_reachable_at(now, addresses);
    }

    /// A peer tells where it may be reached now, and tries us.
    pub(super) fn take_addresses(&mut self, now: Instant, peer: PeerName, addresses: &[SocketAddr]) {
        if let Some(neighbour) = self.by_peer.get(&peer).and_then(|id| self.neighbours.get_mut(id)) {
            neighbour.told_addresses(now, addresses);
        }
        if let Some(distant) = self.distants.get_mut(&peer) {
            distant.told_addresses(now, addresses);
        }
    }
}

/// Where a neighbour may be that does not answer, as others say.
pub(super) fn suggest_addresses(now: Instant, mesh: &Mesh, neighbour: &mut Neighbour) {
    let peer = neighbour.peer;
    if let Some(side) = neighbour.udp_side().filter(|side| !side.is_up()) {
        side.suggest(now, &mesh.udp_addresses(peer));
    }
}

const fn mapped(state: &State) -> Option<&Mapped> {
    match state {
        State::Mapped(mapped) => Some(mapped),
        _ => None,
    }
}
