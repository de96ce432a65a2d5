//! Signatures that were verified in this process.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use foldhash::quality::FixedState;
use foldhash::{HashSet, HashSetExt};

/// Each fact in a network of a thousand is verified by a thousand peers. Within one process the second time tells nothing
/// new, and would take most of the time of a simulation. So a signature that was found good is remembered, with a hash of key
/// and message; whatever differs in a single bit is verified for real.
static GOOD: [Shard; SHARDS] = [const { Mutex::new(None) }; SHARDS];
/// Made when the first one comes: a hash set cannot be made before.
type Shard = Mutex<Option<HashSet<(u64, u64)>>>;
const SHARDS: usize = 16;
/// Entries of one shard, so that a long run does not grow without bound.
const MOST: usize = 1 << 18;

/// Whether the holder of `public_key` signed `message`; asked the cryptographic library once for each distinct question.
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let mut hash = [0, 0];
    for (seed, hash) in [0x6d65_6d6f, 0x7265_6164].into_iter().zip(&mut hash) {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        hasher.write(public_key);
        hasher.write(signature);
        hasher.write(message);
        *hash = hasher.finish();
    }
    let key = (hash[0], hash[1]);
    let shard = &GOOD[hash[0] as usize % SHARDS];
    let is_known = |good: &Option<HashSet<_>>| good.as_ref().is_some_and(|good| good.contains(&key));
    if is_known(&shard.lock().unwrap_or_else(PoisonError::into_inner)) {
        return true;
    }
    let good = mesh::verify(public_key, message, signature);
    if good {
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = shard.get_or_insert_with(HashSet::new);
        if shard.len() >= MOST {
            shard.clear();
        }
        shard.insert(key);
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_good_stays_good_and_nothing_else_becomes_so() {
        let identity = mesh::Identity::from_seed(&[7; 32]);
        let (key, signature) = (identity.public_key(), identity.sign(b"a fact"));
        for _ in 0..2 {
            assert!(verify(&key, b"a fact", &signature));
            assert!(!verify(&key, b"a face", &signature));
            assert!(!verify(&[1; 32], b"a fact", &signature));
            assert!(!verify(&key, b"a fact", &[0; 64]));
        }
    }
}
