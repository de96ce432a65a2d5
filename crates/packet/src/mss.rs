//! The maximum segment size in TCP's SYN, lowered to what a path carries (RFC 9293 section 3.7.1, RFC 6691).
//!
//! So that new connections fit from their first segment on, whatever MTU their ends believe in. A SYN without the option
//! stays without: what it stands for, 536 bytes over IPv4 and 1220 over IPv6, fits nearly every path, no system in use leaves
//! it out, and adding it would lengthen the frame. What is too long all the same is cut or answered like any other frame.

use crate::bytes::{change_u16, u16_at};
use crate::checksum::adjust;
use crate::ethernet;
use crate::layout::{IPV4_MIN, IPV6_FIXED, TCP, TCP_CHECKSUM, TCP_FLAGS, TCP_MIN, network};
use crate::superframe::SuperFrame;
use crate::vnet::VnetHdr;

/// The least payload that is asked of a segment, in bytes: what Linux holds for the least (`TCP_MIN_MSS`). A path with less
/// room is none for TCP.
pub(crate) const LEAST_MSS: usize = 88;

pub(crate) const TCP_SYN: u8 = 0x02;

/// Kinds of TCP options (RFC 9293 section 3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;

/// Ethernet, IPv4 and TCP, each without tags and options.
const PLAIN_V4: usize = ethernet::HEADER_LEN + IPV4_MIN + TCP_MIN;

impl SuperFrame<'_> {
    /// Whether [`clamp_mss`] should look at it. The answer is yes for every whole SYN, and no for nearly everything else.
    ///
    /// It is asked of each frame, so what most frames are is told apart by their bytes alone.
    #[inline]
    pub fn may_be_syn(&self) -> bool {
        const FLAGS: usize = ethernet::HEADER_LEN + IPV4_MIN + TCP_FLAGS;
        let Some(head) = self.frame().first_chunk::<PLAIN_V4>() else { return false };
        if u16::from_be_bytes([head[12], head[13]]) == ethernet::IPV4 && head[14] == 0x45 {
            return head[FLAGS] & TCP_SYN != 0 && head[23] == TCP;
        }
        is_syn(self.frame())
    }
}

/// The same for frames with VLAN tags, options or IPv6.
#[inline(never)]
fn is_syn(frame: &[u8]) -> bool {
    syn(frame).is_some()
}

/// Lowers the maximum segment size that a SYN announces so that segments of that size fit frames of `max_frame` bytes. Whether
/// it did: what announces less, or nothing, or is no SYN, stays as it is, and so does a fragment.
///
/// An open checksum covers the option when it is completed; any other is adjusted, and is as right or wrong as before.
pub fn clamp_mss(hdr: &VnetHdr, frame: &mut [u8], max_frame: usize) -> bool {
    let Some(Syn { start, options, most }) = syn(frame) else { return false };
    // Nobody else's checksum can be adjusted here: that of a tunnel around it, say.
    if hdr.needs_csum() && (usize::from(hdr.csum_start), hdr.csum_offset) != (start, TCP_CHECKSUM) {
        return false;
    }
    let Some(limit) = max_frame.checked_sub(most).filter(|limit| *limit >= LEAST_MSS) else { return false };
    // What does not fit 16 bits is no limit.
    let Ok(limit) = u16::try_from(limit) else { return false };
    let (mut at, mut changed) = (start + TCP_MIN, false);
    while let Some(field) = next_mss(frame, &mut at, options) {
        let Some(old) = u16_at(frame, field).filter(|old| *old > limit) else { continue };
        change_u16(frame, field, |_| limit);
        if !hdr.needs_csum() {
            // A field at an odd place is in the sum with its bytes exchanged (RFC 1071 section 2 B).
            let odd = (field - start) % 2 != 0;
            let [old, new] = [old, limit].map(|n| if odd { n.swap_bytes() } else { n });
            change_u16(frame, start + usize::from(TCP_CHECKSUM), |sum| adjust(sum, old, new));
        }
        changed = true;
    }
    changed
}

/// Where things are in a SYN.
struct Syn {
    start: usize,
    /// Where its options end.
    options: usize,
    /// Length of the headers that a segment has without options: what its size does not count (RFC 6691).
    most: usize,
}

fn syn(frame: &[u8]) -> Option<Syn> {
    let (content, ip) = network(frame)?;
    let flags = *frame.get(ip.end + TCP_FLAGS)?;
    if ip.protocol != TCP || flags & TCP_SYN == 0 {
        return None;
    }
    let options = ip.end + usize::from(frame.get(ip.end + 12)? >> 4) * 4;
    let fixed = if content.ethertype == ethernet::IPV4 { IPV4_MIN } else { IPV6_FIXED };
    let whole = options >= ip.end + TCP_MIN && options <= ip.total.min(frame.len());
    whole.then_some(Syn { start: ip.end, options, most: content.offset + fixed + TCP_MIN })
}

/// Where the next size is announced, from `at` on, which is moved behind it.
fn next_mss(frame: &[u8], at: &mut usize, end: usize) -> Option<usize> {
    while *at < end {
        let here = *at;
        match *frame.get(here)? {
            END => return None,
            NOTHING => *at += 1,
            kind => {
                let len = *frame.get(here + 1)?;
                *at += usize::from(len);
                if len < 2 || *at > end {
                    return None;
                }
                if (kind, len) == (MSS, MSS_LEN) {
                    return Some(here + 2);
                }
            }
        }
    }
    None
}
