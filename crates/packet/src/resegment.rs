//! Smaller segments for a path with less room than a connection was made for.
//!
//! How much of a stream is in which segment means nothing in TCP, and each segment of a super-frame gets headers of its own
//! anyway: cutting it smaller loses nothing, and the connection need not know. The numbers that IPv4 counts on for segments
//! may then be used again by the next super-frame; they matter to fragments alone, and nobody cuts these segments further.

use crate::ethernet;
use crate::layout::{Layout, TCP_CWR, TCP_FLAGS};
use crate::mss::{LEAST_MSS, TCP_SYN};
use crate::superframe::SuperFrame;
use crate::vnet::VnetHdr;

const TCP_RST: u8 = 0x04;
const TCP_URG: u8 = 0x20;

impl SuperFrame<'_> {
    /// The same bytes of a TCP stream, to be cut into segments that fit frames of `max_frame` bytes. An ordinary frame that is
    /// longer becomes a super-frame, if its checksum is open.
    ///
    /// `None` for what cannot be cut: what is not TCP, a fragment, a segment with flags that concern all of it (SYN, RST, URG),
    /// and where no segment worth the name would fit.
    pub fn resegmented(&self, max_frame: usize) -> Option<Self> {
        let (hdr, frame) = (self.hdr(), self.frame());
        if !hdr.needs_csum() {
            return None;
        }
        let gso_type = match hdr.gso_kind() {
            VnetHdr::GSO_TCPV4 | VnetHdr::GSO_TCPV6 => hdr.gso_type,
            VnetHdr::GSO_NONE => {
                let flags = *frame.get(usize::from(hdr.csum_start) + TCP_FLAGS)?;
                let tcp = match ethernet::ethertype(frame)?.ethertype {
                    ethernet::IPV4 => VnetHdr::GSO_TCPV4,
                    ethernet::IPV6 => VnetHdr::GSO_TCPV6,
                    _ => return None,
                };
                if flags & (TCP_SYN | TCP_RST | TCP_URG) != 0 {
                    return None;
                }
                tcp | if flags & TCP_CWR != 0 { VnetHdr::ECN } else { 0 }
            }
            _ => return None,
        };
        let old = if hdr.gso_size == 0 { u16::MAX - 1 } else { hdr.gso_size };
        let headers = Layout::of(gso_type, old, hdr.csum_start, frame).ok()?.headers();
        let room = max_frame.checked_sub(headers).filter(|room| *room >= LEAST_MSS)?;
        let gso_size = old.min(u16::try_from(room).unwrap_or(old));
        Self::checked(VnetHdr { gso_type, gso_size, ..hdr }, frame).ok()
    }
}
