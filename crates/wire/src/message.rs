//! Messages on a link (P2.5 to P2.8).

use std::sync::Arc;

use minicbor::{Decode, Encode};
use packet::VnetHdr;

use crate::cbor::{cbor, name_cbor};
use crate::{Digest, DigestEntry, Parcel, PeerName, Refuse};

/// Longest message, its type byte included, in bytes (P2.5).
pub const MAX_MESSAGE: usize = 1 << 20;
/// Bit of [`Hello::transports`]: records over UDP.
pub const TRANSPORT_UDP: u8 = 1;
/// Bit of [`Hello::transports`]: frames in the link.
pub const TRANSPORT_TLS: u8 = 2;

const REFUSE: u8 = 0x01;
const PASSWORD_SHARE: u8 = 0x02;
const PASSWORD_CONFIRM: u8 = 0x03;
const HELLO: u8 = 0x04;
const PING: u8 = 0x05;
const PONG: u8 = 0x06;
const FACTS: u8 = 0x07;
const DIGEST: u8 = 0x08;
const SESSION_OFFER: u8 = 0x09;
const SESSION_ANSWER: u8 = 0x0a;
const ANNOUNCE: u8 = 0x0b;
const WANT: u8 = 0x0c;
const PRUNE: u8 = 0x0d;
const PARCEL: u8 = 0x0e;
const FRAME: u8 = 0x40;
/// From here on a type that is unknown closes the link (P2.6).
const MUST_UNDERSTAND: u8 = 0x80;

/// What one peer tells the other once it is let in (P2.8).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The sender.
    #[n(0)]
    #[cbor(with = "name_cbor")]
    pub name: PeerName,
    /// Its nickname.
    #[n(1)]
    pub nickname: String,
    /// Its incarnation (P1.5).
    #[n(2)]
    pub incarnation: u64,
    /// TCP port it listens on; 0: none.
    #[n(3)]
    pub port: u16,
    /// [`TRANSPORT_UDP`] and [`TRANSPORT_TLS`].
    #[n(4)]
    pub transports: u8,
    /// UDP port it receives records on; 0: none.
    #[n(5)]
    pub udp_port: u16,
    /// `ip:port` that the sender sees the receiver at.
    #[n(6)]
    pub seen: Option<String>,
    /// Program version.
    #[n(7)]
    pub program: Option<String>,
    /// Largest Ethernet frame, segmented, that the sender will send.
    #[n(8)]
    pub frame_max: Option<u32>,
}

/// One side of a session's key exchange (P4.1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionKeyShare {
    /// Grows with each exchange of one link.
    #[n(0)]
    pub epoch: u32,
    /// The index the sender wants in records to itself.
    #[n(1)]
    pub index: u32,
    /// X25519 public key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The cipher's number (P4.3); absent: 1.
    #[n(3)]
    pub cipher: Option<u8>,
}

/// A message other than a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The sender closes, and says why.
    Refuse(Refuse),
    /// SPAKE2 shares (P3.5).
    PasswordShare(Vec<Vec<u8>>),
    /// Proofs (P3.6).
    PasswordConfirm(Vec<Vec<u8>>),
    /// Who I am.
    Hello(Hello),
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// Facts, each still in its own encoding (P5.3). Shared, as the same ones go to many neighbours.
    Facts(Vec<Arc<[u8]>>),
    /// What I have (P5.6).
    Digest(Digest),
    /// Facts that I have and did not send on this link (P5.5).
    Announce(Vec<DigestEntry>),
    /// Please send these, and new ones from now on without being asked (P5.5).
    Want(Vec<DigestEntry>),
    /// Please announce new facts from now on, instead of sending them (P5.5).
    Prune,
    /// Opens an epoch (P4.1).
    SessionOffer(SessionKeyShare),
    /// Agrees to it.
    SessionAnswer(SessionKeyShare),
    /// For a peer that is not a neighbour (P6.1).
    Parcel(Parcel),
    /// A type below 0x80 that this program does not know: skip it (P2.6).
    Unknown(u8),
}

/// Why a message is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No type byte, or a body too short for its type.
    #[error("message of type {0:#04x} is too short")]
    Short(u8),
    /// The body is not what the type says.
    #[error("message of type {0:#04x} not understood: {1}")]
    Body(u8, String),
    /// An unknown type that must be understood (P2.6).
    #[error("message of unknown type {0:#04x}")]
    MustUnderstand(u8),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RefuseBody {
    #[n(0)]
    code: u16,
    #[n(1)]
    text: String,
}

impl Message {
    /// The message with its length and type before it (P2.5).
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Refuse(r) => (REFUSE, cbor(&RefuseBody { code: r.code, text: r.text.clone() })),
            Self::PasswordShare(list) => (PASSWORD_SHARE, byte_strings(list)),
            Self::PasswordConfirm(list) => (PASSWORD_CONFIRM, byte_strings(list)),
            Self::Hello(h) => (HELLO, cbor(h)),
            Self::Ping(token) => (PING, token.to_be_bytes().to_vec()),
            Self::Pong(token) => (PONG, token.to_be_bytes().to_vec()),
            Self::Facts(facts) => (FACTS, prefixed(facts)),
            Self::Digest(digest) => (DIGEST, digest.encode()),
            Self::Announce(lines) => (ANNOUNCE, encode_lines(lines)),
            Self::Want(lines) => (WANT, encode_lines(lines)),
            Self::Prune => (PRUNE, Vec::new()),
            Self::SessionOffer(s) => (SESSION_OFFER, cbor(s)),
            Self::SessionAnswer(s) => (SESSION_ANSWER, cbor(s)),
            Self::Parcel(p) => (PARCEL, p.encode()),
            Self::Unknown(kind) => (*kind, Vec::new()),
        };
        let len = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(body.len() + 5);
        out.extend_from_slice(&len.to_be_bytes());
        out.push(kind);
        out.extend_from_slice(&body);
        out
    }

    /// How many bytes [`Message::encode`] gives. Quick for messages of the gossip, of which there are many.
    pub fn encoded_len(&self) -> usize {
        let body = match self {
            Self::Facts(facts) => facts.iter().map(|fact| 4 + fact.len()).sum(),
            Self::Digest(digest) => digest.encoded_len(),
            Self::Announce(lines) | Self::Want(lines) => lines.len() * DigestEntry::LEN,
            Self::Prune => 0,
            _ => return self.encode().len(),
        };
        4 + 1 + body
    }

    /// Reads what follows the length: type and body. Frames are read by [`decode_frame`] before this is asked.
    ///
    /// # Errors
    /// When the body does not fit the type, or the type must be understood and is not.
    pub fn decode(b: &[u8]) -> Result<Self, MessageError> {
        let (&kind, body) = b.split_first().ok_or(MessageError::Short(0))?;
        let odd = |e: String| MessageError::Body(kind, e);
        let token = || body.try_into().map(u64::from_be_bytes).map_err(|_| MessageError::Short(kind));
        Ok(match kind {
            REFUSE => {
                let RefuseBody { code, text } = minicbor::decode(body).map_err(|e| odd(e.to_string()))?;
                Self::Refuse(Refuse { code, text })
            }
            PASSWORD_SHARE => Self::PasswordShare(read_byte_strings(body).map_err(|e| odd(e.to_string()))?),
            PASSWORD_CONFIRM => {
                Self::PasswordConfirm(read_byte_strings(body).map_err(|e| odd(e.to_string()))?)
            }
            HELLO => Self::Hello(minicbor::decode(body).map_err(|e| odd(e.to_string()))?),
            PING => Self::Ping(token()?),
            PONG => Self::Pong(token()?),
            FACTS => Self::Facts(read_prefixed(body).ok_or(MessageError::Short(kind))?),
            DIGEST => Self::Digest(Digest::decode(body).map_err(|e| odd(e.to_string()))?),
            ANNOUNCE => Self::Announce(DigestEntry::decode_all(body).map_err(|e| odd(e.to_string()))?),
            WANT => Self::Want(DigestEntry::decode_all(body).map_err(|e| odd(e.to_string()))?),
            // A body would be a later version's; it asks for nothing else.
            PRUNE => Self::Prune,
            SESSION_OFFER => Self::SessionOffer(minicbor::decode(body).map_err(|e| odd(e.to_string()))?),
            SESSION_ANSWER => Self::SessionAnswer(minicbor::decode(body).map_err(|e| odd(e.to_string()))?),
            PARCEL => Self::Parcel(Parcel::decode(body).map_err(|e| odd(e.to_string()))?),
            FRAME | MUST_UNDERSTAND.. => return Err(MessageError::MustUnderstand(kind)),
            _ => Self::Unknown(kind),
        })
    }
}

/// Length, type and virtio header of a frame message; the frame follows (P4.6).
pub fn encode_frame_header(hdr: &VnetHdr, frame_len: usize) -> [u8; 5 + VnetHdr::LEN] {
    let mut out = [0; 5 + VnetHdr::LEN];
    let len = u32::try_from(frame_len + VnetHdr::LEN + 1).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out[4] = FRAME;
    if let Some(rest) = out.last_chunk_mut() {
        hdr.write_le(rest);
    }
    out
}

/// What follows the length, if it is a frame: its header and the frame, neither checked yet.
pub fn decode_frame(b: &[u8]) -> Option<(VnetHdr, &[u8])> {
    let (&FRAME, body) = b.split_first()? else { return None };
    let (hdr, frame) = body.split_at_checked(VnetHdr::LEN)?;
    Some((VnetHdr::parse_le(hdr)?, frame))
}

fn byte_strings(list: &[Vec<u8>]) -> Vec<u8> {
    cbor(&list.iter().map(|b| minicbor::bytes::ByteVec::from(b.clone())).collect::<Vec<_>>())
}

fn read_byte_strings(b: &[u8]) -> Result<Vec<Vec<u8>>, minicbor::decode::Error> {
    let list: Vec<minicbor::bytes::ByteVec> = minicbor::decode(b)?;
    Ok(list.into_iter().map(Into::into).collect())
}

fn encode_lines(lines: &[DigestEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    DigestEntry::encode_all(lines, &mut out);
    out
}

fn prefixed(list: &[Arc<[u8]>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.iter().map(|b| 4 + b.len()).sum());
    for b in list {
        out.extend_from_slice(&u32::try_from(b.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(b);
    }
    out
}

fn read_prefixed(mut b: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    let mut list = Vec::new();
    while !b.is_empty() {
        let (len, rest) = b.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        list.push(item.into());
        b = rest;
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FactKind, ParcelKind, RefuseCode};
    use proptest::prelude::*;

    fn check(message: Message) {
        let b = message.encode();
        let (len, rest) = b.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*len) as usize, rest.len());
        assert_eq!(message.encoded_len(), b.len());
        assert_eq!(Message::decode(rest), Ok(message));
    }

    #[test]
    fn every_message_survives_the_wire() {
        check(Message::Refuse(Refuse::new(RefuseCode::Oneself, "you dialled yourself")));
        check(Message::PasswordShare(vec![vec![1; 33], vec![]]));
        check(Message::PasswordConfirm(vec![vec![2; 32]]));
        check(Message::Hello(Hello {
            name: PeerName::new([2, 1, 1, 1, 1, 1]),
            nickname: "h1".into(),
            incarnation: 9,
            port: 6783,
            transports: TRANSPORT_TLS | TRANSPORT_UDP,
            udp_port: 6783,
            seen: Some("10.0.0.1:4000".into()),
            program: None,
            frame_max: Some(1390),
        }));
        check(Message::Ping(1));
        check(Message::Pong(u64::MAX));
        check(Message::Facts(vec![[].into(), [9; 100].into()]));
        let entry = DigestEntry { origin: PeerName::new([2; 6]), kind: FactKind::LINKS, version: (3, 4) };
        check(Message::Digest(Digest::Whole(7)));
        check(Message::Digest(Digest::Lines { answer: true, buckets: 5, lines: vec![entry, entry] }));
        check(Message::Announce(vec![entry]));
        check(Message::Want(vec![entry, entry]));
        check(Message::Prune);
        let share = SessionKeyShare { epoch: 0, index: 1, public_key: vec![5; 32], cipher: Some(2) };
        check(Message::SessionOffer(share.clone()));
        check(Message::SessionAnswer(share));
        check(Message::Parcel(Parcel {
            hops: vec![PeerName::new([2; 6]), PeerName::new([4; 6])],
            source: PeerName::new([6; 6]),
            kind: ParcelKind::ANSWER,
            body: vec![1; 100],
        }));
    }

    #[test]
    fn an_unknown_type_is_skipped_below_0x80_and_fatal_above() {
        assert_eq!(Message::decode(&[0x3f, 1, 2]), Ok(Message::Unknown(0x3f)));
        assert_eq!(Message::decode(&[0x80]), Err(MessageError::MustUnderstand(0x80)));
    }

    #[test]
    fn a_refusal_of_a_later_version_keeps_its_number_and_text() {
        let b = Message::Refuse(Refuse { code: 999, text: "later".into() }).encode();
        let Ok(Message::Refuse(r)) = Message::decode(&b[4..]) else { panic!("no refusal") };
        assert_eq!((r.code, r.known(), r.to_string()), (999, None, "later".to_owned()));
    }

    #[test]
    fn a_frame_message_keeps_its_virtio_header() {
        let hdr =
            VnetHdr { flags: 1, gso_type: 1, hdr_len: 66, gso_size: 1300, csum_start: 34, csum_offset: 16 };
        let mut b = encode_frame_header(&hdr, 3).to_vec();
        b.extend_from_slice(b"abc");
        assert_eq!(b[..4], [0, 0, 0, 14]);
        assert_eq!(decode_frame(&b[4..]), Some((hdr, &b"abc"[..])));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&b);
            let _ = decode_frame(&b);
        }

        #[test]
        fn arbitrary_bodies_of_known_types_never_panic(kind in 1u8..0x0f, mut b in proptest::collection::vec(any::<u8>(), 0..200)) {
            b.insert(0, kind);
            let _ = Message::decode(&b);
        }
    }
}
