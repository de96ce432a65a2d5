//! Facts: what a peer says about itself, signed (P5).
//!
//! Signing and verifying need the identity's key and live in `mesh`; here are the layouts.

use crate::PeerName;

const FIXED: usize = 6 + 32 + 2 + 8 + 8 + 4;
const SIGNATURE: usize = 64;
/// Longest fact, in bytes (P5.1).
pub const MAX_FACT: usize = 64 * 1024;
/// Longest payload that fits a fact (P5.1).
pub const MAX_FACT_PAYLOAD: usize = MAX_FACT - FIXED - SIGNATURE;
const DOMAIN: &[u8] = b"weave fact v1";

/// What a fact is about (P5.4). Any other number is kept and passed on as it is (P5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKind(pub u16);

impl FactKind {
    /// Who the peer is: [`PeerFact`](crate::PeerFact).
    pub const PEER: Self = Self(1);
    /// Whom it is linked to: a list of [`LinkEntry`](crate::LinkEntry).
    pub const LINKS: Self = Self(2);
    /// Identities that it saw in use twice (P3.7), each with the address that the refused copy came from: a list of
    /// [`LinkEntry`](crate::LinkEntry).
    pub const CONFLICTS: Self = Self(3);
    /// Peers that its operator had removed (P5.8): a list of [`RemovedEntry`](crate::RemovedEntry).
    pub const REMOVED: Self = Self(4);
}

/// One fact, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Who says it.
    pub origin: PeerName,
    /// The origin's Ed25519 public key.
    pub public_key: [u8; 32],
    /// What it is about.
    pub kind: FactKind,
    /// The origin's incarnation (P1.5).
    pub incarnation: u64,
    /// Grows with each statement of one incarnation.
    pub counter: u64,
    /// The statement.
    pub payload: Vec<u8>,
    /// Ed25519 over [`Fact::signed_bytes`].
    pub signature: [u8; 64],
}

/// A fact read where it lies, nothing copied: most facts that arrive are held already, and are dropped after a look
/// at their version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactView<'a> {
    /// Who says it.
    pub origin: PeerName,
    /// The origin's Ed25519 public key.
    pub public_key: &'a [u8; 32],
    /// What it is about.
    pub kind: FactKind,
    /// Its incarnation and counter: newer statements of the same origin and kind have a greater version (P5.2).
    pub version: (u64, u64),
    /// The statement.
    pub payload: &'a [u8],
    /// Ed25519 over [`FactView::signed_bytes`].
    pub signature: &'a [u8; 64],
    /// Everything before the signature.
    unsigned: &'a [u8],
}

/// Why bytes are no fact, or a payload not what its kind says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Ends too early.
    #[error("fact ends too early")]
    Short,
    /// Over 64 KiB (P5.1).
    #[error("fact over 64 KiB")]
    Long,
    /// The payload is not what its kind says.
    #[error("fact payload not understood: {0}")]
    Payload(String),
}

impl Fact {
    /// Newer statements of the same origin and kind have a greater version (P5.2).
    pub const fn version(&self) -> (u64, u64) {
        (self.incarnation, self.counter)
    }

    /// The bytes that the signature covers (P5.1).
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut b = DOMAIN.to_vec();
        self.encode_unsigned(&mut b);
        b
    }

    /// Appends the fact.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_unsigned(out);
        out.extend_from_slice(&self.signature);
    }

    /// Reads one fact that fills `b`.
    ///
    /// # Errors
    /// When `b` is too short, too long, or its lengths disagree.
    pub fn decode(b: &[u8]) -> Result<Self, FactError> {
        let view = FactView::decode(b)?;
        Ok(Self {
            origin: view.origin,
            public_key: *view.public_key,
            kind: view.kind,
            incarnation: view.version.0,
            counter: view.version.1,
            payload: view.payload.to_vec(),
            signature: *view.signature,
        })
    }

    fn encode_unsigned(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.origin.bytes());
        out.extend_from_slice(&self.public_key);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.incarnation.to_be_bytes());
        out.extend_from_slice(&self.counter.to_be_bytes());
        let len = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.payload);
    }
}

impl<'a> FactView<'a> {
    /// Reads one fact that fills `b`.
    ///
    /// # Errors
    /// When `b` is too short, too long, or its lengths disagree.
    pub fn decode(b: &'a [u8]) -> Result<Self, FactError> {
        if b.len() > MAX_FACT {
            return Err(FactError::Long);
        }
        let (unsigned, signature) = b.split_last_chunk::<SIGNATURE>().ok_or(FactError::Short)?;
        let (origin, rest) = unsigned.split_first_chunk::<6>().ok_or(FactError::Short)?;
        let (public_key, rest) = rest.split_first_chunk::<32>().ok_or(FactError::Short)?;
        let (kind, rest) = rest.split_first_chunk::<2>().ok_or(FactError::Short)?;
        let (incarnation, rest) = rest.split_first_chunk::<8>().ok_or(FactError::Short)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or(FactError::Short)?;
        let (len, payload) = rest.split_first_chunk::<4>().ok_or(FactError::Short)?;
        if payload.len() != u32::from_be_bytes(*len) as usize {
            return Err(FactError::Short);
        }
        Ok(Self {
            origin: PeerName::new(*origin),
            public_key,
            kind: FactKind(u16::from_be_bytes(*kind)),
            version: (u64::from_be_bytes(*incarnation), u64::from_be_bytes(*counter)),
            payload,
            signature,
            unsigned,
        })
    }

    /// The bytes that the signature covers (P5.1).
    pub fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, self.unsigned].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fact(payload: Vec<u8>) -> Fact {
        Fact {
            origin: PeerName::new([2, 0, 0, 0, 0, 9]),
            public_key: [3; 32],
            kind: FactKind(4711),
            incarnation: 5,
            counter: 6,
            payload,
            signature: [7; 64],
        }
    }

    #[test]
    fn a_fact_of_an_unknown_kind_survives_byte_for_byte() {
        let mut b = Vec::new();
        fact(vec![1, 2, 3]).encode(&mut b);
        let mut again = Vec::new();
        Fact::decode(&b).unwrap().encode(&mut again);
        assert_eq!(b, again);
    }

    #[test]
    fn a_fact_has_at_most_64_kib() {
        let mut b = Vec::new();
        fact(vec![0; MAX_FACT_PAYLOAD]).encode(&mut b);
        assert!(Fact::decode(&b).is_ok());
        b.clear();
        fact(vec![0; MAX_FACT_PAYLOAD + 1]).encode(&mut b);
        assert_eq!(Fact::decode(&b), Err(FactError::Long));
    }

    #[test]
    fn a_view_says_what_the_fact_says() {
        let (fact, mut b) = (fact(b"payload".to_vec()), Vec::new());
        fact.encode(&mut b);
        let view = FactView::decode(&b).unwrap();
        assert_eq!((view.origin, view.kind, view.version), (fact.origin, fact.kind, fact.version()));
        assert_eq!((view.payload, view.signature), (fact.payload.as_slice(), &fact.signature));
        assert_eq!(view.signed_bytes(), fact.signed_bytes());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fact::decode(&b);
        }

        #[test]
        fn what_is_cut_short_or_has_more_behind_it_is_no_fact(payload in proptest::collection::vec(any::<u8>(), 0..40), cut in 1usize..80, more in 1usize..80) {
            let mut b = Vec::new();
            fact(payload).encode(&mut b);
            prop_assert_eq!(FactView::decode(&b[..b.len() - cut]), Err(FactError::Short));
            b.extend(std::iter::repeat_n(0, more));
            prop_assert_eq!(FactView::decode(&b), Err(FactError::Short));
        }
    }
}
