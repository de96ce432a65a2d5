//! Fingerprints of what is held (P5.6), kept up to date with each change instead of made anew for each question.

use aws_lc_rs::digest;
use wire::{BUCKETS, DigestEntry, PeerName};

/// Fingerprints of everything and of each bucket.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    buckets: Box<[u64; BUCKETS]>,
    whole: u64,
}

impl Sums {
    pub(super) fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), whole: 0 }
    }

    /// Puts a line in, or takes it out: which of the two is the same.
    pub(super) fn toggle(&mut self, bucket: u8, fingerprint: u64) {
        self.whole ^= fingerprint;
        if let Some(sum) = self.buckets.get_mut(usize::from(bucket)) {
            *sum ^= fingerprint;
        }
    }

    pub(super) const fn whole(&self) -> u64 {
        self.whole
    }

    pub(super) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }
}

/// The fingerprint of one line.
pub(super) fn fingerprint(line: &DigestEntry) -> u64 {
    let hash = digest::digest(&digest::SHA256, &line.to_bytes());
    hash.as_ref().first_chunk().map_or(0, |&b| u64::from_be_bytes(b))
}

/// The bucket of all facts of an origin.
pub(super) fn bucket_of(origin: PeerName) -> u8 {
    let hash = digest::digest(&digest::SHA256, &origin.bytes());
    hash.as_ref().first().map_or(0, |b| b & 63)
}
