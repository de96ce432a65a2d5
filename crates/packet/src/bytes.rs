//! Big-endian fields of headers, read and written without a way to panic.

/// The big-endian 16-bit number at `at`, if the bytes reach that far.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

/// Replaces the big-endian 16-bit number at `at` by what `change` makes of it; bytes that do not reach that far stay
/// as they are.
#[inline]
pub(crate) fn change_u16(bytes: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}

/// The same for 32 bits.
#[inline]
pub(crate) fn change_u32(bytes: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = change(u32::from_be_bytes(*field)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_beyond_the_end_are_absent_and_stay_unwritten() {
        let mut bytes = [1, 2, 3];
        assert_eq!(u16_at(&bytes, 1), Some(0x0203));
        assert_eq!(u16_at(&bytes, 2), None);
        assert_eq!(u16_at(&bytes, usize::MAX), None);
        change_u16(&mut bytes, 2, |_| 0xffff);
        change_u32(&mut bytes, 0, |_| 0xffff_ffff);
        assert_eq!(bytes, [1, 2, 3]);
        change_u16(&mut bytes, 1, |n| n + 1);
        assert_eq!(bytes, [1, 2, 4]);
    }
}
