//! Fragments of IPv4 datagrams (RFC 791 section 3.2), for those that say that they may be fragmented.

use crate::bytes::{change_u16, u16_at};
use crate::checksum::Sum;
use crate::ethernet;
use crate::layout::{DONT_FRAGMENT, FRAGMENT_OFFSET, IPV4_MIN, MORE_FRAGMENTS};
use crate::superframe::SuperFrame;
use crate::vnet::VnetHdr;

/// Every path that carries IPv4 carries packets of this many bytes (RFC 791 section 3.2).
pub(crate) const IPV4_LEAST_MTU: usize = 68;

/// Unit of a fragment's offset, in bytes.
const UNIT: usize = 8;

/// The longest datagram, header included, as fragments are put together again.
const MAX_DATAGRAM: usize = u16::MAX as usize;

/// Options of IPv4: two without a length, and the bit of those that each fragment repeats.
const END: u8 = 0;
const NOTHING: u8 = 1;
const COPIED: u8 = 0x80;

/// Cuts a frame into fragments that fit frames of `max_frame` bytes, and gives them out in order: an empty virtio-net header,
/// then the frame. A super-frame is cut into its segments before, so that each is a datagram of its own.
///
/// `false` if it is not IPv4, may not be fragmented, or has headers that are not sound; then nothing was given out.
pub fn fragment(frame: &SuperFrame<'_>, max_frame: usize, out: &mut impl FnMut(&[u8])) -> bool {
    let mut datagram = Vec::new();
    for index in 0..frame.segments() {
        // Fragments have no checksum of their own: that of the datagram has to be complete.
        if frame.segment_into(index, &mut datagram).is_err() {
            return false;
        }
        // The headers of all segments are alike: either the first one fails, or none.
        let Some(cut) = Cut::of(&datagram, max_frame) else { return false };
        cut.each(&datagram, out);
    }
    true
}

/// How a datagram is cut.
struct Cut {
    /// Where the IP header begins.
    network: usize,
    /// Length of the IP header.
    header: usize,
    /// Where the datagram ends; what is behind is padding.
    end: usize,
    /// Flags and offset it has itself: it may be a fragment.
    place: u16,
    /// Payload bytes of each fragment but the last.
    size: usize,
    /// The header of all fragments but the first.
    later: Vec<u8>,
}

impl Cut {
    fn of(datagram: &[u8], max_frame: usize) -> Option<Self> {
        let content = ethernet::ethertype(datagram).filter(|c| c.ethertype == ethernet::IPV4)?;
        let network = content.offset;
        let first = *datagram.get(network)?;
        let header = usize::from(first & 0x0f) * 4;
        let total = usize::from(u16_at(datagram, network + 2)?);
        let place = u16_at(datagram, network + 6)?;
        let end = network + total;
        if first >> 4 != 4 || header < IPV4_MIN || total < header || end > datagram.len() {
            return None;
        }
        let bytes = datagram.get(network..network + header)?;
        let length_fits = usize::from(place & FRAGMENT_OFFSET) * UNIT + total <= MAX_DATAGRAM;
        // The checksum is made anew, which must not hide that it was wrong.
        if place & DONT_FRAGMENT != 0 || !length_fits || Sum::of(bytes).fold() != 0xffff {
            return None;
        }
        let mtu = max_frame.checked_sub(network).filter(|mtu| *mtu >= IPV4_LEAST_MTU)?;
        // At least a unit: no header is longer than 60 bytes.
        let size = (mtu - header) / UNIT * UNIT;
        // One that fits as it is: the last segment of a super-frame.
        let size = if total <= mtu { total } else { size };
        Some(Self { network, header, end, place, size, later: later_header(bytes)? })
    }

    fn each(&self, datagram: &[u8], out: &mut impl FnMut(&[u8])) {
        let (Some(ethernet), Some(first), Some(payload)) = (
            datagram.get(..self.network),
            datagram.get(self.network..self.network + self.header),
            datagram.get(self.network + self.header..self.end),
        ) else {
            return;
        };
        let mut fragment = Vec::with_capacity(VnetHdr::LEN + self.network + self.header + self.size);
        let mut offset = 0;
        loop {
            let rest = payload.get(offset..).unwrap_or_default();
            let piece = rest.get(..self.size).unwrap_or(rest);
            let header = if offset == 0 { first } else { &self.later };
            fragment.clear();
            fragment.extend_from_slice(&[0; VnetHdr::LEN]);
            fragment.extend_from_slice(ethernet);
            let at = fragment.len();
            fragment.extend_from_slice(header);
            let last = piece.len() == rest.len();
            let more = if last { 0 } else { MORE_FRAGMENTS };
            // Both are below MAX_DATAGRAM, the offset in units below 2^13.
            change_u16(&mut fragment, at + 2, |_| (header.len() + piece.len()) as u16);
            change_u16(&mut fragment, at + 6, |_| (self.place + (offset / UNIT) as u16) | more);
            change_u16(&mut fragment, at + 10, |_| 0);
            let sum = Sum::of(fragment.get(at..).unwrap_or_default());
            change_u16(&mut fragment, at + 10, |_| sum.checksum());
            fragment.extend_from_slice(piece);
            out(&fragment);
            if last {
                return;
            }
            offset += piece.len();
        }
    }
}

/// The header without the options that only the first fragment has; `None` if an option does not end where the header does.
fn later_header(header: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut options) = header.split_at_checked(IPV4_MIN)?;
    let mut later = fixed.to_vec();
    while let Some(&kind) = options.first() {
        let len = match kind {
            END => break,
            NOTHING => 1,
            _ => usize::from(*options.get(1)?),
        };
        let (option, rest) = options.split_at_checked(len).filter(|_| kind == NOTHING || len >= 2)?;
        if kind & COPIED != 0 {
            later.extend_from_slice(option);
        }
        options = rest;
    }
    later.resize(later.len().next_multiple_of(4), END);
    // At most 60 bytes, which are 15 words.
    let words = (later.len() / 4) as u8;
    *later.first_mut()? = 0x40 | words;
    Some(later)
}
