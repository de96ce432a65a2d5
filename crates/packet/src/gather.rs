//! Gathering the UDP datagrams of one flow into a super-frame, so that the kernel carries them to a container as one.
//!
//! It is what generic receive offload does for a network card (`udp_gro_receive` of Linux), and the inverse of what the kernel
//! then does at the container's socket (`__udp_gso_segment`). Each datagram keeps its payload, its length and its place; the
//! IPv4 identification of datagrams that must not be fragmented may change, which nobody may look at (RFC 6864 section 4.1).

use crate::bytes::u16_at;
use crate::checksum::{Sum, adjust_partial};
use crate::layout::{DONT_FRAGMENT, Layout, Piece};
use crate::superframe::MAX_FRAME;
use crate::train::MAX_SLICES;
use crate::vnet::VnetHdr;

/// Ports of DHCP (RFC 2131 section 4.1) and DHCPv6 (RFC 8415 section 7.2).
const DHCP: [u16; 4] = [67, 68, 546, 547];

/// Gathers frames of one sender. Given out as [`Joiner`](crate::Joiner) does: virtio-net header in host order, then the frame.
#[derive(Default)]
pub struct Gatherer {
    /// Virtio-net header, headers, payloads so far. Taken with the first datagram, for as many as there will be.
    buf: Vec<u8>,
    run: Option<Run>,
}

/// Datagrams waiting in the buffer, behind the headers of the first.
#[derive(Clone, Copy)]
struct Run {
    /// The first datagram's.
    layout: Layout,
    datagrams: usize,
}

impl Gatherer {
    /// A gatherer that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an ordinary frame if it is a UDP datagram with an open checksum. Calls `out` with what this completes or
    /// interrupts. On `false` the frame was not taken, nothing is held any more, and the caller gives it out itself.
    #[inline]
    pub fn push(&mut self, hdr: &VnetHdr, frame: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
        let Some(layout) = datagram(hdr, frame) else {
            self.flush(out);
            return false;
        };
        match &mut self.run {
            Some(run) if run.continues(&self.buf, &layout, frame) => {
                self.buf.extend_from_slice(frame.get(layout.headers()..).unwrap_or_default());
                run.datagrams += 1;
            }
            _ => {
                self.flush(out);
                self.start(layout, frame);
            }
        }
        let full = self.run.is_some_and(|run| {
            // Only the last datagram may be shorter (udp(7), UDP_SEGMENT).
            run.datagrams == MAX_SLICES || layout.payload() < run.layout.payload()
        });
        if full {
            self.flush(out);
        }
        true
    }

    /// Gives out what has been gathered. Due before anything else of this sender goes to the TAP, and at the end of a batch: a
    /// datagram never waits for the network.
    #[inline]
    pub fn flush(&mut self, out: &mut impl FnMut(&[u8])) {
        let Some(Run { layout, datagrams }) = self.run.take() else { return };
        let end = VnetHdr::LEN + layout.headers();
        let piece = Piece { offset: 0, payload: self.buf.len().saturating_sub(end), last: true };
        if datagrams > 1
            && let Some(headers) = self.buf.get_mut(VnetHdr::LEN..end)
        {
            layout.rewrite(headers, piece);
        }
        if let Some(room) = self.buf.first_chunk_mut() {
            layout.vnet_hdr(piece).write_host(room);
        }
        out(&self.buf);
    }

    /// Whether there is nothing to flush.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.run.is_none()
    }

    fn start(&mut self, layout: Layout, frame: &[u8]) {
        self.buf.clear();
        self.buf.extend_from_slice(&[0; VnetHdr::LEN]);
        self.buf.extend_from_slice(frame);
        self.run = Some(Run { layout, datagrams: 1 });
    }
}

impl Run {
    /// Whether the datagram belongs to the flow and goes behind what is there.
    fn continues(&self, buf: &[u8], next: &Layout, frame: &[u8]) -> bool {
        let first = &self.layout;
        let (network, start, headers) = (first.network(), first.start(), first.headers());
        let same_places = (next.network(), next.start(), next.headers()) == (network, start, headers);
        if !same_places
            || next.payload() > first.payload()
            || buf.len() - VnetHdr::LEN + next.payload() > MAX_FRAME
        {
            return false;
        }
        let (Some(ours), Some(theirs)) =
            (buf.get(VnetHdr::LEN..VnetHdr::LEN + headers), frame.get(..headers))
        else {
            return false;
        };
        let same = |from: usize, to: usize| ours.get(from..to) == theirs.get(from..to);
        let network_fits = if first.is_ipv4() {
            same(0, network + 2)
                && same(network + 6, network + 10)
                && same(network + 12, start)
                && self.identification_fits(ours, theirs)
        } else {
            same(0, network + 4) && same(network + 6, start)
        };
        network_fits && same(start, start + 4) && self.sum_fits(ours, theirs)
    }

    /// IPv4 numbers datagrams; segments will be numbered one by one. Of datagrams that must not be fragmented all may also have
    /// one number, which then means nothing.
    fn identification_fits(&self, ours: &[u8], theirs: &[u8]) -> bool {
        let network = self.layout.network();
        let (Some(first), Some(this), Some(flags)) =
            (u16_at(ours, network + 4), u16_at(theirs, network + 4), u16_at(theirs, network + 6))
        else {
            return false;
        };
        this == first.wrapping_add(self.datagrams as u16) || (this == first && flags & DONT_FRAGMENT != 0)
    }

    /// Both hold the sum of one pseudo-header but for the length.
    fn sum_fits(&self, ours: &[u8], theirs: &[u8]) -> bool {
        let start = self.layout.start();
        let (Some(our_sum), Some(our_len), Some(sum), Some(len)) = (
            u16_at(ours, start + 6),
            u16_at(ours, start + 4),
            u16_at(theirs, start + 6),
            u16_at(theirs, start + 4),
        ) else {
            return false;
        };
        sum == adjust_partial(our_sum, our_len, len)
    }
}

/// The anatomy of a frame that can be gathered: UDP with an open checksum, not a fragment, nothing behind its end, and an IPv4
/// header whose own checksum is right, because it will be made anew.
///
/// DHCP is left alone: its clients read packet sockets, where super-frames are not taken apart.
#[inline]
fn datagram(hdr: &VnetHdr, frame: &[u8]) -> Option<Layout> {
    if hdr.flags != VnetHdr::NEEDS_CSUM || hdr.gso_type != VnetHdr::GSO_NONE {
        return None;
    }
    let port = |at| u16_at(frame, usize::from(hdr.csum_start) + at);
    if [port(0)?, port(2)?].iter().any(|port| DHCP.contains(port)) {
        return None;
    }
    let payload = frame.len().checked_sub(usize::from(hdr.csum_start) + 8).filter(|n| *n > 0)?;
    let layout = Layout::of(VnetHdr::GSO_UDP_L4, u16::try_from(payload).ok()?, hdr.csum_start, frame).ok()?;
    let sound = layout.total() == frame.len()
        && layout.vnet_hdr(layout.whole()).csum_offset == hdr.csum_offset
        && (!layout.is_ipv4() || frame.get(layout.network()..layout.start()).map(Sum::of)?.fold() == 0xffff);
    sound.then_some(layout)
}
