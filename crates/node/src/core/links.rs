//! Links come, speak and go.

use std::sync::Arc;
use std::time::Instant;

use mesh::{Action, DialId, DialTo, LinkId, LinkUp, LinkWay};
use transport_tls::{Established, LinkEvent};
use transport_udp::UdpEvent;
use wire::{Message, PeerName, Refuse, RefuseCode};

use super::addresses::suggest_addresses;
use super::neighbour::Upwards;
use super::{Core, Distant, Neighbour};
use crate::dialler::{self, Dialler};

impl Core {
    /// Carries out what the mesh wants.
    pub(super) fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Dial { id, to } => self.dial(id, to),
            Action::Send { link, message } => {
                if let Some(neighbour) = self.neighbours.get(&link)
                    && !neighbour.send(message)
                {
                    tracing::info!(peer = %neighbour.peer, "peer reads nothing, closing its link");
                    self.parts.mesh.handle_link_down(now, link, "the other end reads nothing");
                    self.remove(link, None);
                }
            }
            Action::Close { link, refuse } => {
                tracing::info!(link = link.0, reason = %refuse, "closing link");
                self.remove(link, Some(refuse));
            }
            Action::PeerSeen(peer) => tracing::info!(%peer, "peer joined the network"),
            Action::PeerGone(peer) => {
                tracing::info!(%peer, "peer left the network");
                self.forget_distant(peer);
                self.changes.forget(peer);
                self.stale |= self.macs.forget_peer(peer);
            }
            Action::RoutesChanged => self.routes_changed(),
        }
    }

    /// A handshake went through; the mesh decides whether the link stays.
    pub(super) fn linked(&mut self, now: Instant, established: Established, dial: Option<DialId>) {
        let way = if established.proxied {
            LinkWay::Proxy
        } else if !established.outbound && established.hello.seen.is_none() {
            // Who goes through a proxy does not say where it sees us (P2.8).
            LinkWay::TheirProxy
        } else {
            LinkWay::Direct
        };
        self.link_up(now, established, dial, way);
    }

    /// Both ends opened a connection, or could not.
    pub(super) fn met(&mut self, now: Instant, peer: PeerName, outcome: Result<Box<Established>, String>) {
        let failed = match outcome {
            Ok(established) => {
                self.link_up(now, *established, None, LinkWay::Meeting);
                None
            }
            Err(reason) => {
                tracing::debug!(%peer, reason, "no connection opened by both ends");
                Some(reason)
            }
        };
        self.parts.mesh.handle_met(now, peer, failed.as_deref());
    }

    fn link_up(&mut self, now: Instant, established: Established, dial: Option<DialId>, way: LinkWay) {
        let to = dial.and_then(|id| self.dials.remove(&id));
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let up = LinkUp {
            peer: established.hello.name,
            public_key: established.public_key,
            uid: established.uid,
            nickname: established.hello.nickname.clone(),
            incarnation: established.hello.incarnation,
            address: established.remote,
            port: established.hello.port,
            outbound: established.outbound,
            dial,
            dialler_nonce: established.dialler_nonce,
            way,
        };
        let (peer, address) = (up.peer, up.address);
        if let Err(refuse) = self.parts.mesh.handle_link_up(now, id, up) {
            tracing::info!(%peer, %address, reason = %refuse, "link refused");
            tokio::spawn(async move { established.refuse(&refuse).await });
            return;
        }
        if let Some(DialTo::Target(target)) = to
            && !established.authenticated
        {
            self.remember(target, established.public_key, address.to_string());
        }
        tracing::info!(%peer, nickname = established.hello.nickname, %address, outbound = established.outbound, "link up");
        let upwards = Upwards {
            frames: self.parts.forwarder.clone(),
            events: self.parts.link_sender.clone(),
            handover: Some(self.parts.handover.clone()),
        };
        let started = Neighbour::start(now, id, established, way, self.parts.choice, upwards);
        let mut neighbour = match started {
            Ok(neighbour) => neighbour,
            Err(e) => {
                let reason = format!("the link cannot be watched: {e}");
                tracing::info!(%peer, reason, "link down");
                return self.parts.mesh.handle_link_down(now, id, &reason);
            }
        };
        if self.parts.udp.is_some() {
            neighbour.offer_session();
        }
        self.parts.mesh.handle_carries(now, id, neighbour.chosen().is_some());
        self.neighbours.insert(id, neighbour);
        self.by_peer.insert(peer, id);
        self.stale = true;
    }

    /// A link has a message, or ended.
    pub(super) fn link_event(&mut self, now: Instant, id: LinkId, event: LinkEvent) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if matches!(event, LinkEvent::Message(_)) {
            neighbour.link_heard(now);
        }
        match event {
            LinkEvent::Message(Message::Refuse(refuse)) => {
                tracing::info!(peer = %neighbour.peer, reason = %refuse, "the other end closes the link");
                neighbour.last_words = Some(refuse.clone());
                self.parts.mesh.handle_message(now, id, Message::Refuse(refuse));
            }
            LinkEvent::Message(message @ (Message::SessionOffer(_) | Message::SessionAnswer(_))) => {
                if let Some(udp) = &self.parts.udp {
                    self.stale |= neighbour.session_message(now, udp, self.parts.mtu, message);
                    suggest_addresses(now, &self.parts.mesh, neighbour);
                }
            }
            LinkEvent::Message(message) => self.parts.mesh.handle_message(now, id, message),
            LinkEvent::Closed { reason, code } => {
                let reason = neighbour
                    .last_words
                    .as_ref()
                    .map_or(reason, |refuse| format!("closed by the other end: {refuse}"));
                tracing::info!(peer = %neighbour.peer, reason, ?code, "link down");
                self.parts.mesh.handle_link_down(now, id, &reason);
                self.remove(id, None);
            }
        }
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        let Some(peer) = event.peer() else {
            let sides = self.neighbours.values_mut().filter_map(Neighbour::udp_side);
            let sides = sides.chain(self.distants.values_mut().filter_map(Distant::udp_side));
            return sides.for_each(|side| side.event(now, event));
        };
        if let Some(neighbour) = self.by_peer.get(&peer).and_then(|id| self.neighbours.get_mut(id)) {
            neighbour.udp_event(now, event);
        }
    }

    /// Probes, re-keying, and the choice between the ways to one neighbour.
    pub(super) fn drive_path(&mut self, now: Instant, id: LinkId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        self.stale |= neighbour.drive(now, self.parts.udp.as_ref());
        self.parts.mesh.handle_carries(now, id, neighbour.chosen().is_some());
    }

    /// Tells every neighbour that we stop.
    pub(super) fn say_goodbye(&mut self) {
        let links: Vec<_> = self.neighbours.keys().copied().collect();
        for link in links {
            self.remove(link, Some(Refuse::new(RefuseCode::ShuttingDown, "the router stops")));
        }
        self.publish();
    }

    fn dial(&mut self, id: DialId, to: DialTo) {
        let pins = match &to {
            // A password proves more than the memory of a key does.
            DialTo::Target(target) if self.parts.endpoint.passwords.is_empty() => self
                .parts
                .pins
                .iter()
                .filter(|((t, _), _)| t == target)
                .filter_map(|((_, address), key)| Some((address.parse().ok()?, *key)))
                .collect(),
            DialTo::Target(_) | DialTo::Addresses { .. } => dialler::Pins::new(),
        };
        self.dials.insert(id, to.clone());
        let dialler = Dialler {
            endpoint: self.parts.endpoint.clone(),
            proxy: self.parts.proxy.clone(),
            narrow: Arc::clone(&self.narrow),
            default_port: self.parts.port,
            inputs: self.parts.sender.clone(),
        };
        tokio::spawn(dialler.dial(id, to, pins));
    }

    /// Remembers who answered at a target, in memory and on disk.
    fn remember(&mut self, target: String, key: [u8; 32], address: String) {
        let pin = (target.clone(), address.clone());
        if self.parts.pins.insert(pin, key) == Some(key) {
            return;
        }
        let store = self.parts.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(e) = store.pin(&target, &address, &key) {
                tracing::warn!(error = %e, "cannot remember the identity of a peer");
            }
        });
    }

    /// The link is no more; for the mesh it is gone already.
    fn remove(&mut self, id: LinkId, refuse: Option<Refuse>) {
        let Some(neighbour) = self.neighbours.remove(&id) else { return };
        let peer = neighbour.peer;
        if let Some(ip) = neighbour.narrow_address() {
            self.narrow.note(Instant::now(), ip);
        }
        let said = refuse.as_ref().or(neighbour.last_words.as_ref());
        if said.and_then(Refuse::known) == Some(RefuseCode::Silent) {
            self.narrow.suspect(Instant::now(), neighbour.ip());
        }
        for (reason, n) in neighbour.counters().flat_map(|(_, counters)| counters.drops.nonzero()) {
            *self.past_drops.entry(reason.name()).or_default() += n;
        }
        neighbour.close(self.parts.udp.as_ref(), refuse);
        if self.by_peer.get(&peer) == Some(&id) {
            match self.parts.mesh.link_of(peer).filter(|other| self.neighbours.contains_key(other)) {
                Some(other) => {
                    self.by_peer.insert(peer, other);
                }
                // What lives there stays known: the peer may be within reach through others.
                None => {
                    self.by_peer.remove(&peer);
                }
            }
        }
        self.stale = true;
    }
}
