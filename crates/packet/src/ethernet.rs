//! The Ethernet header: who, to whom, and what is inside.

use crate::bytes::u16_at;
use crate::mac::Mac;

/// Two addresses and an ethertype, in bytes. No frame is shorter (the 46 bytes of padding that IEEE 802.3 adds on a
/// cable do not exist on a TAP).
pub const HEADER_LEN: usize = 14;

/// Length of one VLAN tag, in bytes.
pub const TAG_LEN: usize = 4;

/// IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// IPv6 (RFC 2464).
pub const IPV6: u16 = 0x86dd;
/// A VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// The outer of two VLAN tags (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Tags that are looked behind: a service tag and a customer tag. Nothing here reads what has more of them.
const MAX_TAGS: usize = 2;

/// What a frame carries behind its VLAN tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The ethertype behind the tags.
    pub ethertype: u16,
    /// Where the network header begins, in bytes from the start of the frame.
    pub offset: usize,
}

/// Whom the frame is for; `None` if it is shorter than an address.
#[inline]
pub fn dst(frame: &[u8]) -> Option<Mac> {
    frame.first_chunk().copied().map(Mac)
}

/// Who sent the frame; `None` if it is too short to say.
#[inline]
pub fn src(frame: &[u8]) -> Option<Mac> {
    frame.get(Mac::LEN..)?.first_chunk().copied().map(Mac)
}

/// What the frame carries, looking behind one or two VLAN tags; `None` if it ends before its ethertype does. A third
/// tag is returned as the ethertype it is.
#[inline]
pub fn ethertype(frame: &[u8]) -> Option<Content> {
    let mut offset = HEADER_LEN;
    let mut ethertype = u16_at(frame, offset - 2)?;
    for _ in 0..MAX_TAGS {
        if !matches!(ethertype, VLAN | SERVICE_VLAN) {
            break;
        }
        offset += TAG_LEN;
        ethertype = u16_at(frame, offset - 2)?;
    }
    Some(Content { ethertype, offset })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn frame(rest: &[u8]) -> Vec<u8> {
        [&ADDRESSES, rest].concat()
    }

    #[test]
    fn addresses_are_read_from_their_places() {
        let frame = frame(&[8, 0]);
        assert_eq!(dst(&frame), Some(Mac([2, 0, 0, 0, 0, 1])));
        assert_eq!(src(&frame), Some(Mac([2, 0, 0, 0, 0, 2])));
        assert_eq!(dst(&frame[..5]), None);
        assert_eq!(src(&frame[..11]), None);
        assert_eq!(src(&frame[..5]), None);
    }

    #[test]
    fn the_ethertype_is_found_behind_up_to_two_tags() {
        let plain = frame(&[0x08, 0x06]);
        assert_eq!(ethertype(&plain), Some(Content { ethertype: ARP, offset: 14 }));
        let tagged = frame(&[0x81, 0, 0, 7, 0x08, 0]);
        assert_eq!(ethertype(&tagged), Some(Content { ethertype: IPV4, offset: 18 }));
        let twice = frame(&[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7, 0x86, 0xdd]);
        assert_eq!(ethertype(&twice), Some(Content { ethertype: IPV6, offset: 22 }));
        let thrice = frame(&[0x81, 0, 0, 9, 0x81, 0, 0, 7, 0x81, 0, 0, 1, 0x08, 0]);
        assert_eq!(ethertype(&thrice), Some(Content { ethertype: VLAN, offset: 22 }));
    }

    #[test]
    fn a_tag_that_is_cut_off_hides_the_ethertype() {
        assert_eq!(ethertype(&frame(&[0x81, 0, 0, 7, 0x08])), None);
        assert_eq!(ethertype(&frame(&[8])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(frame: Vec<u8>) {
            prop_assert_eq!(dst(&frame).is_some(), frame.len() >= 6);
            prop_assert_eq!(src(&frame).is_some(), frame.len() >= 12);
            if let Some(content) = ethertype(&frame) {
                prop_assert!(content.offset <= frame.len());
            }
        }
    }
}
