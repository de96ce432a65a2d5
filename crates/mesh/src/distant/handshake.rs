//! What the two ends sign, and what their keys are salted with (P6.2, P6.3).

use aws_lc_rs::digest;
use wire::{AddressUpdate, DistantShare, MeetingShare, PeerName};

use crate::identity::{Identity, verify};

const OFFER: &[u8] = b"weave session offer v1";
const ANSWER: &[u8] = b"weave session answer v1";
const ADDRESSES: &[u8] = b"weave addresses v1";
const MEETING: &[u8] = b"weave meeting v1";
const SALT: &[u8] = b"weave distant session v1";

/// Who speaks, and to whom. Both are signed, so that a share is of use to nobody else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) source: PeerName,
    pub(super) destination: PeerName,
}

/// SHA-256 over the parts, one after the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The body of an offer.
pub(super) fn sign_offer(identity: &Identity, way: Way, share: &DistantShare) -> Vec<u8> {
    let encoded = share.encode();
    let signature = identity.sign(&offered(way, &encoded));
    [&encoded[..], &signature].concat()
}

/// The body of the answer to the offer with this hash.
pub(super) fn sign_answer(identity: &Identity, way: Way, offer: &[u8; 32], share: &DistantShare) -> Vec<u8> {
    let encoded = share.encode();
    let signature = identity.sign(&answered(way, offer, &encoded));
    [&encoded[..], &signature].concat()
}

/// Whether the holder of `key` made this offer.
pub(super) fn is_offer(key: &[u8; 32], way: Way, encoded: &[u8], signature: &[u8; 64]) -> bool {
    verify(key, &offered(way, encoded), signature)
}

/// Whether the holder of `key` made this answer, and to the offer with this hash.
pub(super) fn is_answer(
    key: &[u8; 32],
    way: Way,
    offer: &[u8; 32],
    encoded: &[u8],
    signature: &[u8; 64],
) -> bool {
    verify(key, &answered(way, offer, encoded), signature)
}

/// The body of a parcel that says where we may be reached.
pub(super) fn sign_update(identity: &Identity, way: Way, update: &AddressUpdate) -> Vec<u8> {
    let encoded = update.encode();
    let signature = identity.sign(&updated(way, &encoded));
    [&encoded[..], &signature].concat()
}

/// Whether the holder of `key` made this update.
pub(super) fn is_update(key: &[u8; 32], way: Way, encoded: &[u8], signature: &[u8; 64]) -> bool {
    verify(key, &updated(way, encoded), signature)
}

/// The body of a parcel with a step towards a meeting.
pub(super) fn sign_meeting(identity: &Identity, way: Way, share: &MeetingShare) -> Vec<u8> {
    let encoded = share.encode();
    let signature = identity.sign(&met(way, &encoded));
    [&encoded[..], &signature].concat()
}

/// Whether the holder of `key` took this step.
pub(super) fn is_meeting(key: &[u8; 32], way: Way, encoded: &[u8], signature: &[u8; 64]) -> bool {
    verify(key, &met(way, encoded), signature)
}

/// What stands in the place of a link's exporter (P6.3): both shares as they were signed, so that ends which saw
/// different ones have different keys.
pub(super) fn salt(offer: &[u8], answer: &[u8]) -> [u8; 32] {
    sha256(&[SALT, offer, answer])
}

fn offered(way: Way, encoded: &[u8]) -> Vec<u8> {
    [OFFER, &way.source.bytes(), &way.destination.bytes(), encoded].concat()
}

fn updated(way: Way, encoded: &[u8]) -> Vec<u8> {
    [ADDRESSES, &way.source.bytes(), &way.destination.bytes(), encoded].concat()
}

fn met(way: Way, encoded: &[u8]) -> Vec<u8> {
    [MEETING, &way.source.bytes(), &way.destination.bytes(), encoded].concat()
}

fn answered(way: Way, offer: &[u8; 32], encoded: &[u8]) -> Vec<u8> {
    [ANSWER, &way.source.bytes(), &way.destination.bytes(), offer, encoded].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, name};

    fn share() -> DistantShare {
        DistantShare {
            incarnation: 1,
            counter: 2,
            index: 3,
            public_key: vec![4; 32],
            cipher: 1,
            udp_port: None,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn a_signature_holds_for_one_source_one_destination_one_purpose_and_one_offer() {
        let (who, way) = (identity(1), Way { source: name(1), destination: name(2) });
        let (key, hash) = (who.public_key(), sha256(&[b"an offer"]));
        let offer = sign_offer(&who, way, &share());
        let (_, encoded, signature) = DistantShare::decode(&offer).unwrap();
        assert!(is_offer(&key, way, encoded, signature));
        assert!(!is_offer(&key, Way { destination: name(3), ..way }, encoded, signature));
        assert!(!is_offer(&key, Way { source: name(3), ..way }, encoded, signature));
        assert!(!is_offer(&identity(2).public_key(), way, encoded, signature));
        assert!(!is_answer(&key, way, &hash, encoded, signature));
        let answer = sign_answer(&who, way, &hash, &share());
        let (_, encoded, signature) = DistantShare::decode(&answer).unwrap();
        assert!(is_answer(&key, way, &hash, encoded, signature));
        assert!(!is_answer(&key, way, &sha256(&[b"another"]), encoded, signature));
        assert!(!is_offer(&key, way, encoded, signature));
    }

    #[test]
    fn the_salt_is_the_hash_of_the_domain_and_both_bodies() {
        // printf 'weave distant session v1offeranswer' | sha256sum
        let hex: String = salt(b"offer", b"answer").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "b4b4f3b6159b0e6c2634032ce223b787370d569a849efb442e2841fff1c7a51d");
    }
}
