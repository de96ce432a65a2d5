//! Where the headers of a super-frame lie, and what has to change in them when a piece of its payload travels alone.

use crate::bytes::{change_u16, change_u32, u16_at};
use crate::checksum::{Sum, adjust_partial};
use crate::ethernet;
use crate::superframe::{FrameError, MAX_FRAME};
use crate::vnet::VnetHdr;

/// The longest headers a super-frame may have, in bytes. Two VLAN tags, IPv6 and TCP with all their options come to
/// 122; the rest is room for IPv6 extension headers. Every slice repeats the headers, so much more would not fit.
pub const MAX_HEADERS: usize = 256;

/// Where the TCP checksum is, from the start of the TCP header (RFC 9293 section 3.1).
pub(crate) const TCP_CHECKSUM: u16 = 16;
/// Where the UDP checksum is, from the start of the UDP header (RFC 768).
pub(crate) const UDP_CHECKSUM: u16 = 6;

pub(crate) const IPV4_MIN: usize = 20;
/// Flags of IPv4, and where in its datagram a fragment belongs, in units of 8 bytes (RFC 791 section 3.1).
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;
/// What a fragment has at least one of.
pub(crate) const FRAGMENTED: u16 = MORE_FRAGMENTS | FRAGMENT_OFFSET;

pub(crate) const IPV6_FIXED: usize = 40;
pub(crate) const TCP_MIN: usize = 20;
const UDP_LEN: usize = 8;

/// Numbers in an IP header (IANA, Assigned Internet Protocol Numbers).
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
/// Where the flags are, from the start of the TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
/// Flags of the TCP header that say something about one segment only.
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_CWR: u8 = 0x80;

/// GSO_BY_FRAGS of Linux: a `gso_size` with another meaning, never a number of bytes.
const GSO_BY_FRAGS: u16 = 0xffff;

/// Extension headers walked at most; each has at least 8 bytes, so this is what [`MAX_HEADERS`] has room for.
const MAX_EXTENSIONS: usize = MAX_HEADERS / 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ip {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// The anatomy of a super-frame, read from its headers alone and agreeing with itself. Offsets count from the start of
/// the Ethernet header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    ip: Ip,
    transport: Transport,
    network: usize,
    start: usize,
    headers: usize,
    total: usize,
    gso_type: u8,
    gso_size: u16,
}

/// A part of a super-frame's payload that becomes a frame of its own. Of UDP it is whole datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Payload bytes before it.
    pub offset: usize,
    /// Payload bytes in it.
    pub payload: usize,
    /// Whether it goes to the end.
    pub last: bool,
}

impl Layout {
    /// Reads the headers at the beginning of `bytes`. The bytes may end with the headers or go on with payload.
    ///
    /// What is accepted here, `virtio_net_hdr_to_skb` of Linux accepts too (but for the number of UDP segments, which
    /// it limits to 64 or 128 depending on its version). Each header agrees with the others about where the frame
    /// ends: pieces are made by arithmetic on these lengths.
    pub(crate) fn of(gso_type: u8, gso_size: u16, start: u16, bytes: &[u8]) -> Result<Self, FrameError> {
        if gso_size == 0 || gso_size == GSO_BY_FRAGS {
            return Err(FrameError::GsoSize(gso_size));
        }
        let content = ethernet::ethertype(bytes).ok_or(FrameError::NetworkHeader)?;
        let mismatch = FrameError::Ethertype { gso_type, ethertype: content.ethertype };
        let (ip, transport) = match (gso_type & !VnetHdr::ECN, content.ethertype) {
            (VnetHdr::GSO_TCPV4, ethernet::IPV4) => (Ip::V4, Transport::Tcp),
            (VnetHdr::GSO_TCPV6, ethernet::IPV6) => (Ip::V6, Transport::Tcp),
            (VnetHdr::GSO_UDP_L4, _) if gso_type & VnetHdr::ECN != 0 => {
                return Err(FrameError::GsoType(gso_type));
            }
            (VnetHdr::GSO_UDP_L4, ethernet::IPV4) => (Ip::V4, Transport::Udp),
            (VnetHdr::GSO_UDP_L4, ethernet::IPV6) => (Ip::V6, Transport::Udp),
            (VnetHdr::GSO_TCPV4 | VnetHdr::GSO_TCPV6 | VnetHdr::GSO_UDP_L4, _) => return Err(mismatch),
            (_, _) => return Err(FrameError::GsoType(gso_type)),
        };

        let network = content.offset;
        let Network { protocol, end: found, total } = match ip {
            Ip::V4 => ipv4(bytes, network),
            Ip::V6 => ipv6(bytes, network),
        }?;
        let start = usize::from(start);
        if found != start || protocol != transport.protocol() {
            return Err(FrameError::Protocol { protocol, found, start });
        }

        let headers = start + transport.header_len(bytes, start).ok_or(FrameError::TransportHeader)?;
        if headers > MAX_HEADERS {
            return Err(FrameError::Headers { len: headers });
        }
        if headers > bytes.len() {
            return Err(FrameError::TransportHeader);
        }
        if total > MAX_FRAME {
            return Err(FrameError::Long { len: total });
        }
        if headers > total {
            return Err(FrameError::Length { announced: total, len: headers });
        }
        if transport == Transport::Udp && u16_at(bytes, start + 4).map(usize::from) != Some(total - start) {
            return Err(FrameError::UdpLength);
        }
        Ok(Self { ip, transport, network, start, headers, total, gso_type, gso_size })
    }

    /// Where the IP header begins.
    #[inline]
    pub(crate) fn network(&self) -> usize {
        self.network
    }

    /// Whether that is IPv4.
    #[inline]
    pub(crate) fn is_ipv4(&self) -> bool {
        self.ip == Ip::V4
    }

    /// Length of the headers that each segment repeats: Ethernet, IP and TCP or UDP.
    #[inline]
    pub(crate) fn headers(&self) -> usize {
        self.headers
    }

    /// Where the TCP or UDP header begins.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Payload bytes of each segment but the last.
    #[inline]
    pub(crate) fn gso_size(&self) -> usize {
        self.gso_size.into()
    }

    /// Length of the whole super-frame, as its IP header announces it.
    #[inline]
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Number of segments; one for a frame without payload.
    #[inline]
    pub(crate) fn segments(&self) -> usize {
        self.payload().div_ceil(self.gso_size.into()).max(1)
    }

    /// Payload bytes in part `number` of those that have `share` each, the last one maybe fewer.
    #[inline]
    pub(crate) fn part_len(&self, number: u8, share: usize) -> usize {
        self.payload().saturating_sub(share.saturating_mul(number.into())).min(share)
    }

    /// Whether the payload is a stream, which may be cut anywhere.
    #[inline]
    pub(crate) fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// Payload bytes of the whole super-frame.
    #[inline]
    pub(crate) fn payload(&self) -> usize {
        self.total - self.headers
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Piece {
        Piece { offset: 0, payload: self.payload(), last: true }
    }

    /// The gso type of a piece: the ECN bit goes with the first segment.
    pub(crate) fn gso_type(&self, piece: Piece) -> u8 {
        if piece.offset == 0 { self.gso_type } else { self.gso_type & !VnetHdr::ECN }
    }

    /// The virtio-net header of a piece: one segment is an ordinary frame, several are a smaller super-frame.
    pub(crate) fn vnet_hdr(&self, piece: Piece) -> VnetHdr {
        // `of` had the start as u16 and bounded the headers.
        let partial = VnetHdr::partial(self.start as u16, self.transport.checksum_offset());
        if piece.payload <= self.gso_size.into() {
            return partial;
        }
        VnetHdr {
            gso_type: self.gso_type(piece),
            gso_size: self.gso_size,
            hdr_len: self.headers as u16,
            ..partial
        }
    }

    /// Turns the headers of the super-frame into those of a piece of it, its checksum still partial.
    ///
    /// This is what the kernel does to each segment (`inet_gso_segment`, `tcp_gso_segment`, `__udp_gso_segment`): IPv4
    /// identification and TCP sequence number count on, FIN and PSH belong to the last segment, CWR to the first (RFC
    /// 3168 section 6.1.2), and the lengths become the piece's own, also in the pseudo-header's sum.
    pub(crate) fn rewrite(&self, headers: &mut [u8], piece: Piece) {
        let total = self.headers + piece.payload;
        let (network, start) = (self.network, self.start);
        // Lengths are below MAX_FRAME less an Ethernet header: they fit 16 bits.
        let old_len = (self.total - start) as u16;
        let new_len = (total - start) as u16;

        match self.ip {
            Ip::V4 => {
                change_u16(headers, network + 2, |_| (total - network) as u16);
                let before = piece.offset.div_ceil(self.gso_size.into());
                change_u16(headers, network + 4, |id| id.wrapping_add(before as u16));
                change_u16(headers, network + 10, |_| 0);
                let sum = headers.get(network..start).map(Sum::of).unwrap_or_default();
                change_u16(headers, network + 10, |_| sum.checksum());
            }
            Ip::V6 => change_u16(headers, network + 4, |_| (total - network - IPV6_FIXED) as u16),
        }
        match self.transport {
            Transport::Tcp => {
                // Below MAX_FRAME.
                let skipped = piece.offset as u32;
                change_u32(headers, start + 4, |sequence| sequence.wrapping_add(skipped));
                if let Some(flags) = headers.get_mut(start + TCP_FLAGS) {
                    *flags &= if piece.last { !0 } else { !(TCP_FIN | TCP_PSH) };
                    *flags &= if piece.offset == 0 { !0 } else { !TCP_CWR };
                }
            }
            Transport::Udp => change_u16(headers, start + 4, |_| new_len),
        }
        let check = start + usize::from(self.transport.checksum_offset());
        change_u16(headers, check, |sum| adjust_partial(sum, old_len, new_len));
    }
}

impl Transport {
    /// Number in the IP header.
    fn protocol(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }

    fn checksum_offset(self) -> u16 {
        match self {
            Self::Tcp => TCP_CHECKSUM,
            Self::Udp => UDP_CHECKSUM,
        }
    }

    /// Length of the header at `start`, which TCP states in units of 4 bytes.
    fn header_len(self, bytes: &[u8], start: usize) -> Option<usize> {
        match self {
            Self::Tcp => {
                let len = usize::from(*bytes.get(start + 12)? >> 4) * 4;
                (len >= TCP_MIN).then_some(len)
            }
            Self::Udp => Some(UDP_LEN),
        }
    }
}

/// The checksum offset that a GSO type has. Slices do not carry it (P4.7), so no other is accepted.
pub(crate) fn checksum_offset(gso_type: u8) -> u16 {
    match gso_type & !VnetHdr::ECN {
        VnetHdr::GSO_UDP_L4 => UDP_CHECKSUM,
        _ => TCP_CHECKSUM,
    }
}

/// What an IP header says about what follows it.
pub(crate) struct Network {
    /// Number of the protocol behind it.
    pub protocol: u8,
    /// Where that begins.
    pub end: usize,
    /// Where the packet ends.
    pub total: usize,
}

/// What the IP header of a frame says; `None` if there is none, or it is that of a fragment.
pub(crate) fn network(bytes: &[u8]) -> Option<(ethernet::Content, Network)> {
    let content = ethernet::ethertype(bytes)?;
    let network = match content.ethertype {
        ethernet::IPV4 => ipv4(bytes, content.offset).ok()?,
        ethernet::IPV6 => ipv6(bytes, content.offset).ok()?,
        _ => return None,
    };
    Some((content, network))
}

fn ipv4(bytes: &[u8], at: usize) -> Result<Network, FrameError> {
    let header: &[u8; IPV4_MIN] =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(FrameError::NetworkHeader)?;
    let len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || len < IPV4_MIN {
        return Err(FrameError::NetworkHeader);
    }
    if u16::from_be_bytes([header[6], header[7]]) & FRAGMENTED != 0 {
        return Err(FrameError::Fragment);
    }
    let total = at + usize::from(u16::from_be_bytes([header[2], header[3]]));
    Ok(Network { protocol: header[9], end: at + len, total })
}

/// Follows the same extension headers as the kernel's segmentation does: hop-by-hop options, routing, destination
/// options (RFC 8200 section 4).
fn ipv6(bytes: &[u8], at: usize) -> Result<Network, FrameError> {
    let header: &[u8; IPV6_FIXED] =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(FrameError::NetworkHeader)?;
    if header[0] >> 4 != 6 {
        return Err(FrameError::NetworkHeader);
    }
    let total = at + IPV6_FIXED + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut protocol = header[6];
    let mut end = at + IPV6_FIXED;
    for _ in 0..MAX_EXTENSIONS {
        match protocol {
            0 | 43 | 60 => {
                let &[next, units] =
                    bytes.get(end..).and_then(|rest| rest.first_chunk()).ok_or(FrameError::NetworkHeader)?;
                protocol = next;
                end += (usize::from(units) + 1) * 8;
            }
            44 => return Err(FrameError::Fragment),
            _ => break,
        }
    }
    Ok(Network { protocol, end, total })
}
