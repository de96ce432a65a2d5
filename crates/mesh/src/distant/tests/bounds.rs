//! What is refused, and how much there is at most.

use ::session::KeyExchange;
use wire::DistantShare;

use super::*;
use crate::distant::handshake::{Way, sign_offer};
use crate::distant::offering::MAX_OFFERS;

#[test]
fn sixty_four_offers_wait_at_once_and_those_without_hope_give_way() {
    let mut end = End::new(Arc::new(identity(1)), 1);
    let peer = |n: u8| PeerName::new([2, 0, 0, 0, 1, n]);
    let now = start();
    for n in 0..70 {
        end.distant.want(now, peer(n), &mut end.rng);
    }
    assert_eq!(end.distant.offers.len(), MAX_OFFERS);
    assert!(!end.distant.offers.contains_key(&peer(64)));
    let later = now + Duration::from_secs(5);
    for s in [1, 2, 5] {
        end.distant.handle_timeout(now + Duration::from_secs(s), &mut end.rng);
    }
    end.distant.want(later, peer(64), &mut end.rng);
    assert!(end.distant.offers.contains_key(&peer(64)));
    assert_eq!((end.distant.offers.len(), end.distant.indices.len()), (MAX_OFFERS, MAX_OFFERS));
}

#[test]
fn of_too_many_sessions_the_one_that_was_not_used_for_longest_ends() {
    let mut pair = Pair::agreed();
    let (small, big) = (pair.ends[0].name(), pair.ends[1].name());
    let now = pair.now + Duration::from_secs(1);
    let end = &mut pair.ends[0];
    for n in 0..MAX_SESSIONS {
        let name = PeerName::new([2, 0, 0, 1, (n >> 8) as u8, n as u8]);
        let epoch = session::Epoch::answered(now, n as u32);
        end.distant.enter(now, name, Session::new(now, 1, epoch));
    }
    assert_eq!(end.distant.len(), MAX_SESSIONS);
    end.obey();
    assert!(!end.distant.sessions.contains_key(&big) && end.keys.is_empty(), "{small} keeps nothing of it");
}

#[test]
fn four_offers_of_one_source_cost_something_and_the_rest_is_dropped() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        let (now, peer) = (pair.now, pair.ends[1].name());
        pair.ends[0].distant.forget(peer);
        let end = &mut pair.ends[0];
        end.distant.want(now, peer, &mut end.rng);
        let offer = end.distant.poll_outgoing().unwrap();
        let _ = pair.hear(1, &offer);
    }
    assert_eq!(pair.ends[1].heard[..4], [Ok(()); 4]);
    assert_eq!(pair.ends[1].heard[4..], [Err(Dropped::Limited); 6]);
}

#[test]
fn numbers_that_cannot_be_are_refused_even_when_they_are_signed() {
    let pair = Pair::new();
    let share = DistantShare {
        incarnation: 1,
        counter: 1,
        index: 9,
        public_key: KeyExchange::new().unwrap().public_key().to_vec(),
        cipher: 1,
        udp_port: None,
        addresses: Vec::new(),
    };
    let heard = |share: &DistantShare| {
        let mut to = End::new(Arc::clone(&pair.ends[1].identity), 1);
        let way = Way { source: pair.ends[0].name(), destination: to.name() };
        let body = sign_offer(&pair.ends[0].identity, way, share);
        to.distant.hear_offer(pair.now, pair.ends[0].known(), &body, &mut to.rng)
    };
    assert_eq!(heard(&share), Ok(()));
    assert_eq!(heard(&DistantShare { index: 0, ..share.clone() }), Err(Dropped::Malformed));
    assert_eq!(heard(&DistantShare { cipher: 3, ..share.clone() }), Err(Dropped::Malformed));
    assert_eq!(heard(&DistantShare { public_key: vec![0; 32], ..share.clone() }), Err(Dropped::Unusable));
    assert_eq!(heard(&DistantShare { public_key: vec![9; 31], ..share }), Err(Dropped::Unusable));
}
