//! Opening records (P4.3, P4.4), and checking the clear part of relayed ones (P6.4).

use aws_lc_rs::aead::{Aad, LessSafeKey};
use wire::{Cipher, RECORD_HEADER, RecordHeader, RelayHeader, TAG_LEN};

use crate::ReplayWindow;
use crate::sealer::nonce;

/// Why a record was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not sealed by the peer, or changed on the way.
    #[error("record does not open")]
    Forged,
    /// Seen before, or older than the window.
    #[error("record seen before or too old")]
    Replayed,
}

/// Opens what one peer sealed in one epoch. Belongs to the thread that receives.
pub struct Opener {
    key: LessSafeKey,
    cipher: Cipher,
    window: ReplayWindow,
}

impl Opener {
    pub(crate) fn new(key: LessSafeKey, cipher: Cipher) -> Self {
        Self { key, cipher, window: ReplayWindow::new() }
    }

    /// Opens `datagram` in place, whose clear part has been read as `header`, and gives the payload.
    ///
    /// The window moves only for records that open, so a forger cannot move it.
    ///
    /// # Errors
    /// When the record is not authentic or has been seen.
    pub fn open<'a>(&mut self, header: &RecordHeader, datagram: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        if header.cipher != self.cipher {
            return Err(OpenError::Forged);
        }
        if !self.window.is_new(header.counter) {
            return Err(OpenError::Replayed);
        }
        let (clear, sealed) = datagram.split_at_mut_checked(RECORD_HEADER).ok_or(OpenError::Forged)?;
        if sealed.len() < TAG_LEN {
            return Err(OpenError::Forged);
        }
        let payload = self
            .key
            .open_in_place(nonce(header.counter), Aad::from(&*clear), sealed)
            .map_err(|_| OpenError::Forged)?;
        self.window.mark(header.counter);
        Ok(payload)
    }

    /// Whether the header of a relayed record is the peer's and new. It says nothing about the record inside.
    ///
    /// # Errors
    /// When the header is not authentic or has been seen.
    pub fn verify_relay(&mut self, header: &RelayHeader<'_>) -> Result<(), OpenError> {
        if !self.window.is_new(header.counter) {
            return Err(OpenError::Replayed);
        }
        let mut tag = header.tag;
        self.key
            .open_in_place(nonce(header.counter), Aad::from(header.clear), &mut tag)
            .map_err(|_| OpenError::Forged)?;
        self.window.mark(header.counter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::pair;
    use wire::Hops;

    #[test]
    fn a_record_opens_once() {
        let ((seal, _), (_, mut open)) = pair(Cipher::Aes256Gcm, 0);
        let mut out = Vec::new();
        seal.seal(&[b"x"], &mut out).unwrap();
        let header = RecordHeader::decode(&out).unwrap();
        assert!(open.open(&header, &mut out.clone()).is_ok());
        assert_eq!(open.open(&header, &mut out), Err(OpenError::Replayed));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed_and_does_not_use_up_the_counter() {
        let ((seal, _), (_, mut open)) = pair(Cipher::Aes256Gcm, 0);
        let mut out = Vec::new();
        seal.seal(&[b"payload"], &mut out).unwrap();
        for i in 0..out.len() {
            let mut bad = out.clone();
            bad[i] ^= 1;
            if let Ok(header) = RecordHeader::decode(&bad) {
                assert_eq!(open.open(&header, &mut bad), Err(OpenError::Forged), "byte {i}");
            }
        }
        let header = RecordHeader::decode(&out).unwrap();
        assert_eq!(open.open(&header, &mut out).unwrap(), b"payload");
    }

    #[test]
    fn the_header_of_a_relayed_record_passes_once_and_only_unchanged() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let ((seal, mut own), (_, mut open)) = pair(cipher, 0);
            let names = [[2; 6], [4; 6]];
            let mut out = vec![1, 2, 3];
            seal.seal_relay(Hops::new(&names).unwrap(), &[9; 40], &mut out).unwrap();
            let sealed = out.split_off(3);
            assert_eq!(out, [1, 2, 3]);
            let head = sealed.len() - 40;
            for i in 0..head {
                let mut bad = sealed.clone();
                bad[i] ^= 1;
                if let Ok((header, _)) = RelayHeader::split(&mut bad) {
                    assert_eq!(open.verify_relay(&header), Err(OpenError::Forged), "byte {i}");
                }
            }
            let mut sealed = sealed;
            let (header, inner) = RelayHeader::split(&mut sealed).unwrap();
            assert_eq!(
                (header.counter, header.hops.bytes(), &inner[..]),
                (0, &names.concat()[..], &[9; 40][..])
            );
            assert_eq!(own.verify_relay(&header), Err(OpenError::Forged), "reflected to its sender");
            assert_eq!(open.verify_relay(&header), Ok(()));
            assert_eq!(open.verify_relay(&header), Err(OpenError::Replayed));
        }
    }

    #[test]
    fn relayed_records_and_others_share_the_counter_and_the_window() {
        let ((seal, _), (_, mut open)) = pair(Cipher::Aes256Gcm, 0);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        seal.seal(&[b"x"], &mut first).unwrap();
        seal.seal_relay(Hops::default(), &[9; 40], &mut second).unwrap();
        let (header, _) = RelayHeader::split(&mut second).unwrap();
        assert_eq!(header.counter, 1);
        assert!(open.verify_relay(&header).is_ok());
        let header = RecordHeader::decode(&first).unwrap();
        assert_eq!(open.open(&header, &mut first).unwrap(), b"x");
    }
}
