//! Links come, speak and go.

use std::time::Instant;

use mesh::{Action, DialId, DialTo, LinkId, LinkUp};
use transport::FrameSink;
use transport_tls::{Established, LinkEvent};
use transport_udp::UdpEvent;
use wire::{Message, Refuse, RefuseCode};

use super::{Core, Neighbour};
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
        let sink: std::sync::Arc<dyn FrameSink> = self.parts.forwarder.clone();
        let mut neighbour =
            Neighbour::start(id, established, self.parts.choice, sink, self.parts.link_sender.clone());
        if self.parts.udp.is_some() {
            neighbour.offer_session();
        }
        self.neighbours.insert(id, neighbour);
        self.by_peer.insert(peer, id);
        self.stale = true;
    }

    /// A link has a message, or ended.
    pub(super) fn link_event(&mut self, now: Instant, id: LinkId, event: LinkEvent) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        match event {
            LinkEvent::Message(Message::Refuse(refuse)) => {
                tracing::info!(peer = %neighbour.peer, reason = %refuse, "the other end closes the link");
                neighbour.last_words = Some(refuse.clone());
                self.parts.mesh.handle_message(now, id, Message::Refuse(refuse));
            }
            LinkEvent::Message(message @ (Message::SessionOffer(_) | Message::SessionAnswer(_))) => {
                if let Some(udp) = &self.parts.udp {
                    self.stale |= neighbour.session_message(now, udp, self.parts.mtu, message);
                }
            }
            LinkEvent::Message(message) => self.parts.mesh.handle_message(now, id, message),
            LinkEvent::Closed { reason, code } => {
                let reason = neighbour
                    .last_words
                    .take()
                    .map_or(reason, |refuse| format!("closed by the other end: {refuse}"));
                tracing::info!(peer = %neighbour.peer, reason, ?code, "link down");
                self.parts.mesh.handle_link_down(now, id, &reason);
                self.remove(id, None);
            }
        }
    }

    pub(super) fn udp_event(&mut self, now: Instant, event: UdpEvent) {
        let (UdpEvent::Answer { peer, .. } | UdpEvent::Moved { peer, .. }) = event;
        if let Some(neighbour) = self.by_peer.get(&peer).and_then(|id| self.neighbours.get_mut(id)) {
            neighbour.udp_event(now, event);
        }
    }

    /// Probes, re-keying, and the choice between the ways to one neighbour.
    pub(super) fn drive_path(&mut self, now: Instant, id: LinkId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        self.stale |= neighbour.drive(now, self.parts.udp.as_ref());
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
            DialTo::Target(_) | DialTo::Address { .. } => dialler::Pins::new(),
        };
        self.dials.insert(id, to.clone());
        let dialler = Dialler {
            endpoint: self.parts.endpoint.clone(),
            proxy: self.parts.proxy.clone(),
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
