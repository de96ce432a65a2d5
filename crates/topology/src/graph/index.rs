//! From many names to their numbers.

/// Finds the number of a name. Names are spread over buckets by some bits of a product (Fibonacci hashing: Knuth, *The Art
/// of Computer Programming*, volume 3, section 6.4), and each bucket is in order: where names were chosen so that all fall
/// into one bucket, looking one up is still a binary search.
pub(super) struct Index {
    shift: u32,
    starts: Vec<u32>,
    /// Names and their numbers.
    entries: Vec<(u64, u16)>,
}

impl Index {
    /// Of keys that are in order.
    pub(super) fn new(keys: &[u64]) -> Self {
        let bits = keys.len().next_power_of_two().trailing_zeros() + 1;
        let mut index =
            Self { shift: 64 - bits, starts: vec![0; (1 << bits) + 1], entries: vec![(0, 0); keys.len()] };
        for &key in keys {
            let bucket = index.bucket(key);
            index.starts[bucket + 1] += 1;
        }
        for n in 1..index.starts.len() {
            index.starts[n] += index.starts[n - 1];
        }
        let mut place = index.starts.clone();
        for (number, &key) in (0..).zip(keys) {
            let place = &mut place[index.bucket(key)];
            index.entries[*place as usize] = (key, number);
            *place += 1;
        }
        index
    }

    pub(super) fn number(&self, key: u64) -> Option<usize> {
        let bucket = self.bucket(key);
        let entries = &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        let at = match entries {
            [] => return None,
            [one] => (one.0 == key).then_some(0)?,
            many => many.binary_search_by_key(&key, |e| e.0).ok()?,
        };
        Some(usize::from(entries[at].1))
    }

    const fn bucket(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}
