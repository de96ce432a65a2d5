//! Parcels: control between peers that share no link, and what two of them agree on a session with (P6.1, P6.2).
//!
//! Signing and verifying need the identity's key and live in `mesh`; here are the layouts.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::cbor::cbor;
use crate::{MAX_HOPS, PeerName};

/// Longest body of a parcel, in bytes. A share with all its addresses takes a tenth of it; what is left is for later kinds.
pub const MAX_PARCEL_BODY: usize = 4096;
/// Most addresses that a share tells, or that are read of one.
pub const MAX_ADDRESSES: usize = 8;

const FIXED: usize = PeerName::LEN + 1;
pub(crate) const SIGNATURE: usize = 64;

/// What a parcel holds (P6.2). Any other number is passed on as it is, and dropped by who it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParcelKind(pub u8);

impl ParcelKind {
    /// Opens a session: a signed [`DistantShare`].
    pub const OFFER: Self = Self(1);
    /// Agrees to it: the same.
    pub const ANSWER: Self = Self(2);
    /// Where the sender may be reached now: a signed [`AddressUpdate`].
    pub const ADDRESSES: Self = Self(3);
    /// A step towards a connection that both ends open: a signed [`MeetingShare`](crate::MeetingShare).
    pub const MEETING: Self = Self(4);
}

/// A message for a peer that is not a neighbour (P6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Where it goes after its receiver, in order; the last is the destination. With none it is for the receiver.
    pub hops: Vec<PeerName>,
    /// Who made it. Only what the body proves is to be believed.
    pub source: PeerName,
    /// What the body is.
    pub kind: ParcelKind,
    /// For the destination alone.
    pub body: Vec<u8>,
}

/// Why bytes are no parcel, or a body no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// Ends too early.
    #[error("parcel ends too early")]
    Short,
    /// More than 8 names.
    #[error("parcel with {0} names before it")]
    Hops(u8),
    /// A body over 4 KiB.
    #[error("parcel over 4 KiB")]
    Long,
    /// The body is not what its type says.
    #[error("parcel not understood: {0}")]
    Body(String),
}

impl Parcel {
    /// The body of the message that carries it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(1 + self.hops.len() * PeerName::LEN + FIXED + self.body.len());
        b.push(u8::try_from(self.hops.len()).unwrap_or(u8::MAX));
        for name in &self.hops {
            b.extend_from_slice(&name.bytes());
        }
        b.extend_from_slice(&self.source.bytes());
        b.push(self.kind.0);
        b.extend_from_slice(&self.body);
        b
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it ends too early, or has more names or bytes than P6.1 allows.
    pub(crate) fn decode(b: &[u8]) -> Result<Self, ParcelError> {
        let (&count, rest) = b.split_first().ok_or(ParcelError::Short)?;
        if usize::from(count) > MAX_HOPS {
            return Err(ParcelError::Hops(count));
        }
        let (names, rest) =
            rest.split_at_checked(usize::from(count) * PeerName::LEN).ok_or(ParcelError::Short)?;
        let (names, _) = names.as_chunks::<{ PeerName::LEN }>();
        let (&[s0, s1, s2, s3, s4, s5, kind], body) =
            rest.split_first_chunk::<FIXED>().ok_or(ParcelError::Short)?;
        if body.len() > MAX_PARCEL_BODY {
            return Err(ParcelError::Long);
        }
        Ok(Self {
            hops: names.iter().map(|&name| PeerName::new(name)).collect(),
            source: PeerName::new([s0, s1, s2, s3, s4, s5]),
            kind: ParcelKind(kind),
            body: body.to_vec(),
        })
    }
}

/// One side of the key exchange between two peers that are not neighbours (P6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DistantShare {
    /// The sender's incarnation (P1.5).
    #[n(0)]
    pub incarnation: u64,
    /// Grows with each share of one incarnation.
    #[n(1)]
    pub counter: u64,
    /// The index the sender wants in records to itself.
    #[n(2)]
    pub index: u32,
    /// X25519 public key.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The cipher's number (P4.3); an answer repeats that of its offer.
    #[n(4)]
    pub cipher: u8,
    /// UDP port the sender receives records on; absent: none.
    #[n(5)]
    pub udp_port: Option<u16>,
    /// Where the sender may be reached by UDP. What is no address is passed over.
    #[n(6)]
    #[cbor(with = "addresses_cbor", has_nil)]
    pub addresses: Vec<SocketAddr>,
}

impl DistantShare {
    /// Newer shares of the same source have a greater version.
    pub const fn version(&self) -> (u64, u64) {
        (self.incarnation, self.counter)
    }

    /// The bytes that the signature covers, besides what says whose they are.
    pub fn encode(&self) -> Vec<u8> {
        cbor(self)
    }

    /// Reads the body of an offer or an answer: the share, its encoding as it came, and the signature, not verified yet.
    ///
    /// # Errors
    /// When the body is too short or its CBOR is not of this shape.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8], &[u8; SIGNATURE]), ParcelError> {
        signed(body)
    }
}

/// Where a peer may be reached from now on (P6.2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddressUpdate {
    /// The sender's incarnation (P1.5).
    #[n(0)]
    pub incarnation: u64,
    /// Grows with each share and each update of one incarnation.
    #[n(1)]
    pub counter: u64,
    /// UDP port the sender receives records on; absent: none.
    #[n(2)]
    pub udp_port: Option<u16>,
    /// Where the sender may be reached by UDP. What is no address is passed over.
    #[n(3)]
    #[cbor(with = "addresses_cbor", has_nil)]
    pub addresses: Vec<SocketAddr>,
}

impl AddressUpdate {
    /// Newer ones of the same source have a greater version.
    pub const fn version(&self) -> (u64, u64) {
        (self.incarnation, self.counter)
    }

    /// The bytes that the signature covers, besides what says whose they are.
    pub fn encode(&self) -> Vec<u8> {
        cbor(self)
    }

    /// Reads a body: the update, its encoding as it came, and the signature, not verified yet.
    ///
    /// # Errors
    /// When the body is too short or its CBOR is not of this shape.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8], &[u8; SIGNATURE]), ParcelError> {
        signed(body)
    }
}

/// What is before the signature of a body, read and as it came, and the signature.
pub(crate) fn signed<'b, T: Decode<'b, ()>>(
    body: &'b [u8],
) -> Result<(T, &'b [u8], &'b [u8; SIGNATURE]), ParcelError> {
    let (encoded, signature) = body.split_last_chunk::<SIGNATURE>().ok_or(ParcelError::Short)?;
    let read = minicbor::decode(encoded).map_err(|e| ParcelError::Body(e.to_string()))?;
    Ok((read, encoded, signature))
}

/// Addresses as text, at most [`MAX_ADDRESSES`] of them; an empty list is left out.
pub(crate) mod addresses_cbor {
    use super::{MAX_ADDRESSES, SocketAddr};
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(crate) fn encode<C, W: Write>(
        addresses: &[SocketAddr],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let told = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        e.array(told.len() as u64)?;
        for address in told {
            e.str(&address.to_string())?;
        }
        e.ok()
    }

    pub(crate) const fn nil() -> Option<Vec<SocketAddr>> {
        Some(Vec::new())
    }

    pub(crate) const fn is_nil(addresses: &[SocketAddr]) -> bool {
        addresses.is_empty()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<SocketAddr>, DecodeError> {
        let mut addresses = Vec::new();
        for text in d.array_iter::<&str>()? {
            if let Ok(address) = text?.parse()
                && addresses.len() < MAX_ADDRESSES
            {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share() -> DistantShare {
        DistantShare {
            incarnation: 1_700_000_000_000,
            counter: 3,
            index: 0xdead_beef,
            public_key: vec![7; 32],
            cipher: 1,
            udp_port: Some(6783),
            addresses: vec!["192.0.2.1:6783".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap()],
        }
    }

    fn body(encoded: &[u8]) -> Vec<u8> {
        [encoded, &[5; SIGNATURE]].concat()
    }

    #[test]
    fn sixteen_names_or_a_body_over_4_kib_are_refused() {
        let parcel = Parcel {
            hops: vec![PeerName::new([2; 6]); MAX_HOPS],
            source: PeerName::new([4; 6]),
            kind: ParcelKind::OFFER,
            body: vec![0; MAX_PARCEL_BODY],
        };
        assert_eq!(Parcel::decode(&parcel.encode()), Ok(parcel.clone()));
        let far = Parcel { hops: vec![PeerName::new([2; 6]); MAX_HOPS + 1], ..parcel.clone() };
        assert_eq!(Parcel::decode(&far.encode()), Err(ParcelError::Hops(16)));
        let long = Parcel { body: vec![0; MAX_PARCEL_BODY + 1], ..parcel };
        assert_eq!(Parcel::decode(&long.encode()), Err(ParcelError::Long));
    }

    #[test]
    fn a_share_comes_back_with_the_bytes_that_were_signed() {
        let share = share();
        let encoded = share.encode();
        let body = body(&encoded);
        let (read, signed, signature) = DistantShare::decode(&body).unwrap();
        assert_eq!((read, signed, signature), (share, &encoded[..], &[5; SIGNATURE]));
    }

    #[test]
    fn a_share_without_port_and_addresses_has_none() {
        let share = DistantShare { udp_port: None, addresses: Vec::new(), ..share() };
        // {0: 1, 1: 2, 2: 3, 3: h'09', 4: 2}
        let encoded = [0xa5, 0, 1, 1, 2, 2, 3, 3, 0x41, 9, 4, 2];
        let (read, ..) = DistantShare::decode(&body(&encoded)).map(|(s, ..)| (s, ())).unwrap();
        let expected =
            DistantShare { incarnation: 1, counter: 2, index: 3, public_key: vec![9], cipher: 2, ..share };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_address_is_passed_over_and_the_ninth_left_out() {
        let mut encoded = vec![0xa6, 0, 1, 1, 2, 2, 3, 3, 0x41, 9, 4, 2, 6, 0x8b];
        for text in ["nowhere", "10.0.0.1"].into_iter().chain(["10.0.0.1:1"; 9]) {
            encoded.push(0x60 | text.len() as u8);
            encoded.extend_from_slice(text.as_bytes());
        }
        let body = body(&encoded);
        let (read, ..) = DistantShare::decode(&body).unwrap();
        assert_eq!(read.addresses, ["10.0.0.1:1".parse().unwrap(); MAX_ADDRESSES]);
    }

    fn name() -> impl Strategy<Value = PeerName> {
        any::<[u8; 6]>().prop_map(PeerName::new)
    }

    proptest! {
        #[test]
        fn every_parcel_survives_the_wire(
            hops in proptest::collection::vec(name(), 0..=MAX_HOPS),
            source in name(),
            kind: u8,
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let parcel = Parcel { hops, source, kind: ParcelKind(kind), body };
            prop_assert_eq!(Parcel::decode(&parcel.encode()), Ok(parcel));
        }

        #[test]
        fn arbitrary_bytes_are_a_parcel_that_encodes_alike_or_none(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(parcel) = Parcel::decode(&b) {
                prop_assert_eq!(parcel.encode(), b);
            }
        }

        #[test]
        fn every_share_survives_the_wire(
            numbers: (u64, u64, u32, u8),
            public_key in proptest::collection::vec(any::<u8>(), 0..40),
            udp_port: Option<u16>,
            addresses in proptest::collection::vec(any::<SocketAddr>().prop_map(plain), 0..=MAX_ADDRESSES),
        ) {
            let (incarnation, counter, index, cipher) = numbers;
            let share = DistantShare { incarnation, counter, index, public_key, cipher, udp_port, addresses };
            let body = body(&share.encode());
            prop_assert_eq!(DistantShare::decode(&body).map(|(s, ..)| s), Ok(share));
        }

        #[test]
        fn every_update_survives_the_wire(
            numbers: (u64, u64),
            udp_port: Option<u16>,
            addresses in proptest::collection::vec(any::<SocketAddr>().prop_map(plain), 0..=MAX_ADDRESSES),
        ) {
            let (incarnation, counter) = numbers;
            let update = AddressUpdate { incarnation, counter, udp_port, addresses };
            let body = body(&update.encode());
            prop_assert_eq!(AddressUpdate::decode(&body).map(|(u, ..)| u), Ok(update));
        }

        #[test]
        fn arbitrary_shares_and_updates_never_panic(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DistantShare::decode(&b);
            let _ = AddressUpdate::decode(&b);
        }

        #[test]
        fn a_share_with_a_byte_changed_never_panics(at in 0usize..120, to: u8) {
            let mut body = body(&share().encode());
            let at = at % body.len();
            body[at] = to;
            let _ = DistantShare::decode(&body);
        }
    }

    /// Without the flow label and scope that no address text keeps.
    fn plain(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip(), address.port())
    }
}
