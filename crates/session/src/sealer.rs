//! Sealing records (P4.3, P4.4), and the clear part of relayed ones (P6.4).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use wire::{Cipher, Hops, RECORD_HEADER, RecordHeader, RelayHeader, TAG_LEN};

/// A new epoch is due from here on (P4.1).
const REKEY_AFTER: u64 = 1 << 32;
/// Beyond this a sealer refuses: far above what an hour of records can reach, far below AES-GCM's bound for one key.
const HARD_LIMIT: u64 = 1 << 34;

/// Why a record was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No new epoch was opened in time; the key must not be used again.
    #[error("key used up: no new epoch was agreed on in time")]
    UsedUp,
    /// The crypto library refused.
    #[error("the crypto library could not seal")]
    Crypto,
}

/// Seals records for one peer in one epoch. Shared by all threads that send to it.
pub struct Sealer {
    key: LessSafeKey,
    cipher: Cipher,
    index: u32,
    next: AtomicU64,
}

impl Sealer {
    pub(crate) const fn new(key: LessSafeKey, cipher: Cipher, index: u32) -> Self {
        Self { key, cipher, index, next: AtomicU64::new(0) }
    }

    /// Appends one record whose payload is `parts`, one after the other.
    ///
    /// # Errors
    /// When the key is used up; nothing is appended then.
    pub fn seal(&self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), SealError> {
        let counter = self.count()?;
        let start = out.len();
        let header = RecordHeader { cipher: self.cipher, index: self.index, counter }.encode();
        out.extend_from_slice(&header);
        for part in parts {
            out.extend_from_slice(part);
        }
        let (_, payload) = out.split_at_mut(start + RECORD_HEADER);
        match self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(header), payload) {
            Ok(tag) => {
                debug_assert_eq!(tag.as_ref().len(), TAG_LEN);
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(SealError::Crypto)
            }
        }
    }

    /// Appends `record`, which is of another session, behind a header that tells the peer where it goes on to (P6.4). The counter is
    /// the one of all records.
    ///
    /// # Errors
    /// When the key is used up; nothing is appended then.
    pub fn seal_relay(&self, hops: Hops<'_>, record: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let counter = self.count()?;
        let start = out.len();
        out.extend_from_slice(&RelayHeader::encode(hops, self.index, counter));
        out.extend_from_slice(hops.bytes());
        let (_, clear) = out.split_at(start);
        match self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(clear), &mut []) {
            Ok(tag) => {
                debug_assert_eq!(tag.as_ref().len(), TAG_LEN);
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(record);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(SealError::Crypto)
            }
        }
    }

    fn count(&self) -> Result<u64, SealError> {
        // Relaxed: the counter only has to be unique; nothing else is published with it.
        let counter = self.next.fetch_add(1, Ordering::Relaxed);
        if counter < HARD_LIMIT { Ok(counter) } else { Err(SealError::UsedUp) }
    }

    /// Records sealed so far.
    pub fn sealed(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whether the dialler should open a new epoch (P4.1).
    pub fn is_due(&self) -> bool {
        self.sealed() >= REKEY_AFTER
    }

    /// The cipher in use.
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    #[cfg(test)]
    pub(crate) fn skip_to(&self, counter: u64) {
        self.next.store(counter, Ordering::Relaxed);
    }
}

/// 4 zero bytes, then the counter (P4.3).
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::pair;

    #[test]
    fn a_used_up_key_seals_nothing_more() {
        let ((seal, _), _) = pair(Cipher::Aes256Gcm, 0);
        seal.skip_to(REKEY_AFTER);
        assert!(seal.is_due());
        seal.skip_to(HARD_LIMIT);
        let mut out = vec![7];
        assert_eq!(seal.seal(&[b"x"], &mut out), Err(SealError::UsedUp));
        assert_eq!(seal.seal_relay(Hops::default(), b"x", &mut out), Err(SealError::UsedUp));
        assert_eq!(out, [7]);
    }

    #[test]
    fn records_are_appended_behind_each_other() {
        let ((seal, _), (_, mut open)) = pair(Cipher::Aes256Gcm, 0);
        let mut out = Vec::new();
        seal.seal(&[b"one"], &mut out).unwrap();
        let first = out.len();
        assert_eq!(first, RECORD_HEADER + 3 + TAG_LEN);
        seal.seal(&[b"two"], &mut out).unwrap();
        let (a, b) = out.split_at_mut(first);
        for (record, text) in [(b, "two"), (a, "one")] {
            let header = RecordHeader::decode(record).unwrap();
            assert_eq!(open.open(&header, record).unwrap(), text.as_bytes());
        }
    }
}
