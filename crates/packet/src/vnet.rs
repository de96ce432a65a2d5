//! The virtio-net header that stands before a frame on a TAP and on a link.

/// What is left to do on a frame (virtio 1.2 section 5.1.6, `struct virtio_net_hdr` of Linux). The fields are what a
/// TAP or a peer wrote and mean nothing before [`SuperFrame::checked`](crate::SuperFrame::checked) has seen the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHdr {
    /// [`NEEDS_CSUM`](Self::NEEDS_CSUM), [`DATA_VALID`](Self::DATA_VALID), or neither.
    pub flags: u8,
    /// One of the `GSO_` constants, [`ECN`](Self::ECN) possibly added.
    pub gso_type: u8,
    /// Length of the headers, in bytes. Only a hint, and not always a right one.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the bytes under the checksum begin, from the start of the frame.
    pub csum_start: u16,
    /// Where the checksum is stored, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Length before a frame, in bytes.
    pub const LEN: usize = 10;

    /// Flag: the checksum field holds the sum of the pseudo-header only; the rest is still to be added.
    pub const NEEDS_CSUM: u8 = 1;
    /// Flag: somebody has found the checksum right already.
    pub const DATA_VALID: u8 = 2;

    /// An ordinary frame.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4, to be cut into segments.
    pub const GSO_TCPV4: u8 = 1;
    /// A UDP datagram to be cut into IP fragments (UFO). Linux stopped making them in 4.14; refused here.
    pub const GSO_UDP: u8 = 3;
    /// TCP over IPv6, to be cut into segments.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP over either, to be cut into datagrams (USO).
    pub const GSO_UDP_L4: u8 = 5;
    /// Added to a TCP type: the CWR flag belongs to the first segment alone.
    pub const ECN: u8 = 0x80;

    /// An ordinary frame whose checksum is open at `csum_start + csum_offset`.
    pub const fn partial(csum_start: u16, csum_offset: u16) -> Self {
        Self {
            flags: Self::NEEDS_CSUM,
            gso_type: Self::GSO_NONE,
            hdr_len: 0,
            gso_size: 0,
            csum_start,
            csum_offset,
        }
    }

    /// Reads the form that a TAP uses: the host's own byte order. `None` if there are fewer than ten bytes.
    #[inline]
    pub fn parse_host(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|raw| Self::decode(raw, u16::from_ne_bytes))
    }

    /// Reads the form that a link uses: little-endian (P4.6). `None` if there are fewer than ten bytes.
    #[inline]
    pub fn parse_le(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|raw| Self::decode(raw, u16::from_le_bytes))
    }

    /// Writes the form that a TAP uses.
    #[inline]
    pub fn write_host(&self, out: &mut [u8; Self::LEN]) {
        *out = self.encode(u16::to_ne_bytes);
    }

    /// Writes the form that a link uses (P4.6).
    #[inline]
    pub fn write_le(&self, out: &mut [u8; Self::LEN]) {
        *out = self.encode(u16::to_le_bytes);
    }

    /// The kind of segmentation, without the ECN bit.
    #[inline]
    pub const fn gso_kind(&self) -> u8 {
        self.gso_type & !Self::ECN
    }

    /// Whether the checksum is open.
    #[inline]
    pub const fn needs_csum(&self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0
    }

    fn decode(raw: &[u8; Self::LEN], number: fn([u8; 2]) -> u16) -> Self {
        let &[flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = raw;
        Self {
            flags,
            gso_type,
            hdr_len: number([h0, h1]),
            gso_size: number([g0, g1]),
            csum_start: number([s0, s1]),
            csum_offset: number([o0, o1]),
        }
    }

    fn encode(&self, bytes: fn(u16) -> [u8; 2]) -> [u8; Self::LEN] {
        let [h0, h1] = bytes(self.hdr_len);
        let [g0, g1] = bytes(self.gso_size);
        let [s0, s1] = bytes(self.csum_start);
        let [o0, o1] = bytes(self.csum_offset);
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_carries_little_endian_fields_in_the_order_of_virtio() {
        let hdr = VnetHdr {
            flags: 1,
            gso_type: 4,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        let mut bytes = [0; VnetHdr::LEN];
        hdr.write_le(&mut bytes);
        assert_eq!(bytes, [1, 4, 2, 1, 4, 3, 6, 5, 8, 7]);
    }

    proptest! {
        #[test]
        fn every_header_survives_both_forms(raw: [u8; VnetHdr::LEN]) {
            let mut out = [0; VnetHdr::LEN];
            VnetHdr::parse_host(&raw).unwrap().write_host(&mut out);
            prop_assert_eq!(out, raw);
            VnetHdr::parse_le(&raw).unwrap().write_le(&mut out);
            prop_assert_eq!(out, raw);
        }
    }

    #[test]
    fn nine_bytes_are_no_header() {
        assert_eq!(VnetHdr::parse_host(&[0; 9]), None);
        assert_eq!(VnetHdr::parse_le(&[0; 9]), None);
        assert_eq!(VnetHdr::parse_le(&[0; 11]), Some(VnetHdr::default()));
    }
}
