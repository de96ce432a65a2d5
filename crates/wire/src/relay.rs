//! Relayed records: a record of two other peers' session on one of its hops over UDP (P6.4).

use crate::{Hops, PeerName, RECORD_HEADER, RecordError, TAG_LEN};

/// The type byte of a relayed record without names.
const RELAY: u8 = 0x10;
/// Bytes of the shortest record there is: an empty payload would not have a kind.
const SHORTEST_RECORD: usize = RECORD_HEADER + 1 + TAG_LEN;

/// Bytes that a hop over UDP adds to names and inner record.
pub const RELAY_OVERHEAD: usize = RECORD_HEADER + TAG_LEN;

/// What stands before the inner record, borrowed from the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayHeader<'a> {
    /// The receiver's index, of its session with the neighbour that sent this.
    pub index: u32,
    /// The sender's counter in that session.
    pub counter: u64,
    /// The peers behind the receiver.
    pub hops: Hops<'a>,
    /// What the tag is about: everything before it.
    pub clear: &'a [u8],
    /// The tag.
    pub tag: [u8; TAG_LEN],
}

impl<'a> RelayHeader<'a> {
    /// Whether this is the type byte of a relayed record.
    pub const fn is_type(byte: u8) -> bool {
        byte & 0xf0 == RELAY
    }

    /// Takes a datagram apart: its header, and the inner record.
    ///
    /// # Errors
    /// When it is shorter than any relayed record with its names, or of another type.
    pub fn split(datagram: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), RecordError> {
        let &kind = datagram.first().ok_or(RecordError::Short)?;
        if !Self::is_type(kind) {
            return Err(RecordError::Type);
        }
        let count = kind - RELAY;
        let names = RECORD_HEADER + usize::from(count) * PeerName::LEN;
        let (head, inner) = datagram.split_at_mut_checked(names + TAG_LEN).ok_or(RecordError::Short)?;
        if inner.len() < SHORTEST_RECORD {
            return Err(RecordError::Short);
        }
        let (clear, tag) = head.split_last_chunk::<TAG_LEN>().ok_or(RecordError::Short)?;
        let (&[_, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7], names) =
            clear.split_first_chunk::<RECORD_HEADER>().ok_or(RecordError::Short)?;
        let header = Self {
            index: u32::from_be_bytes([i0, i1, i2, i3]),
            counter: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            hops: Hops::split(count, names).ok_or(RecordError::Type)?.0,
            clear,
            tag: *tag,
        };
        Ok((header, inner))
    }

    /// The 13 bytes before the names.
    pub fn encode(hops: Hops<'_>, index: u32, counter: u64) -> [u8; RECORD_HEADER] {
        let mut b = [0; RECORD_HEADER];
        // At most fifteen names, so this stays below 0x20.
        b[0] = RELAY + hops.count();
        b[1..5].copy_from_slice(&index.to_be_bytes());
        b[5..].copy_from_slice(&counter.to_be_bytes());
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_HOPS;
    use proptest::prelude::*;

    #[test]
    fn it_is_laid_out_as_p6_4_says() {
        let names = [[2; 6], [4; 6]];
        let hops = Hops::new(&names).unwrap();
        let mut datagram = RelayHeader::encode(hops, 0x0102_0304, 5).to_vec();
        datagram.extend_from_slice(hops.bytes());
        assert_eq!(datagram[..13], [0x12, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(datagram[13..], [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4]);
        let clear = datagram.clone();
        datagram.extend_from_slice(&[7; TAG_LEN]);
        datagram.extend_from_slice(&[9; SHORTEST_RECORD - 1]);
        assert_eq!(RelayHeader::split(&mut datagram), Err(RecordError::Short), "no record is so short");
        datagram.push(9);
        let (header, inner) = RelayHeader::split(&mut datagram).unwrap();
        assert_eq!(
            header,
            RelayHeader { index: 0x0102_0304, counter: 5, hops, clear: &clear, tag: [7; TAG_LEN] }
        );
        assert_eq!(inner, [9; SHORTEST_RECORD]);
    }

    #[test]
    fn another_type_is_refused() {
        for kind in [0, 1, 0x0f, 0x20, 0xff] {
            let mut datagram = [kind; 300];
            assert_eq!(RelayHeader::split(&mut datagram), Err(RecordError::Type), "type {kind:#x}");
        }
        assert_eq!(RelayHeader::split(&mut []), Err(RecordError::Short));
    }

    proptest! {
        #[test]
        fn a_relayed_record_survives(
            names in proptest::collection::vec(any::<[u8; 6]>(), 0..=MAX_HOPS),
            index: u32,
            counter: u64,
            tag: [u8; TAG_LEN],
            record in proptest::collection::vec(any::<u8>(), SHORTEST_RECORD..200),
        ) {
            let hops = Hops::new(&names).unwrap();
            let clear = [&RelayHeader::encode(hops, index, counter)[..], hops.bytes()].concat();
            let mut datagram = [&clear[..], &tag, &record].concat();
            prop_assert!(RelayHeader::is_type(datagram[0]));
            let (header, inner) = RelayHeader::split(&mut datagram).unwrap();
            prop_assert_eq!(header, RelayHeader { index, counter, hops, clear: &clear, tag });
            prop_assert_eq!(inner, &record[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(kind in 0u8..0x20, mut b in proptest::collection::vec(any::<u8>(), 1..200)) {
            b[0] = kind;
            let _ = RelayHeader::split(&mut b);
        }
    }
}
