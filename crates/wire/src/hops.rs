//! Ways through the network: the names a relayed record still has to pass (P6.4), and the header of a frame for everyone (P7.1).

use crate::PeerName;

/// Most names in a route (P6.1, P6.4): what the low half of a type byte counts.
pub const MAX_HOPS: usize = 15;
/// Bytes of a [`GroupHeader`].
pub const GROUP_HEADER: usize = 18;

const LOW_48: u64 = (1 << 48) - 1;

/// The peers that something still has to pass, in order; the last is the destination. Borrowed from the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hops<'a>(&'a [[u8; PeerName::LEN]]);

impl<'a> Hops<'a> {
    /// Takes names as they lie on the wire, at most [`MAX_HOPS`]; the rest of `b` follows.
    pub fn split(count: u8, b: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let count = usize::from(count);
        if count > MAX_HOPS {
            return None;
        }
        let (names, rest) = b.split_at_checked(count * PeerName::LEN)?;
        Some((Self(names.as_chunks().0), rest))
    }

    /// Takes names. `None` when there are more than [`MAX_HOPS`].
    pub fn new(names: &'a [[u8; PeerName::LEN]]) -> Option<Self> {
        (names.len() <= MAX_HOPS).then_some(Self(names))
    }

    /// How many there are.
    pub const fn count(&self) -> u8 {
        self.0.len() as u8
    }

    /// Whether the receiver is the destination.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one, and those behind it.
    pub fn next(&self) -> Option<(PeerName, Self)> {
        let (first, rest) = self.0.split_first()?;
        Some((PeerName::new(*first), Self(rest)))
    }

    /// As they lie on the wire.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0.as_flattened()
    }
}

/// What tells one frame for everyone from all others (P7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupHeader {
    /// Where it started.
    pub source: PeerName,
    /// The low 48 bits of the source's incarnation.
    pub run: u64,
    /// Number of its first segment; a super-frame stands for as many numbers as it has segments.
    pub sequence: u64,
}

impl GroupHeader {
    /// The 18 bytes of P7.1.
    pub fn encode(&self) -> [u8; GROUP_HEADER] {
        let mut b = [0; GROUP_HEADER];
        b[..6].copy_from_slice(&self.source.bytes());
        b[6..12].copy_from_slice(&self.run.to_be_bytes()[2..]);
        b[12..].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        b
    }

    /// Reads one; the rest of `b` follows.
    pub fn split(b: &[u8]) -> Option<(Self, &[u8])> {
        let (&[s0, s1, s2, s3, s4, s5, r0, r1, r2, r3, r4, r5, q0, q1, q2, q3, q4, q5], rest) =
            b.split_first_chunk::<GROUP_HEADER>()?;
        let header = Self {
            source: PeerName::new([s0, s1, s2, s3, s4, s5]),
            run: u64::from_be_bytes([0, 0, r0, r1, r2, r3, r4, r5]),
            sequence: u64::from_be_bytes([0, 0, q0, q1, q2, q3, q4, q5]),
        };
        Some((header, rest))
    }

    /// The header of the segment that comes `segments` later.
    #[must_use]
    pub const fn plus(&self, segments: u64) -> Self {
        Self { sequence: self.sequence.wrapping_add(segments) & LOW_48, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hops_are_taken_off_one_by_one() {
        let names = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
        let hops = Hops::new(&names).unwrap();
        let (again, rest) = Hops::split(2, &[hops.bytes(), b"record"].concat())
            .map(|(h, r)| (h.count(), r.to_vec()))
            .unwrap();
        assert_eq!((again, &rest[..]), (2, &b"record"[..]));
        let (first, rest) = hops.next().unwrap();
        assert_eq!((first, rest.count()), (PeerName::new(names[0]), 1));
        let (second, rest) = rest.next().unwrap();
        assert_eq!((second, rest.is_empty()), (PeerName::new(names[1]), true));
        assert_eq!(rest.next(), None);
    }

    #[test]
    fn more_hops_than_fifteen_are_none() {
        assert_eq!(Hops::split(16, &[0; 200]), None);
        assert_eq!(Hops::new(&[[2; 6]; 16]), None);
        assert!(Hops::split(15, &[0; 90]).is_some());
        assert_eq!(Hops::split(15, &[0; 89]), None);
    }

    proptest! {
        #[test]
        fn a_group_header_survives(source: [u8; 6], run in 0..=LOW_48, sequence in 0..=LOW_48, rest: Vec<u8>) {
            let header = GroupHeader { source: PeerName::new(source), run, sequence };
            let bytes = [&header.encode()[..], &rest].concat();
            prop_assert_eq!(GroupHeader::split(&bytes), Some((header, &rest[..])));
        }

        #[test]
        fn arbitrary_bytes_never_panic(count: u8, b: Vec<u8>) {
            let _ = Hops::split(count, &b);
            let _ = GroupHeader::split(&b);
        }
    }
}
