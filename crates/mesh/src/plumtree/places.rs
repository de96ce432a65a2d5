//! Sets of links, small enough to keep one for each fact that is on its way.

/// A set of links, each by its place. The first 64 take no memory of their own; few peers have more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    first: u64,
    more: Vec<u64>,
}

const BITS: usize = u64::BITS as usize;

impl Places {
    pub(super) fn contains(&self, place: usize) -> bool {
        self.word(place / BITS) >> (place % BITS) & 1 == 1
    }

    pub(super) fn insert(&mut self, place: usize) {
        let (word, bit) = (place / BITS, 1 << (place % BITS));
        let Some(more) = word.checked_sub(1) else {
            self.first |= bit;
            return;
        };
        if self.more.len() <= more {
            self.more.resize(more + 1, 0);
        }
        if let Some(word) = self.more.get_mut(more) {
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, place: usize) {
        let (word, bit) = (place / BITS, 1 << (place % BITS));
        match word.checked_sub(1) {
            None => self.first &= !bit,
            Some(more) => self.more.iter_mut().skip(more).take(1).for_each(|word| *word &= !bit),
        }
    }

    /// Puts in all that are in the other set.
    pub(super) fn insert_all(&mut self, other: &Self) {
        self.first |= other.first;
        if self.more.len() < other.more.len() {
            self.more.resize(other.more.len(), 0);
        }
        self.more.iter_mut().zip(&other.more).for_each(|(word, other)| *word |= other);
    }

    /// Whether all of the other set are in.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.first & !self.first == 0 && (1..).zip(&other.more).all(|(n, other)| other & !self.word(n) == 0)
    }

    fn word(&self, n: usize) -> u64 {
        n.checked_sub(1).map_or(self.first, |more| self.more.get(more).copied().unwrap_or(0))
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::default();
        places.into_iter().for_each(|place| set.insert(place));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0usize..300), 0..60),
            others in proptest::collection::btree_set(0usize..300, 0..20),
        ) {
            let (mut places, mut set) = (Places::default(), BTreeSet::new());
            for (inserts, place) in steps {
                if inserts {
                    places.insert(place);
                    set.insert(place);
                } else {
                    places.remove(place);
                    set.remove(&place);
                }
            }
            let other: Places = others.iter().copied().collect();
            prop_assert_eq!(places.covers(&other), others.is_subset(&set));
            prop_assert_eq!((0..400).filter(|&n| places.contains(n)).collect::<BTreeSet<_>>(), set.clone());
            places.insert_all(&other);
            prop_assert!(places.covers(&other));
            let all: BTreeSet<_> = (0..400).filter(|&n| places.contains(n)).collect();
            prop_assert_eq!(all, set.union(&others).copied().collect::<BTreeSet<_>>());
        }
    }
}
