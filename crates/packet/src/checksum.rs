//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A ones-complement sum in the making.
///
/// The sum is taken over the bytes as the machine has them and turned round at the end, because a ones-complement sum
/// is the same in either byte order (RFC 1071 section 2 B). 64 bits hold the sum of 16 GiB without a carry being lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, which are taken as 16-bit words from the first byte on; an odd last byte is padded.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().and(bytes)
    }

    /// Adds `bytes` as words of their own: all bytes added before must have been of even number.
    #[inline]
    pub fn and(self, bytes: &[u8]) -> Self {
        // Plain additions without carry from lane to lane: the compiler turns the loop into vector code.
        let (words, tail) = bytes.as_chunks::<4>();
        let sum = words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// The 16-bit sum in network meaning: what a partial checksum field holds.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        // At most 16 bits are left.
        u16::from_be(sum as u16)
    }

    /// The complement of the sum: what a complete checksum field holds.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The checksum field after one 16-bit word under it changed from `old` to `new` (RFC 1624 equation 3).
#[inline]
pub const fn adjust(check: u16, old: u16, new: u16) -> u16 {
    !adjust_partial(!check, old, new)
}

/// The same for a field that holds a sum not yet complemented, as a partial checksum does.
#[inline]
pub const fn adjust_partial(sum: u16, old: u16, new: u16) -> u16 {
    let sum = sum as u32 + !old as u32 + new as u32;
    let sum = (sum >> 16) + (sum & 0xffff);
    // Three 16-bit numbers leave at most 2 above; one more fold leaves 16 bits.
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn plain_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_is_adjusted_without_a_negative_zero() {
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn nothing_sums_up_to_nothing() {
        assert_eq!(Sum::of(&[]).fold(), 0);
        assert_eq!(Sum::of(&[0; 9]).fold(), 0);
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::of(&bytes).fold(), plain_sum(&bytes));
        }

        #[test]
        fn a_sum_can_be_taken_in_parts(head: Vec<[u8; 2]>, tail: Vec<u8>) {
            let head = head.as_flattened();
            let whole = [head, &tail].concat();
            prop_assert_eq!(Sum::of(head).and(&tail).fold(), Sum::of(&whole).fold());
        }

        #[test]
        fn an_adjusted_checksum_equals_one_made_anew(mut words in proptest::collection::vec(any::<[u8; 2]>(), 2..30), at: prop::sample::Index, new: u16) {
            // A word that is never zero keeps the sum away from the two zeros of this arithmetic.
            words[0] = [0x45, 0];
            let at = 1 + at.index(words.len() - 1);
            let before = Sum::of(words.as_flattened()).checksum();
            let old = u16::from_be_bytes(words[at]);
            words[at] = new.to_be_bytes();
            let after = Sum::of(words.as_flattened());
            prop_assert_eq!(adjust(before, old, new), after.checksum());
            prop_assert_eq!(adjust_partial(!before, old, new), after.fold());
        }
    }
}
