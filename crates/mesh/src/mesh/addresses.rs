//! Where we may be reached, and what we know of where others may be (P5.4, P6.2).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use wire::{MAX_ADDRESSES, Mapping, PeerName};

use super::Mesh;
use crate::discovery;
use crate::targets::is_dialable;

/// Most addresses that a peer is tried at by UDP.
const MAX_CANDIDATES: usize = 16;

impl Mesh {
    /// Where we may be reached by UDP, the best first. Neighbours and peers with a session are told if there is a new one among
    /// them; all others hear of it with the next offer or answer.
    pub fn set_reachable_at(&mut self, now: Instant, addresses: Vec<SocketAddr>) {
        if self.distant.set_reachable_at(addresses) {
            let peers: BTreeSet<_> =
                self.links.iter().map(|(_, link)| link.peer).chain(self.distant.peers()).collect();
            self.distant.tell_later(now, peers);
            self.tend_sessions(now);
        }
    }

    /// The direct path to this peer broke or came back: tells it where we may be reached, so that both try at once.
    pub fn tell_addresses(&mut self, now: Instant, peer: PeerName) {
        if self.links.has_peer(peer) || self.distant.has(peer) {
            self.distant.tell_later(now, [peer]);
            self.tend_sessions(now);
        }
    }

    /// The addresses or routes of this host changed: what could not be dialled before is dialled at once.
    pub fn network_changed(&mut self, now: Instant) {
        self.targets.retry(now);
        self.begin_dials(now);
    }

    /// Where we are to be dialled, as the operator says or a router with a port mapping: others are told, besides what our
    /// neighbours state.
    pub fn set_advertised(&mut self, now: Instant, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(MAX_ADDRESSES);
        if self.nat.advertised != addresses {
            self.nat.advertised = addresses;
            self.introduce(now);
        }
    }

    /// Where we accept links over TCP besides our port; at an unspecified address: at all of that family. Others are told.
    pub fn set_listening(&mut self, now: Instant, mut addresses: Vec<SocketAddr>) {
        let is_for_all = |address: &SocketAddr| address.ip().is_unspecified();
        addresses.retain(|at| is_for_all(at) || is_dialable(at) && !at.ip().is_loopback());
        addresses.truncate(MAX_ADDRESSES);
        if self.nat.listening != addresses {
            self.nat.listening = addresses;
            self.introduce(now);
        }
    }

    /// Our own addresses, where others see those of a NAT: whoever is behind the same one tries them.
    pub fn set_inside(&mut self, now: Instant, mut addresses: Vec<SocketAddr>) {
        addresses.retain(is_dialable);
        addresses.truncate(MAX_ADDRESSES);
        // Where there is no link for a while they are what they were.
        if !addresses.is_empty() && self.nat.inside != addresses {
            self.nat.inside = addresses;
            self.introduce(now);
        }
    }

    /// How the NAT in front of us maps our UDP port, as found by [`crate::mapping_of`].
    pub fn set_mapping(&mut self, now: Instant, found: Mapping) {
        if self.nat.set_mapping(now, found) {
            self.introduce(now);
        }
    }

    /// How a NAT in front of this peer, or of ourselves, maps its UDP port, as it says itself.
    pub fn mapping(&self, peer: PeerName) -> Mapping {
        self.facts.peer(peer).map_or(Mapping::Unknown, |fact| fact.mapping)
    }

    /// Where a peer may be reached by UDP, as facts have it: it may have told better addresses itself.
    pub fn udp_addresses(&self, peer: PeerName) -> Vec<SocketAddr> {
        let port = self.facts.peer(peer).and_then(|fact| fact.udp_port);
        self.candidates(peer, port, &[])
    }

    /// Where a peer may be reached by UDP: where it told us, where it tells everyone, then where those linked to it see it, at the
    /// port it names.
    pub(super) fn candidates(
        &self,
        peer: PeerName,
        port: Option<u16>,
        told: &[SocketAddr],
    ) -> Vec<SocketAddr> {
        let Some(port) = port.filter(|&port| port != 0) else { return Vec::new() };
        let mut seen = BTreeSet::new();
        for entry in self.facts.links(peer) {
            let about = self.facts.links(entry.peer).filter(|back| back.peer == peer);
            seen.extend(about.map(|back| SocketAddr::new(back.address.ip(), port)));
        }
        let fact = self.facts.peer(peer).unwrap_or_default();
        let inside = discovery::inside(&self.facts, self.config.name, peer, &fact);
        let inside = inside.iter().map(|address| SocketAddr::new(address.ip(), port)).collect::<Vec<_>>();
        let mut candidates = Vec::new();
        for &address in told.iter().chain(&inside).chain(&fact.addresses).chain(&seen) {
            if is_dialable(&address) && !candidates.contains(&address) && candidates.len() < MAX_CANDIDATES {
                candidates.push(address);
            }
        }
        candidates
    }
}
