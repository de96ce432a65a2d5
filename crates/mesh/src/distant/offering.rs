//! Offers of ours, until they are answered or given up (P6.2).

use std::time::{Duration, Instant};

use ::session::{KeyExchange, preferred_cipher};
use rand::rngs::StdRng;
use wire::{Cipher, DistantShare, ParcelKind, PeerName};

use super::handshake::{Way, sha256, sign_offer};
use super::{Distant, Outgoing};

/// Most offers waiting for an answer.
pub(super) const MAX_OFFERS: usize = 64;
/// How long an offer stays as it is. Then it is made anew, or given up when nobody waits for it any more: the other
/// end may have forgotten what it answered.
const OFFER_LIFE: Duration = Duration::from_secs(60);
/// Nobody waits for an offer that nobody asked for in this time.
const WANTED: Duration = Duration::from_secs(30);
/// An offer that was sent more often than this gives way to another one when there are too many.
const PATIENCE: u32 = 3;

/// An offer of ours that waits for its answer.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) body: Vec<u8>,
    pub(super) exchange: KeyExchange,
    pub(super) index: u32,
    pub(super) cipher: Cipher,
    begun: Instant,
    wanted: Instant,
    /// How often it was sent.
    sent: u32,
    pub(super) again_at: Instant,
    /// No way to the other end was known when it was sent last.
    is_stuck: bool,
}

impl Distant {
    /// Those for whom an offer waits that found no way.
    pub(crate) fn stuck(&self) -> Vec<PeerName> {
        self.offers.iter().filter(|(_, offer)| offer.is_stuck).map(|(&peer, _)| peer).collect()
    }

    /// There is a way to this peer now: its offer is sent at once, as if for the first time. The other end may need a
    /// moment to find the way back.
    pub(crate) fn routed(&mut self, now: Instant, peer: PeerName) {
        if let Some(offer) = self.offers.get_mut(&peer) {
            offer.sent = 0;
            offer.send_again(now);
            self.outgoing.push_back(offer.outgoing(peer));
            let at = offer.again_at;
            self.wake(at);
        }
    }

    /// The way to this peer is not known: what was to be sent to it last was not sent.
    pub(crate) fn unrouted(&mut self, peer: PeerName) {
        if let Some(offer) = self.offers.get_mut(&peer) {
            offer.is_stuck = true;
        }
    }

    /// Makes an offer, or remembers that one is still wanted.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        if let Some(offer) = self.offers.get_mut(&peer) {
            offer.wanted = now;
        } else {
            self.offer(now, peer, 0, rng);
        }
    }

    /// Makes an offer, which counts as sent so many times before.
    fn offer(&mut self, now: Instant, peer: PeerName, sent: u32, rng: &mut StdRng) {
        if self.offers.len() >= MAX_OFFERS {
            let hopeless = self.offers.iter().filter(|(_, o)| o.sent > PATIENCE).max_by_key(|(_, o)| o.sent);
            let Some((&hopeless, _)) = hopeless else { return };
            self.withdraw(hopeless);
        }
        // Without randomness nothing works; whoever wants the session asks again.
        let Ok(exchange) = KeyExchange::new() else { return };
        let (index, cipher) = (self.draw_index(rng), preferred_cipher());
        let share = self.share(index, &exchange, cipher);
        let way = Way { source: self.own.name, destination: peer };
        let body = sign_offer(&self.own.identity, way, &share);
        let mut offer = Offer {
            body,
            exchange,
            index,
            cipher,
            begun: now,
            wanted: now,
            sent,
            again_at: now,
            is_stuck: false,
        };
        offer.send_again(now);
        self.outgoing.push_back(offer.outgoing(peer));
        self.wake(offer.again_at);
        self.offers.insert(peer, offer);
    }

    /// Sends an offer again, makes it anew, or gives it up.
    pub(super) fn repeat(&mut self, now: Instant, peer: PeerName, rng: &mut StdRng) {
        let Some(offer) = self.offers.get_mut(&peer) else { return };
        if now < offer.begun + OFFER_LIFE {
            offer.send_again(now);
            self.outgoing.push_back(offer.outgoing(peer));
            return;
        }
        let (is_wanted, sent) = (now < offer.wanted + WANTED, offer.sent);
        self.withdraw(peer);
        if is_wanted {
            self.offer(now, peer, sent, rng);
        }
    }

    /// Takes an offer of ours back. An answer that is under way comes to nothing.
    pub(super) fn withdraw(&mut self, peer: PeerName) {
        if let Some(offer) = self.offers.remove(&peer) {
            self.indices.remove(&offer.index);
        }
    }

    pub(super) fn share(&mut self, index: u32, exchange: &KeyExchange, cipher: Cipher) -> DistantShare {
        self.counter += 1;
        DistantShare {
            incarnation: self.own.incarnation,
            counter: self.counter,
            index,
            public_key: exchange.public_key().to_vec(),
            cipher: cipher as u8,
            udp_port: self.own.udp_port,
            addresses: self.reachable_at.clone(),
        }
    }
}

impl Offer {
    /// Counts one more sending: after 0.5, 1, 2, 4 and then every 8 s (P6.2).
    fn send_again(&mut self, now: Instant) {
        let wait = Duration::from_millis(500) * 2_u32.pow(self.sent.min(4));
        self.again_at = now + wait;
        self.sent = self.sent.saturating_add(1);
        self.is_stuck = false;
    }

    fn outgoing(&self, to: PeerName) -> Outgoing {
        Outgoing { to, kind: ParcelKind::OFFER, body: self.body.clone() }
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(&[&self.body])
    }
}
