//! Where we may be reached now, told to those who have keys already (P6.2).
//!
//! A NAT that forgot its mappings, a host that moved: the path over UDP may be dead for both ends, and neither can find the
//! other by it. What still works is the way of parcels, which also has both ends send at the same time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::{AddressUpdate, MAX_ADDRESSES, ParcelKind, PeerName};

use super::handshake::{Way, is_update, sign_update};
use super::{Distant, Dropped, Known, Outgoing, SessionEvent};

/// One peer is told so long after the last time at the earliest.
const PACE: Duration = Duration::from_secs(2);

impl Distant {
    /// Where we may be reached by UDP, to be told in shares from now on. Says whether there is a new address among them.
    pub(crate) fn set_reachable_at(&mut self, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.truncate(MAX_ADDRESSES);
        let is_news = addresses.iter().any(|address| !self.reachable_at.contains(address));
        self.reachable_at = addresses;
        is_news
    }

    /// Has these peers told, each as soon as the pace allows.
    pub(crate) fn tell_later(&mut self, now: Instant, peers: impl IntoIterator<Item = PeerName>) {
        self.told.retain(|_, at| now < *at + PACE);
        for peer in peers {
            let at = self.told.get(&peer).map_or(now, |at| *at + PACE);
            self.to_tell.entry(peer).or_insert(at);
            self.wake(at);
        }
    }

    /// When somebody is to be told.
    pub(super) fn next_to_tell(&self) -> Option<Instant> {
        self.to_tell.values().min().copied()
    }

    /// Tells those whose time has come.
    pub(super) fn tell_due(&mut self, now: Instant) {
        let due: Vec<_> = self.to_tell.extract_if(.., |_, at| *at <= now).map(|(peer, _)| peer).collect();
        for to in due {
            self.told.insert(to, now);
            self.counter += 1;
            let update = AddressUpdate {
                incarnation: self.own.incarnation,
                counter: self.counter,
                udp_port: self.own.udp_port,
                addresses: self.reachable_at.clone(),
            };
            let way = Way { source: self.own.name, destination: to };
            let body = sign_update(&self.own.identity, way, &update);
            self.outgoing.push_back(Outgoing { to, kind: ParcelKind::ADDRESSES, body });
        }
    }

    /// Takes what a peer tells; `linked`: there is a link to it, so that it may have keys without a session.
    pub(crate) fn hear_update(
        &mut self,
        now: Instant,
        from: Known,
        linked: bool,
        body: &[u8],
    ) -> Result<(), Dropped> {
        let (update, encoded, signature) = AddressUpdate::decode(body).map_err(|_| Dropped::Malformed)?;
        let peer = from.name;
        let of_interest = linked || self.sessions.contains_key(&peer);
        if !of_interest
            || update.incarnation < self.newest_run(&from)
            || update.version() <= self.heard.newest_update(peer)
        {
            return Err(Dropped::Stale);
        }
        if !self.heard.admit(now, peer) {
            return Err(Dropped::Limited);
        }
        let way = Way { source: peer, destination: self.own.name };
        if !is_update(&from.key, way, encoded, signature) {
            return Err(Dropped::Forged);
        }
        self.heard.updated(peer, update.version());
        let AddressUpdate { udp_port, addresses, .. } = update;
        self.events.push_back(SessionEvent::Addresses { peer, udp_port, addresses });
        Ok(())
    }
}
