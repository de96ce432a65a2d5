//! Facts: what a peer says about itself, signed (P5).
//!
//! Signing and verifying need the identity's key and live in `mesh`; here are the layouts.

use minicbor::{Decode, Encode};

use crate::PeerName;

const FIXED: usize = 6 + 32 + 2 + 8 + 8 + 4;
const SIGNATURE: usize = 64;
/// Longest fact, in bytes (P5.1).
const MAX_FACT: usize = 64 * 1024;
const DOMAIN: &[u8] = b"weave fact v1";
const DIGEST_ENTRY: usize = 6 + 2 + 8 + 8;

/// What a fact is about (P5.4). Any other number is kept and passed on as it is (P5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKind(pub u16);

impl FactKind {
    /// Who the peer is: [`PeerFact`].
    pub const PEER: Self = Self(1);
    /// Whom it is linked to: a list of [`LinkEntry`].
    pub const LINKS: Self = Self(2);
    /// Identities that it saw in use twice (P3.7), each with the address that the refused copy came from: a list of [`LinkEntry`].
    pub const CONFLICTS: Self = Self(3);
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

/// Why bytes are no fact, or text in one no value.
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
        if b.len() > MAX_FACT {
            return Err(FactError::Long);
        }
        let (fixed, rest) = b.split_first_chunk::<FIXED>().ok_or(FactError::Short)?;
        let (origin, fixed) = fixed.split_first_chunk::<6>().ok_or(FactError::Short)?;
        let (public_key, fixed) = fixed.split_first_chunk::<32>().ok_or(FactError::Short)?;
        let (kind, fixed) = fixed.split_first_chunk::<2>().ok_or(FactError::Short)?;
        let (incarnation, fixed) = fixed.split_first_chunk::<8>().ok_or(FactError::Short)?;
        let (counter, fixed) = fixed.split_first_chunk::<8>().ok_or(FactError::Short)?;
        let (len, _) = fixed.split_first_chunk::<4>().ok_or(FactError::Short)?;
        let (payload, signature) = rest.split_last_chunk::<SIGNATURE>().ok_or(FactError::Short)?;
        if payload.len() != u32::from_be_bytes(*len) as usize {
            return Err(FactError::Short);
        }
        Ok(Self {
            origin: PeerName::new(*origin),
            public_key: *public_key,
            kind: FactKind(u16::from_be_bytes(*kind)),
            incarnation: u64::from_be_bytes(*incarnation),
            counter: u64::from_be_bytes(*counter),
            payload: payload.to_vec(),
            signature: *signature,
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

/// Payload of a *peer* fact (P5.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerFact {
    /// Shown beside the name.
    #[n(0)]
    pub nickname: String,
    /// The run.
    #[n(1)]
    pub uid: u64,
    /// TCP port it listens on; 0: none.
    #[n(2)]
    pub port: u16,
    /// Program version.
    #[n(3)]
    pub program: Option<String>,
}

impl PeerFact {
    /// Its CBOR.
    pub fn encode(&self) -> Vec<u8> {
        cbor(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not CBOR of this shape.
    pub fn decode(b: &[u8]) -> Result<Self, FactError> {
        minicbor::decode(b).map_err(|e| FactError::Payload(e.to_string()))
    }
}

/// One link of a *links* fact (P5.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LinkEntry {
    /// The neighbour.
    #[n(0)]
    #[cbor(with = "name_cbor")]
    pub peer: PeerName,
    /// Its address as the origin sees it.
    #[n(1)]
    pub address: String,
    /// Whether the origin dialled, so that the address can be dialled.
    #[n(2)]
    pub outbound: bool,
}

/// CBOR of a *links* payload.
pub fn encode_links(links: &[LinkEntry]) -> Vec<u8> {
    cbor(links)
}

/// Reads a *links* payload.
///
/// # Errors
/// When it is not CBOR of this shape.
pub fn decode_links(b: &[u8]) -> Result<Vec<LinkEntry>, FactError> {
    minicbor::decode(b).map_err(|e| FactError::Payload(e.to_string()))
}

/// One line of a digest (P5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestEntry {
    /// Whose fact.
    pub origin: PeerName,
    /// Which.
    pub kind: FactKind,
    /// Its incarnation and counter.
    pub version: (u64, u64),
}

impl DigestEntry {
    pub(crate) fn encode_all(entries: &[Self], out: &mut Vec<u8>) {
        for e in entries {
            out.extend_from_slice(&e.origin.bytes());
            out.extend_from_slice(&e.kind.0.to_be_bytes());
            out.extend_from_slice(&e.version.0.to_be_bytes());
            out.extend_from_slice(&e.version.1.to_be_bytes());
        }
    }

    pub(crate) fn decode_all(b: &[u8]) -> Result<Vec<Self>, FactError> {
        let (entries, rest) = b.as_chunks::<DIGEST_ENTRY>();
        if !rest.is_empty() {
            return Err(FactError::Short);
        }
        Ok(entries
            .iter()
            .map(
                |&[
                    o0,
                    o1,
                    o2,
                    o3,
                    o4,
                    o5,
                    k0,
                    k1,
                    i0,
                    i1,
                    i2,
                    i3,
                    i4,
                    i5,
                    i6,
                    i7,
                    c0,
                    c1,
                    c2,
                    c3,
                    c4,
                    c5,
                    c6,
                    c7,
                ]| Self {
                    origin: PeerName::new([o0, o1, o2, o3, o4, o5]),
                    kind: FactKind(u16::from_be_bytes([k0, k1])),
                    version: (
                        u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
                        u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
                    ),
                },
            )
            .collect())
    }
}

/// CBOR of a value whose writer cannot fail: it goes to memory.
pub(crate) fn cbor<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

/// A peer name in CBOR: a byte string of six.
pub(crate) mod name_cbor {
    use crate::PeerName;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(crate) fn encode<C, W: Write>(
        name: &PeerName,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&name.bytes())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<PeerName, DecodeError> {
        let bytes = d.bytes()?;
        bytes.try_into().map(PeerName::new).map_err(|_| DecodeError::message("a peer name has six bytes"))
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
    fn a_fact_over_64_kib_is_refused() {
        let mut b = Vec::new();
        fact(vec![0; MAX_FACT]).encode(&mut b);
        assert_eq!(Fact::decode(&b), Err(FactError::Long));
    }

    #[test]
    fn payloads_of_both_known_kinds_survive() {
        let peer = PeerFact { nickname: "h1".into(), uid: u64::MAX, port: 6783, program: None };
        assert_eq!(PeerFact::decode(&peer.encode()), Ok(peer));
        let links =
            vec![LinkEntry { peer: PeerName::new([2; 6]), address: "[::1]:6783".into(), outbound: true }];
        assert_eq!(decode_links(&encode_links(&links)), Ok(links));
    }

    #[test]
    fn a_later_versions_extra_keys_are_skipped() {
        // {0: "x", 1: 1, 2: 2, 9: "new"}
        let b = [0xa4, 0x00, 0x61, b'x', 0x01, 0x01, 0x02, 0x02, 0x09, 0x63, b'n', b'e', b'w'];
        assert_eq!(PeerFact::decode(&b).unwrap().nickname, "x");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fact::decode(&b);
            let _ = PeerFact::decode(&b);
            let _ = decode_links(&b);
            let _ = DigestEntry::decode_all(&b);
        }
    }
}
