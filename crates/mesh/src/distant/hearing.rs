//! Offers and answers of others (P6.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::session::{KeyExchange, Role};
use rand::rngs::StdRng;
use wire::{Cipher, DistantShare, ParcelKind, PeerName};

use super::handshake::{Way, is_answer, is_offer, salt, sha256, sign_answer};
use super::session::{Answered, Epoch, Session};
use super::{Distant, Dropped, Known, Outgoing, SessionEvent};

/// How often a share of one source may cost us a signature check, on average.
const EVERY: Duration = Duration::from_millis(100);
/// How many may come at once.
const BURST: u32 = 4;
/// Most sources remembered, more than the peers that can be known at once: what a peer said counts also after it was
/// forgotten and is back.
const MAX_SOURCES: usize = 8192;

/// What was heard of each source.
#[derive(Debug, Default)]
pub(super) struct Heard {
    sources: BTreeMap<PeerName, Source>,
}

#[derive(Debug)]
struct Source {
    /// Version of the newest offer that was answered.
    offer: (u64, u64),
    /// Version of the newest update of its addresses.
    update: (u64, u64),
    /// Version of its newest step towards a meeting.
    meeting: (u64, u64),
    /// When all that came would have come, had it come as often as it may.
    level: Instant,
}

impl Heard {
    /// Whether the source may have a share looked at.
    pub(super) fn admit(&mut self, now: Instant, name: PeerName) -> bool {
        if self.sources.len() >= MAX_SOURCES
            && !self.sources.contains_key(&name)
            && let Some((&oldest, _)) = self.sources.iter().min_by_key(|(_, s)| s.level)
        {
            self.sources.remove(&oldest);
        }
        let source = self.sources.entry(name).or_insert(Source {
            offer: (0, 0),
            update: (0, 0),
            meeting: (0, 0),
            level: now,
        });
        let level = source.level.max(now);
        let admitted = level <= now + EVERY * (BURST - 1);
        if admitted {
            source.level = level + EVERY;
        }
        admitted
    }

    fn newest(&self, name: PeerName) -> (u64, u64) {
        self.sources.get(&name).map_or((0, 0), |s| s.offer)
    }

    pub(super) fn newest_update(&self, name: PeerName) -> (u64, u64) {
        self.sources.get(&name).map_or((0, 0), |s| s.update)
    }

    pub(super) fn updated(&mut self, name: PeerName, version: (u64, u64)) {
        if let Some(source) = self.sources.get_mut(&name) {
            source.update = version;
        }
    }

    pub(super) fn newest_meeting(&self, name: PeerName) -> (u64, u64) {
        self.sources.get(&name).map_or((0, 0), |s| s.meeting)
    }

    pub(super) fn met(&mut self, name: PeerName, version: (u64, u64)) {
        if let Some(source) = self.sources.get_mut(&name) {
            source.meeting = version;
        }
    }

    fn answered(&mut self, name: PeerName, version: (u64, u64)) {
        if let Some(source) = self.sources.get_mut(&name) {
            source.offer = version;
        }
    }
}

impl Distant {
    /// Takes an offer, and answers it.
    pub(crate) fn hear_offer(
        &mut self,
        now: Instant,
        from: Known,
        body: &[u8],
        rng: &mut StdRng,
    ) -> Result<(), Dropped> {
        let (share, encoded, signature) = DistantShare::decode(body).map_err(|_| Dropped::Malformed)?;
        let cipher = cipher_of(&share)?;
        let (peer, hash) = (from.name, sha256(&[body]));
        if self.was_answered(peer, &hash) {
            return if self.heard.admit(now, peer) { self.answer_again(peer) } else { Err(Dropped::Limited) };
        }
        if share.incarnation < self.newest_run(&from) || share.version() <= self.heard.newest(peer) {
            return Err(Dropped::Stale);
        }
        if self.own.name < peer && self.offers.contains_key(&peer) {
            return Err(Dropped::Crossed);
        }
        if !self.heard.admit(now, peer) {
            return Err(Dropped::Limited);
        }
        let way = Way { source: peer, destination: self.own.name };
        if !is_offer(&from.key, way, encoded, signature) {
            return Err(Dropped::Forged);
        }
        self.heard.answered(peer, share.version());
        self.answer(now, peer, &share, cipher, body, rng)
    }

    /// Takes an answer to an offer of ours.
    pub(crate) fn hear_answer(&mut self, now: Instant, from: Known, body: &[u8]) -> Result<(), Dropped> {
        let peer = from.name;
        let (share, encoded, signature) = DistantShare::decode(body).map_err(|_| Dropped::Malformed)?;
        let cipher = cipher_of(&share)?;
        let Some(offer) = self.offers.get(&peer) else { return Err(Dropped::Stale) };
        if share.incarnation < self.newest_run(&from) {
            return Err(Dropped::Stale);
        }
        if !self.heard.admit(now, peer) {
            return Err(Dropped::Limited);
        }
        let way = Way { source: peer, destination: self.own.name };
        if !is_answer(&from.key, way, &offer.hash(), encoded, signature) {
            return Err(Dropped::Forged);
        }
        if cipher != offer.cipher {
            return Err(Dropped::Malformed);
        }
        let Some(offer) = self.offers.remove(&peer) else { return Err(Dropped::Stale) };
        let (index, salt) = (offer.index, salt(&offer.body, body));
        let keys = offer.exchange.finish(&share.public_key, &salt, Role::Dialler, 0, cipher, share.index);
        let Ok((sealer, opener)) = keys else {
            self.indices.remove(&index);
            return Err(Dropped::Unusable);
        };
        let epoch = Epoch::offered(now, index);
        self.end_earlier_run(peer, &share);
        self.events.push_back(SessionEvent::Keys {
            peer,
            index,
            sealer: Arc::new(sealer),
            opener,
            seal_now: true,
            udp_port: share.udp_port,
            addresses: share.addresses,
        });
        match self.sessions.get_mut(&peer) {
            Some(session) => {
                session.agreed(now, epoch);
                self.settle(now, peer);
            }
            None => self.enter(now, peer, Session::new(now, share.incarnation, epoch)),
        }
        Ok(())
    }

    /// Agrees to an offer that is authentic.
    fn answer(
        &mut self,
        now: Instant,
        peer: PeerName,
        offered: &DistantShare,
        cipher: Cipher,
        offer: &[u8],
        rng: &mut StdRng,
    ) -> Result<(), Dropped> {
        let exchange = KeyExchange::new().map_err(|_| Dropped::Unusable)?;
        let index = self.draw_index(rng);
        let (way, hash) = (Way { source: self.own.name, destination: peer }, sha256(&[offer]));
        let share = self.share(index, &exchange, cipher);
        let body = sign_answer(&self.own.identity, way, &hash, &share);
        let salt = salt(offer, &body);
        let keys = exchange.finish(&offered.public_key, &salt, Role::Acceptor, 0, cipher, offered.index);
        let Ok((sealer, opener)) = keys else {
            self.indices.remove(&index);
            return Err(Dropped::Unusable);
        };
        // Of two offers that crossed, ours does not stand: its answer would come too late.
        self.withdraw(peer);
        self.end_earlier_run(peer, offered);
        let epoch = Epoch::answered(now, index);
        let seal_now = match self.sessions.get_mut(&peer) {
            Some(session) => session.answer(now, epoch),
            None => {
                self.enter(now, peer, Session::new(now, offered.incarnation, epoch));
                true
            }
        };
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.answered = Some(Answered { offer: hash, body: body.clone() });
        }
        self.events.push_back(SessionEvent::Keys {
            peer,
            index,
            sealer: Arc::new(sealer),
            opener,
            seal_now,
            udp_port: offered.udp_port,
            addresses: offered.addresses.clone(),
        });
        self.settle(now, peer);
        self.outgoing.push_back(Outgoing { to: peer, kind: ParcelKind::ANSWER, body });
        Ok(())
    }

    fn was_answered(&self, peer: PeerName, offer: &[u8; 32]) -> bool {
        let answered = self.sessions.get(&peer).and_then(|s| s.answered.as_ref());
        answered.is_some_and(|a| a.offer == *offer)
    }

    /// The same offer gets the same answer.
    fn answer_again(&mut self, peer: PeerName) -> Result<(), Dropped> {
        let answered = self.sessions.get(&peer).and_then(|s| s.answered.as_ref());
        let body = answered.map(|a| a.body.clone()).ok_or(Dropped::Stale)?;
        self.outgoing.push_back(Outgoing { to: peer, kind: ParcelKind::ANSWER, body });
        Ok(())
    }

    /// The newest run of this peer that we know of.
    pub(super) fn newest_run(&self, from: &Known) -> u64 {
        self.sessions.get(&from.name).map_or(0, |s| s.incarnation).max(from.incarnation)
    }

    /// A peer that runs anew has no keys of its earlier run.
    fn end_earlier_run(&mut self, peer: PeerName, share: &DistantShare) {
        if self.sessions.get(&peer).is_some_and(|s| s.incarnation < share.incarnation) {
            self.end(peer);
        }
    }
}

/// The cipher of a share whose numbers are possible.
fn cipher_of(share: &DistantShare) -> Result<Cipher, Dropped> {
    let cipher = Cipher::from_u8(share.cipher).ok_or(Dropped::Malformed)?;
    if share.index == 0 { Err(Dropped::Malformed) } else { Ok(cipher) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, start};

    #[test]
    fn a_source_has_four_shares_looked_at_and_then_ten_a_second() {
        let (now, mut heard) = (start(), Heard::default());
        let admitted = |heard: &mut Heard, ms| {
            (0..10).filter(|_| heard.admit(now + Duration::from_millis(ms), name(1))).count()
        };
        assert_eq!(admitted(&mut heard, 0), 4);
        assert_eq!(admitted(&mut heard, 99), 0);
        assert_eq!(admitted(&mut heard, 100), 1);
        assert_eq!(admitted(&mut heard, 10_000), 4);
        assert!(heard.admit(now, name(2)), "of another it is another matter");
    }

    #[test]
    fn of_too_many_sources_the_one_that_was_quiet_longest_is_forgotten() {
        let (now, mut heard) = (start(), Heard::default());
        let source = |n: usize| PeerName::new([2, 0, 0, 0, (n >> 8) as u8, n as u8]);
        for n in 0..=MAX_SOURCES {
            assert!(heard.admit(now + EVERY * n as u32, source(n)));
        }
        assert_eq!(heard.sources.len(), MAX_SOURCES);
        assert!(!heard.sources.contains_key(&source(0)));
    }
}
