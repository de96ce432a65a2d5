//! The answer to a packet that does not fit: ICMP "fragmentation needed" (RFC 1191 section 4) and ICMPv6 "packet too big" (RFC 4443
//! section 3.2, RFC 8201).
//!
//! It comes from the very addresses that the packet went to, on Ethernet and in IP. The network here is one Ethernet: there is
//! no router on the way with an address of its own, and the bridge need not have one. The sender accepts it from any address:
//! what counts is the packet that is quoted, which shows that the answer is to something it sent. And these addresses are where
//! the bridge expects them, behind the port the answer comes from.

use crate::bytes::{change_u16, u16_at};
use crate::checksum::Sum;
use crate::ethernet;
use crate::fragment::IPV4_LEAST_MTU;
use crate::layout::{DONT_FRAGMENT, FRAGMENT_OFFSET, ICMP, ICMPV6, IPV4_MIN, IPV6_FIXED};
use crate::superframe::SuperFrame;
use crate::vnet::VnetHdr;

/// The ICMP header of either answer.
const ICMP_LEN: usize = 8;

/// The longest answer of each, from its IP header on (RFC 1812 section 4.3.2.3, RFC 4443 section 3.2).
const MAX_V4: usize = 576;
const MAX_V6: usize = 1280;
/// No sender makes its packets shorter than this (RFC 8201 section 4), so that it is useless to say less.
const IPV6_LEAST_MTU: usize = 1280;

const HOP_LIMIT: u8 = 64;
/// Precedence 6, "internetwork control" (RFC 1812 section 4.3.2.5).
const CONTROL: u8 = 0xc0;

/// Extension headers looked behind at most.
const MAX_EXTENSIONS: usize = 8;

/// What tells the sender of a frame that its packets have to fit frames of `max_frame` bytes: an empty virtio-net header, then
/// the answer as an Ethernet frame. A super-frame is answered as its first segment.
///
/// `None` for what nobody answers (RFC 1122 section 3.2.2, RFC 4443 section 2.4): an error of ICMP, what went to or came from a
/// group, a fragment other than the first; and for what fits, what may be fragmented, and what is not IP.
///
/// How often to answer is the caller's affair.
pub fn too_big(frame: &SuperFrame<'_>, max_frame: usize) -> Option<Vec<u8>> {
    let content = ethernet::ethertype(frame.frame())?;
    let (dst, src) = (ethernet::dst(frame.frame())?, ethernet::src(frame.frame())?);
    if dst.is_multicast() || src.is_multicast() {
        return None;
    }
    let mtu = max_frame.checked_sub(content.offset)?;
    let mut packet = Vec::new();
    frame.segment_into(0, &mut packet).ok()?;
    let packet = packet.get(content.offset..)?;

    let mut answer = vec![0; VnetHdr::LEN];
    answer.extend_from_slice(&src.bytes());
    answer.extend_from_slice(&dst.bytes());
    // Ethertype, and tags before it.
    answer.extend_from_slice(frame.frame().get(ethernet::HEADER_LEN - 2..content.offset)?);
    match content.ethertype {
        ethernet::IPV4 => answer_v4(packet, mtu, &mut answer)?,
        ethernet::IPV6 => answer_v6(packet, mtu, &mut answer)?,
        _ => return None,
    }
    Some(answer)
}

fn answer_v4(packet: &[u8], mtu: usize, answer: &mut Vec<u8>) -> Option<()> {
    let header: &[u8; IPV4_MIN] = packet.first_chunk()?;
    let len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16_at(header, 2)?);
    let place = u16_at(header, 6)?;
    let sound = header[0] >> 4 == 4 && len >= IPV4_MIN && total >= len && total <= packet.len();
    let (&src, &dst) = (header.get(12..16)?.first_chunk()?, header.get(16..20)?.first_chunk()?);
    if !sound || place & FRAGMENT_OFFSET != 0 || !one_host(src) || !one_host(dst) {
        return None;
    }
    if header[9] == ICMP && matches!(*packet.get(len)?, 3 | 4 | 5 | 11 | 12) {
        return None;
    }
    if place & DONT_FRAGMENT == 0 || total <= mtu || mtu < IPV4_LEAST_MTU {
        return None;
    }
    // Less than `total`, which has 16 bits.
    let [high, low] = (mtu as u16).to_be_bytes();
    let quote = packet.get(..total.min(MAX_V4 - IPV4_MIN - ICMP_LEN))?;
    let [len_high, len_low] = ((IPV4_MIN + ICMP_LEN + quote.len()) as u16).to_be_bytes();

    let start = answer.len();
    answer.extend_from_slice(&[0x45, CONTROL, len_high, len_low, 0, 0, 0x40, 0, HOP_LIMIT, ICMP, 0, 0]);
    answer.extend_from_slice(&dst);
    answer.extend_from_slice(&src);
    let sum = Sum::of(answer.get(start..)?).checksum();
    change_u16(answer, start + 10, |_| sum);

    let start = answer.len();
    answer.extend_from_slice(&[3, 4, 0, 0, 0, 0, high, low]);
    answer.extend_from_slice(quote);
    let sum = Sum::of(answer.get(start..)?).checksum();
    change_u16(answer, start + 2, |_| sum);
    Some(())
}

fn answer_v6(packet: &[u8], mtu: usize, answer: &mut Vec<u8>) -> Option<()> {
    let header: &[u8; IPV6_FIXED] = packet.first_chunk()?;
    let total = IPV6_FIXED + usize::from(u16_at(header, 4)?);
    let (src, dst) = (header.get(8..24)?, header.get(24..40)?);
    let group = |address: &[u8]| address.first() == Some(&0xff);
    let unspecified = |address: &[u8]| address.iter().all(|byte| *byte == 0);
    let mtu = mtu.max(IPV6_LEAST_MTU);
    if header[0] >> 4 != 6 || total > packet.len() || total <= mtu {
        return None;
    }
    if group(src) || unspecified(src) || group(dst) || unspecified(dst) {
        return None;
    }
    let (protocol, at) = upper(packet)?;
    // Errors are those below 128; a redirect counts as one.
    if protocol == ICMPV6 && matches!(*packet.get(at)?, 0..=127 | 137) {
        return None;
    }
    let quote = packet.get(..total.min(MAX_V6 - IPV6_FIXED - ICMP_LEN))?;
    // At most MAX_V6; the MTU is below `total`, which has 17 bits.
    let len = (ICMP_LEN + quote.len()) as u16;

    answer.extend_from_slice(&[0x60, 0, 0, 0]);
    answer.extend_from_slice(&len.to_be_bytes());
    answer.extend_from_slice(&[ICMPV6, HOP_LIMIT]);
    answer.extend_from_slice(dst);
    answer.extend_from_slice(src);
    let start = answer.len();
    answer.extend_from_slice(&[2, 0, 0, 0]);
    answer.extend_from_slice(&(mtu as u32).to_be_bytes());
    answer.extend_from_slice(quote);
    let pseudo = Sum::of(dst).and(src).and(&len.to_be_bytes()).and(&[0, ICMPV6]);
    let sum = pseudo.and(answer.get(start..)?).checksum();
    change_u16(answer, start + 2, |_| sum);
    Some(())
}

/// Whether an address can be that of a single host: not "this network", loopback, a group, or what is reserved beyond.
const fn one_host(address: [u8; 4]) -> bool {
    !matches!(address[0], 0 | 127 | 224..=255)
}

/// What is behind the extension headers of a packet, and where; `None` for a fragment other than the first.
fn upper(packet: &[u8]) -> Option<(u8, usize)> {
    let (mut protocol, mut at) = (*packet.get(6)?, IPV6_FIXED);
    for _ in 0..MAX_EXTENSIONS {
        let len = match protocol {
            // Hop-by-hop options, routing, destination options (RFC 8200 section 4).
            0 | 43 | 60 => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            // A fragment; the lowest three bits beside its offset are flags.
            44 if u16_at(packet, at + 2)? >> 3 == 0 => 8,
            44 => return None,
            // Authentication (RFC 4302 section 2.2).
            51 => (usize::from(*packet.get(at + 1)?) + 2) * 4,
            _ => return Some((protocol, at)),
        };
        protocol = *packet.get(at)?;
        at += len;
    }
    None
}
