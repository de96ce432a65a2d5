//! What travels inside a link and is not for the neighbour alone: relayed records (P6.4) and frames for everyone (P7), as messages.

use packet::VnetHdr;

use crate::PeerName;
use crate::hops::{GROUP_HEADER, GroupHeader, Hops};

/// Type of a relayed record (P2.7).
const RELAYED: u8 = 0x41;
/// Type of a group frame (P2.7).
const GROUP_FRAME: u8 = 0x42;
/// Length, type and number of names: what precedes the names of a relayed record in a link.
pub const RELAYED_HEADER: usize = 6;
/// Length, type, group header and virtio header: what precedes a frame for everyone in a link.
pub const GROUP_FRAME_HEADER: usize = 5 + GROUP_HEADER + VnetHdr::LEN;

/// Length, type and number of names of a relayed record; the names follow, then the record.
pub fn encode_relayed_header(hops: Hops<'_>, record_len: usize) -> [u8; RELAYED_HEADER] {
    let len = u32::try_from(2 + hops.bytes().len() + record_len).unwrap_or(u32::MAX);
    let [a, b, c, d] = len.to_be_bytes();
    [a, b, c, d, RELAYED, hops.count()]
}

/// What follows the length, if it is a relayed record: the names still to pass, and the record, which is opened where it lies.
pub fn decode_relayed(b: &mut [u8]) -> Option<(Hops<'_>, &mut [u8])> {
    let ([RELAYED, count], rest) = b.split_first_chunk_mut::<2>()? else { return None };
    let (names, record) = rest.split_at_mut_checked(usize::from(*count) * PeerName::LEN)?;
    Some((Hops::split(*count, names)?.0, record))
}

/// Length, type, group header and virtio header of a frame for everyone; the frame follows.
pub fn encode_group_frame_header(
    group: &GroupHeader,
    hdr: &VnetHdr,
    frame_len: usize,
) -> [u8; GROUP_FRAME_HEADER] {
    let mut out = [0; GROUP_FRAME_HEADER];
    let len = u32::try_from(frame_len + GROUP_FRAME_HEADER - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out[4] = GROUP_FRAME;
    out[5..5 + GROUP_HEADER].copy_from_slice(&group.encode());
    if let Some(rest) = out.last_chunk_mut() {
        hdr.write_le(rest);
    }
    out
}

/// What follows the length, if it is a frame for everyone: its headers and the frame, none of them checked yet.
pub fn decode_group_frame(b: &[u8]) -> Option<(GroupHeader, VnetHdr, &[u8])> {
    let (&GROUP_FRAME, body) = b.split_first()? else { return None };
    let (group, body) = GroupHeader::split(body)?;
    let (hdr, frame) = body.split_at_checked(VnetHdr::LEN)?;
    Some((group, VnetHdr::parse_le(hdr)?, frame))
}

/// Whether what follows the length says that it is one of the two, in whatever shape.
pub fn is_relayed_or_group(b: &[u8]) -> bool {
    matches!(b.first(), Some(&(RELAYED | GROUP_FRAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_relayed_record_is_laid_out_as_p2_7_says() {
        let names = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
        let hops = Hops::new(&names).unwrap();
        assert_eq!(encode_relayed_header(hops, 3), [0, 0, 0, 17, 0x41, 2]);
        let mut b = [&[0x41, 2], hops.bytes(), b"abc"].concat();
        let (again, record) = decode_relayed(&mut b).unwrap();
        assert_eq!((again.bytes(), &*record), (hops.bytes(), &b"abc"[..]));
        assert!(decode_relayed(&mut [0x41, 16].into_iter().chain([0; 199]).collect::<Vec<_>>()).is_none());
        assert!(decode_relayed(&mut [0x41, 1, 2, 2, 2, 2, 2]).is_none(), "half a name");
        assert!(decode_relayed(&mut [0x40, 0, 1]).is_none());
    }

    #[test]
    fn a_group_frame_keeps_both_headers() {
        let hdr =
            VnetHdr { flags: 1, gso_type: 1, hdr_len: 66, gso_size: 1300, csum_start: 34, csum_offset: 16 };
        let group = GroupHeader { source: PeerName::new([2, 0, 0, 0, 0, 1]), run: 7, sequence: 9 };
        let b = [&encode_group_frame_header(&group, &hdr, 3)[..], b"abc"].concat();
        assert_eq!(b[..5], [0, 0, 0, 32, 0x42]);
        assert_eq!(b.len(), 4 + 32);
        assert_eq!(decode_group_frame(&b[4..]), Some((group, hdr, &b"abc"[..])));
        assert_eq!(decode_group_frame(&b[4..32]), None);
        assert!(is_relayed_or_group(&b[4..]) && !is_relayed_or_group(&[0x40]) && !is_relayed_or_group(&[]));
    }

    proptest! {
        #[test]
        fn a_relayed_record_survives(names in proptest::collection::vec(any::<[u8; 6]>(), 0..=8), record: Vec<u8>) {
            let hops = Hops::new(&names).unwrap();
            let mut b = [&encode_relayed_header(hops, record.len()), hops.bytes(), &record].concat();
            let (len, rest) = b.split_first_chunk_mut::<4>().unwrap();
            prop_assert_eq!(u32::from_be_bytes(*len) as usize, rest.len());
            let (again, opened) = decode_relayed(rest).unwrap();
            prop_assert_eq!((again.bytes(), &*opened), (hops.bytes(), &record[..]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(kind in 0x3f_u8..0x44, mut b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_relayed(&mut b);
            let _ = decode_group_frame(&b);
            b.insert(0, kind);
            let _ = decode_group_frame(&b);
            let _ = decode_relayed(&mut b);
        }
    }
}
