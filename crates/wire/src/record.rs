//! Records: what a UDP datagram holds (P4.3 to P4.10). Records of other peers' sessions are in [`relay`](crate::RelayHeader).
//!
//! Only layouts live here. Sealing is the session's work, cutting and joining that of `packet`.

use packet::SliceMeta;

use crate::{GROUP_HEADER, GroupHeader};

/// Bytes before the sealed payload: type, index, counter (P4.3). They are the associated data.
pub const RECORD_HEADER: usize = 13;
/// Bytes of the tag behind the payload; the same for both ciphers.
pub const TAG_LEN: usize = 16;
/// Bytes of a frame payload before the frame (P4.5, kind 0).
pub const FRAME_HEADER: usize = 6;
/// Bytes of a slice payload before the headers (P4.7).
pub const SLICE_HEADER: usize = 12;
/// Bytes of a probe before its padding.
const PROBE_HEADER: usize = 9;
/// Bytes of a probe's answer without what it counts: all that the first programs sent.
const ANSWER_LEN: usize = 29;
/// Bytes of the counts behind it.
const ARRIVED_LEN: usize = 16;
/// Length of a record that answers a probe, in bytes: no probe may be shorter (P4.8).
pub const ANSWER_RECORD: usize = RECORD_HEADER + ANSWER_LEN + ARRIVED_LEN + TAG_LEN;

const KIND_FRAME: u8 = 0;
const KIND_SLICE: u8 = 1;
const KIND_PROBE: u8 = 2;
const KIND_ANSWER: u8 = 3;
const KIND_GROUP: u8 = 4;

/// Bytes of a group payload before the payload of kind 0 or 1 (P4.5, kind 4).
pub const GROUP_PREFIX: usize = 1 + GROUP_HEADER;

/// Bytes a record adds to the largest Ethernet frame for one peer, outer IP and UDP headers not counted.
pub const UNICAST_OVERHEAD: usize = RECORD_HEADER + SLICE_HEADER + TAG_LEN;

/// Bytes a record adds to the largest Ethernet frame it carries, which is one for everyone; outer IP and UDP headers not counted.
pub const fn max_record_overhead() -> usize {
    UNICAST_OVERHEAD + GROUP_PREFIX
}

/// The AEAD of a record: its type byte (P4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cipher {
    /// AES-256-GCM, RFC 5116.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305, RFC 8439.
    ChaCha20Poly1305 = 2,
}

impl Cipher {
    /// The cipher with this number.
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its name as the RFCs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }
}

/// Why a datagram or its payload is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its fixed part.
    #[error("record too short")]
    Short,
    /// A type byte that is no cipher of ours.
    #[error("unknown record type")]
    Type,
    /// A kind of P4.5 that this program does not know.
    #[error("unknown payload kind")]
    Kind,
    /// Lengths that contradict each other.
    #[error("record with contradicting lengths")]
    Lengths,
}

/// The clear part of a record (P4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// The type byte.
    pub cipher: Cipher,
    /// The receiver's index.
    pub index: u32,
    /// The sender's counter, the nonce.
    pub counter: u64,
}

impl RecordHeader {
    /// The 13 bytes of P4.3.
    pub fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut b = [0; RECORD_HEADER];
        b[0] = self.cipher as u8;
        b[1..5].copy_from_slice(&self.index.to_be_bytes());
        b[5..].copy_from_slice(&self.counter.to_be_bytes());
        b
    }

    /// Reads the clear part of a datagram.
    ///
    /// # Errors
    /// When it is shorter than any record, or of an unknown type.
    pub fn decode(datagram: &[u8]) -> Result<Self, RecordError> {
        if datagram.len() < RECORD_HEADER + 1 + TAG_LEN {
            return Err(RecordError::Short);
        }
        let Some((&[t, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7], _)) =
            datagram.split_first_chunk::<RECORD_HEADER>()
        else {
            return Err(RecordError::Short);
        };
        Ok(Self {
            cipher: Cipher::from_u8(t).ok_or(RecordError::Type)?,
            index: u32::from_be_bytes([i0, i1, i2, i3]),
            counter: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
        })
    }
}

/// What arrived from the one who probes, as the one who answers counts it (P4.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// Records with frames (kinds 0, 1 and 4) that opened, and relayed ones whose header did.
    pub opened: u64,
    /// Records that did not open.
    pub forged: u64,
}

/// An opened payload (P4.5), borrowed from the datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// One frame.
    Frame {
        /// Bit 0: checksum partial; bit 1: checksum valid.
        flags: u8,
        /// Where the checksummed part starts.
        csum_start: u16,
        /// Where in it the checksum goes.
        csum_offset: u16,
        /// The frame.
        frame: &'a [u8],
    },
    /// One segment of a super-frame.
    Slice {
        /// What it is a slice of.
        meta: SliceMeta,
        /// The super-frame's headers, unchanged.
        headers: &'a [u8],
        /// This slice's bytes of it.
        payload: &'a [u8],
    },
    /// A frame for everyone, or one segment of it.
    Group {
        /// Which one.
        group: GroupHeader,
        /// A payload of kind 0 or 1.
        inner: &'a [u8],
    },
    /// A question whether this path works.
    Probe {
        /// To come back in the answer.
        token: u64,
    },
    /// The answer.
    Answer {
        /// From the probe.
        token: u64,
        /// Length of the record that was answered, in bytes.
        length: u16,
        /// Where the probe came from, as its receiver saw it.
        seen: std::net::SocketAddr,
        /// Absent from programs that do not count.
        arrived: Option<Arrived>,
    },
}

impl<'a> Payload<'a> {
    /// Reads an opened payload.
    ///
    /// # Errors
    /// When it is too short, contradicts itself or is of an unknown kind (P4.8).
    pub fn decode(b: &'a [u8]) -> Result<Self, RecordError> {
        match *b.first().ok_or(RecordError::Short)? {
            KIND_FRAME => {
                let (&[_, flags, s0, s1, o0, o1], frame) =
                    b.split_first_chunk::<FRAME_HEADER>().ok_or(RecordError::Short)?;
                Ok(Self::Frame {
                    flags,
                    csum_start: u16::from_be_bytes([s0, s1]),
                    csum_offset: u16::from_be_bytes([o0, o1]),
                    frame,
                })
            }
            KIND_SLICE => {
                let (&[_, gso_type, slices, number, s0, s1, g0, g1, t0, t1, h0, h1], rest) =
                    b.split_first_chunk::<SLICE_HEADER>().ok_or(RecordError::Short)?;
                let meta = SliceMeta {
                    gso_type,
                    slices,
                    number,
                    csum_start: u16::from_be_bytes([s0, s1]),
                    gso_size: u16::from_be_bytes([g0, g1]),
                    train: u16::from_be_bytes([t0, t1]),
                    headers_len: u16::from_be_bytes([h0, h1]),
                };
                let (headers, payload) =
                    rest.split_at_checked(usize::from(meta.headers_len)).ok_or(RecordError::Lengths)?;
                Ok(Self::Slice { meta, headers, payload })
            }
            KIND_PROBE => {
                let (&[_, token @ ..], _) =
                    b.split_first_chunk::<PROBE_HEADER>().ok_or(RecordError::Short)?;
                Ok(Self::Probe { token: u64::from_be_bytes(token) })
            }
            KIND_ANSWER => {
                let (answer, rest) = b.split_first_chunk::<ANSWER_LEN>().ok_or(RecordError::Short)?;
                let [_, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, ip @ .., p0, p1] = *answer;
                let ip = std::net::Ipv6Addr::from(ip);
                Ok(Self::Answer {
                    token: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
                    length: u16::from_be_bytes([l0, l1]),
                    seen: std::net::SocketAddr::new(ip.to_canonical(), u16::from_be_bytes([p0, p1])),
                    arrived: Arrived::decode(rest),
                })
            }
            KIND_GROUP => {
                let (group, inner) = b.get(1..).and_then(GroupHeader::split).ok_or(RecordError::Short)?;
                match *inner.first().ok_or(RecordError::Short)? {
                    KIND_FRAME | KIND_SLICE => Ok(Self::Group { group, inner }),
                    _ => Err(RecordError::Kind),
                }
            }
            _ => Err(RecordError::Kind),
        }
    }

    /// The bytes before the inner payload of kind 4.
    pub fn group_prefix(group: &GroupHeader) -> [u8; GROUP_PREFIX] {
        let mut b = [KIND_GROUP; GROUP_PREFIX];
        b[1..].copy_from_slice(&group.encode());
        b
    }

    /// The bytes before the frame of a kind 0 payload.
    pub fn frame_header(flags: u8, csum_start: u16, csum_offset: u16) -> [u8; FRAME_HEADER] {
        let [s0, s1] = csum_start.to_be_bytes();
        let [o0, o1] = csum_offset.to_be_bytes();
        [KIND_FRAME, flags, s0, s1, o0, o1]
    }

    /// The bytes before the headers of a kind 1 payload (P4.7).
    pub fn slice_header(meta: &SliceMeta) -> [u8; SLICE_HEADER] {
        let [s0, s1] = meta.csum_start.to_be_bytes();
        let [g0, g1] = meta.gso_size.to_be_bytes();
        let [t0, t1] = meta.train.to_be_bytes();
        let [h0, h1] = meta.headers_len.to_be_bytes();
        [KIND_SLICE, meta.gso_type, meta.slices, meta.number, s0, s1, g0, g1, t0, t1, h0, h1]
    }

    /// A probe whose payload is `len` bytes long, at least its fixed part.
    pub fn encode_probe(token: u64, len: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(KIND_PROBE);
        out.extend_from_slice(&token.to_be_bytes());
        out.resize(start + len.max(PROBE_HEADER), 0);
    }

    /// The answer to a probe that came from `seen` in a record of `length` bytes.
    pub fn encode_answer(
        token: u64,
        length: u16,
        seen: std::net::SocketAddr,
        arrived: Arrived,
        out: &mut Vec<u8>,
    ) {
        let ip = match seen.ip() {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            std::net::IpAddr::V6(v6) => v6,
        };
        out.push(KIND_ANSWER);
        out.extend_from_slice(&token.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&ip.octets());
        out.extend_from_slice(&seen.port().to_be_bytes());
        out.extend_from_slice(&arrived.opened.to_be_bytes());
        out.extend_from_slice(&arrived.forged.to_be_bytes());
    }
}

impl Arrived {
    fn decode(b: &[u8]) -> Option<Self> {
        let (opened, rest) = b.split_first_chunk()?;
        let (forged, _) = rest.split_first_chunk()?;
        Some(Self { opened: u64::from_be_bytes(*opened), forged: u64::from_be_bytes(*forged) })
    }
}

#[cfg(test)]
mod tests;
