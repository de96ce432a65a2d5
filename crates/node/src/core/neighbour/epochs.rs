//! The keys of records to a neighbour: who offers them, and when which are used (P4.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use mesh::{LinkWay, Other};
use session::{KeyExchange, Role, Sealer, preferred_cipher};
use transport::SealedPath;
use transport_udp::UdpTransport;
use wire::{Cipher, Message, SessionKeyShare};

use super::{Neighbour, Offer, UdpSession};
use crate::core::udp_side::UdpSide;

/// A new epoch at the latest after this (P4.1).
pub(super) const EPOCH: Duration = Duration::from_secs(3600);
/// Old keys go on opening for this long (P4.1).
pub(super) const OLD_KEYS: Duration = Duration::from_secs(20);
/// The acceptor seals with a new key only when the dialler has surely got its answer.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

impl Neighbour {
    /// The dialler opens an epoch (P4.1).
    pub(in crate::core) fn offer_session(&mut self) {
        if !self.may_udp || self.role != Role::Dialler {
            return;
        }
        let epoch = self.udp.as_ref().map_or(0, |u| u.epoch + 1);
        // Without randomness nothing works; the next tick tries again.
        let (Ok(exchange), Some(index)) = (KeyExchange::new(), random_index()) else { return };
        let cipher = preferred_cipher();
        let share = SessionKeyShare {
            epoch,
            index,
            public_key: exchange.public_key().to_vec(),
            cipher: Some(cipher as u8),
        };
        if self.link.send(Message::SessionOffer(share)) {
            self.offer = Some(Offer { epoch, index, exchange, cipher });
        }
    }

    /// An offer or an answer; gives whether the ways changed.
    pub(in crate::core) fn session_message(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        message: Message,
    ) -> bool {
        let result = match message {
            Message::SessionOffer(share) if self.role == Role::Acceptor && self.may_udp => {
                self.accept_offer(now, udp, mtu, share)
            }
            Message::SessionAnswer(share) if self.role == Role::Dialler => {
                self.take_answer(now, udp, mtu, share)
            }
            _ => None,
        };
        if result.is_none() {
            tracing::debug!(peer = %self.peer, "session message that does not fit, ignored");
        }
        result.is_some()
    }

    fn accept_offer(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        share: SessionKeyShare,
    ) -> Option<()> {
        if self.udp.as_ref().is_some_and(|u| share.epoch <= u.epoch) {
            return None;
        }
        let cipher = Cipher::from_u8(share.cipher.unwrap_or(Cipher::Aes256Gcm as u8))?;
        let (exchange, index) = (KeyExchange::new().ok()?, random_index()?);
        let answer = SessionKeyShare { index, public_key: exchange.public_key().to_vec(), ..share };
        let (sealer, opener) = exchange
            .finish(&share.public_key, &self.secret, self.role, share.epoch, cipher, share.index)
            .ok()?;
        self.take_up(now, udp, mtu, share.epoch, index, sealer, opener);
        self.link.send(Message::SessionAnswer(answer)).then_some(())
    }

    fn take_answer(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        share: SessionKeyShare,
    ) -> Option<()> {
        let offer = self.offer.take_if(|o| o.epoch == share.epoch)?;
        let (sealer, opener) = offer
            .exchange
            .finish(&share.public_key, &self.secret, self.role, offer.epoch, offer.cipher, share.index)
            .ok()?;
        self.take_up(now, udp, mtu, offer.epoch, offer.index, sealer, opener);
        Some(())
    }

    /// Installs the keys of an epoch: the first makes the path, later ones go on with it.
    #[expect(clippy::too_many_arguments, reason = "the parts of one epoch, used together once")]
    fn take_up(
        &mut self,
        now: Instant,
        udp: &UdpTransport,
        mtu: u32,
        epoch: u32,
        index: u32,
        sealer: Sealer,
        opener: session::Opener,
    ) {
        let sealer = Arc::new(sealer);
        match &mut self.udp {
            Some(session) => {
                udp.install(index, self.peer, opener, Arc::clone(&session.side.path));
                session.old.push((session.index, now + OLD_KEYS));
                (session.epoch, session.index, session.since) = (epoch, index, now);
                match self.role {
                    Role::Dialler => session.side.path.rekey(sealer),
                    Role::Acceptor => session.next_sealer = Some((now + SETTLE, sealer)),
                }
            }
            None => {
                // Where only a proxy knows the other end's address, it tells itself or its other neighbours do.
                let known = self.way != LinkWay::TheirProxy && !self.remote.ip().is_unspecified();
                let address = known.then(|| SocketAddr::new(self.remote.ip(), self.remote_udp_port));
                let other = if self.may_tls {
                    (Other::Link, Some(Arc::clone(&self.tls) as Arc<dyn SealedPath>))
                } else {
                    (Other::Nothing, None)
                };
                let side = UdpSide::new(now, udp, sealer, mtu, address.into_iter().collect(), other);
                udp.install(index, self.peer, opener, Arc::clone(&side.path));
                self.udp =
                    Some(UdpSession { side, epoch, index, since: now, old: Vec::new(), next_sealer: None });
            }
        }
    }
}

/// Random, so that nobody can guess the index of a session that is not his; zero is no index (P4.1).
fn random_index() -> Option<u32> {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(u32::from_be_bytes(bytes).max(1))
}
