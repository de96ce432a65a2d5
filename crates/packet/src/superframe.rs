//! The gate: a frame and its virtio-net header, checked against each other.

use crate::ethernet;
use crate::layout::{Layout, checksum_offset};
use crate::vnet::VnetHdr;

/// The longest super-frame, in bytes, Ethernet header included (P4.6). It is the default `gso_max_size` of Linux.
pub const MAX_FRAME: usize = 65_536;

/// A frame that may still have its segmentation and its checksum before it.
///
/// It exists only if header and frame agree, so those who get one need not look again.
#[derive(Debug, Clone, Copy)]
pub struct SuperFrame<'a> {
    hdr: VnetHdr,
    frame: &'a [u8],
    layout: Option<Layout>,
}

/// Why a frame, or a virtio-net header with a frame, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// There is not even a virtio-net header. Whoever wrote the bytes speaks another format.
    #[error("{len} bytes cannot hold a virtio-net header of 10 bytes: is the TAP without IFF_VNET_HDR?")]
    NoVnetHdr {
        /// Bytes there are.
        len: usize,
    },
    /// Less than an Ethernet header.
    #[error("frame of {len} bytes is shorter than an Ethernet header (14 bytes)")]
    Short {
        /// Length of the frame.
        len: usize,
    },
    /// More than a super-frame can hold. The container's `gso_max_size` may have been raised above 65536.
    #[error("frame of {len} bytes is longer than the longest super-frame (65536 bytes)")]
    Long {
        /// Length of the frame.
        len: usize,
    },
    /// A flag this version gives no meaning to.
    #[error("virtio-net header has unknown flags ({0:#04x}), known are 1 and 2")]
    Flags(u8),
    /// A kind of segmentation that is unknown, or one that is no longer in use (UFO).
    #[error(
        "virtio-net header has gso type {0:#04x}; supported are 1 and 4 (TCP, with or without bit 0x80) and 5 (UDP)"
    )]
    GsoType(u8),
    /// No segment can have this size.
    #[error("virtio-net header has gso size {0}, which is no size of a segment")]
    GsoSize(u16),
    /// Segments need a checksum each, so the one of the super-frame must be open.
    #[error("virtio-net header asks for segments but not for a checksum")]
    GsoWithoutChecksum,
    /// The checksum lies outside the frame, or not where the protocol has it.
    #[error("checksum of the bytes from {start} on at offset {offset} does not fit the frame of {len} bytes")]
    Checksum {
        /// Where the bytes under the checksum begin.
        start: u16,
        /// Where it is stored, from there.
        offset: u16,
        /// Length of the frame.
        len: usize,
    },
    /// The frame carries something else than its gso type says.
    #[error("gso type {gso_type:#04x} does not fit a frame with ethertype {ethertype:#06x}")]
    Ethertype {
        /// Kind of segmentation asked for.
        gso_type: u8,
        /// What the frame carries.
        ethertype: u16,
    },
    /// The IP header is cut off, has the wrong version, or an impossible length.
    #[error("frame to be segmented has no whole IP header")]
    NetworkHeader,
    /// Fragments of a datagram have no TCP or UDP header each.
    #[error("frame to be segmented is a fragment of an IP datagram")]
    Fragment,
    /// TCP or UDP is not where the virtio-net header places it.
    #[error(
        "IP header leads to protocol {protocol} at byte {found}, but the virtio-net header points to byte {start}"
    )]
    Protocol {
        /// Number of the protocol that was found.
        protocol: u8,
        /// Where it was found.
        found: usize,
        /// Where it should be.
        start: usize,
    },
    /// The TCP or UDP header is cut off or has an impossible length.
    #[error("frame to be segmented has no whole TCP or UDP header")]
    TransportHeader,
    /// Headers too long to be repeated in every slice.
    #[error("headers of {len} bytes are longer than 256 bytes, too long to be repeated in every segment")]
    Headers {
        /// Their length.
        len: usize,
    },
    /// The IP header and the frame disagree about where the frame ends.
    #[error("IP header announces a frame of {announced} bytes, but it has {len}")]
    Length {
        /// What the IP header says, Ethernet header included.
        announced: usize,
        /// What there is.
        len: usize,
    },
    /// The UDP header disagrees with the IP header.
    #[error("UDP header announces another length than the IP header does")]
    UdpLength,
    /// Segments are numbered from zero.
    #[error("there is no segment {index} in a super-frame of {segments}")]
    Segment {
        /// Number asked for.
        index: usize,
        /// How many there are.
        segments: usize,
    },
}

impl<'a> SuperFrame<'a> {
    /// Checks a header against its frame; nothing in either is trusted.
    ///
    /// Fields without meaning for this frame become zero. A frame marked for segmentation that is no longer than one
    /// segment becomes an ordinary one, as in the kernel.
    ///
    /// # Errors
    /// What does not fit the frame is refused (P4.6); a [`FrameError`] says what.
    #[inline]
    pub fn checked(hdr: VnetHdr, frame: &'a [u8]) -> Result<Self, FrameError> {
        let len = frame.len();
        if len < ethernet::HEADER_LEN {
            return Err(FrameError::Short { len });
        }
        if len > MAX_FRAME {
            return Err(FrameError::Long { len });
        }
        if hdr.flags & !(VnetHdr::NEEDS_CSUM | VnetHdr::DATA_VALID) != 0 {
            return Err(FrameError::Flags(hdr.flags));
        }
        if hdr.gso_type != VnetHdr::GSO_NONE {
            return Self::segmented(hdr, frame);
        }
        let (mut csum_start, mut csum_offset) = (0, 0);
        if hdr.needs_csum() {
            (csum_start, csum_offset) = (hdr.csum_start, hdr.csum_offset);
            checksum_fits(csum_start, csum_offset, len)?;
        }
        let hdr = VnetHdr { flags: hdr.flags, csum_start, csum_offset, ..VnetHdr::default() };
        Ok(Self { hdr, frame, layout: None })
    }

    /// Takes what a TAP with virtio-net headers gives out: header in host order, then the frame.
    ///
    /// # Errors
    /// As [`checked`](Self::checked).
    #[inline]
    pub fn from_host(bytes: &'a [u8]) -> Result<Self, FrameError> {
        Self::behind(VnetHdr::parse_host(bytes), bytes)
    }

    /// Takes what a link carries: header in little-endian, then the frame (P4.6).
    ///
    /// # Errors
    /// As [`checked`](Self::checked).
    #[inline]
    pub fn from_le(bytes: &'a [u8]) -> Result<Self, FrameError> {
        Self::behind(VnetHdr::parse_le(bytes), bytes)
    }

    /// The virtio-net header, made canonical: for segmented frames `hdr_len` is right, for others it is zero.
    #[inline]
    pub fn hdr(&self) -> VnetHdr {
        self.hdr
    }

    /// The frame, from its Ethernet header on.
    #[inline]
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Length of the headers that every segment repeats, up to the end of TCP or UDP; `None` for an ordinary frame.
    #[inline]
    pub fn headers_len(&self) -> Option<usize> {
        self.layout.map(|layout| layout.headers())
    }

    /// Number of ordinary frames it becomes.
    #[inline]
    pub fn segments(&self) -> usize {
        self.layout.map_or(1, |layout| layout.segments())
    }

    /// Length of the longest ordinary frame it becomes: what must fit the path.
    #[inline]
    pub fn longest_segment(&self) -> usize {
        self.layout
            .map_or(self.frame.len(), |layout| layout.headers() + layout.part_len(0, layout.gso_size()))
    }

    /// The anatomy of a frame to be segmented; `None` for an ordinary one.
    #[inline]
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// The headers that every segment repeats; none for an ordinary frame.
    #[inline]
    pub(crate) fn headers(&self) -> &'a [u8] {
        self.split().0
    }

    /// What is to be cut; all of an ordinary frame.
    #[inline]
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.split().1
    }

    fn split(&self) -> (&'a [u8], &'a [u8]) {
        self.frame.split_at_checked(self.headers_len().unwrap_or(0)).unwrap_or((&[], self.frame))
    }

    fn behind(hdr: Option<VnetHdr>, bytes: &'a [u8]) -> Result<Self, FrameError> {
        match (hdr, bytes.get(VnetHdr::LEN..)) {
            (Some(hdr), Some(frame)) => Self::checked(hdr, frame),
            (_, _) => Err(FrameError::NoVnetHdr { len: bytes.len() }),
        }
    }

    fn segmented(hdr: VnetHdr, frame: &'a [u8]) -> Result<Self, FrameError> {
        let len = frame.len();
        let layout = Layout::of(hdr.gso_type, hdr.gso_size, hdr.csum_start, frame)?;
        if !hdr.needs_csum() {
            return Err(FrameError::GsoWithoutChecksum);
        }
        if hdr.csum_offset != checksum_offset(hdr.gso_type) {
            return Err(FrameError::Checksum { start: hdr.csum_start, offset: hdr.csum_offset, len });
        }
        if layout.total() != len {
            return Err(FrameError::Length { announced: layout.total(), len });
        }
        let segmented = layout.segments() > 1;
        Ok(Self { hdr: layout.vnet_hdr(layout.whole()), frame, layout: segmented.then_some(layout) })
    }
}

/// Whether the checksum field and what it covers lie in the frame, behind the Ethernet header.
pub(crate) fn checksum_fits(start: u16, offset: u16, len: usize) -> Result<(), FrameError> {
    let end = usize::from(start) + usize::from(offset) + 2;
    if usize::from(start) < ethernet::HEADER_LEN || end > len {
        return Err(FrameError::Checksum { start, offset, len });
    }
    Ok(())
}
