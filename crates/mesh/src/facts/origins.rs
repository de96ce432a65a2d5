//! Everyone of whom something is known: found by name in one step, and gone through in the order of names.
//!
//! Whatever is heard begins with looking up its origin, tens of times for each fact that is new.

use foldhash::{HashMap, HashMapExt};
use wire::PeerName;

use super::origin::Origin;

/// Origins are kept with room for at most so many more.
const ROOM: usize = 32;

/// Origins by name.
#[derive(Debug)]
pub(super) struct Origins {
    /// Where each is. This is never gone through: its order is that of chance.
    places: HashMap<PeerName, u32>,
    /// All names in order, and where they are.
    order: Vec<(PeerName, u32)>,
    slots: Vec<Origin>,
}

impl Origins {
    pub(super) fn new() -> Self {
        Self { places: HashMap::new(), order: Vec::new(), slots: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains(&self, name: PeerName) -> bool {
        self.places.contains_key(&name)
    }

    pub(super) fn get(&self, name: PeerName) -> Option<&Origin> {
        self.slots.get(*self.places.get(&name)? as usize)
    }

    pub(super) fn get_mut(&mut self, name: PeerName) -> Option<&mut Origin> {
        self.slots.get_mut(*self.places.get(&name)? as usize)
    }

    /// The origin of its name, after putting this one there if there was none.
    pub(super) fn get_or_insert(&mut self, name: PeerName, new: impl FnOnce() -> Origin) -> &mut Origin {
        let next = self.slots.len();
        let at = *self.places.entry(name).or_insert(next as u32) as usize;
        if at == next {
            let place = self.order.partition_point(|&(other, _)| other < name);
            self.order.insert(place, (name, next as u32));
            if next == self.slots.capacity() {
                self.slots.reserve_exact(ROOM);
            }
            self.slots.push(new());
        }
        &mut self.slots[at]
    }

    pub(super) fn remove(&mut self, name: PeerName) -> Option<Origin> {
        let at = self.places.remove(&name)?;
        self.order.retain(|&(other, _)| other != name);
        let removed = self.slots.swap_remove(at as usize);
        // The last one has taken its place.
        if let Some(moved) = self.slots.get(at as usize) {
            self.places.insert(moved.name, at);
            let place = self.order.partition_point(|&(other, _)| other < moved.name);
            if let Some(entry) = self.order.get_mut(place) {
                entry.1 = at;
            }
        }
        Some(removed)
    }

    /// All names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = PeerName> {
        self.order.iter().map(|&(name, _)| name)
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.order.iter().filter_map(|&(_, at)| self.slots.get(at as usize))
    }

    /// The memory that all of it takes, apart from the facts.
    pub(super) fn memory(&self) -> usize {
        let place = size_of::<(PeerName, u32)>();
        self.slots.capacity() * size_of::<Origin>()
            + self.order.capacity() * place
            // A byte beside each place of the table, and a seventh of it is empty at least.
            + self.places.capacity() * 8 / 7 * (place + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn name(n: u8) -> PeerName {
        PeerName::new([2, 0, 0, 0, 0, n])
    }

    proptest! {
        #[test]
        fn they_are_a_map_in_order(steps in proptest::collection::vec((0_u8..40, prop::bool::weighted(0.6)), 0..120)) {
            let (mut origins, mut known) = (Origins::new(), BTreeSet::new());
            for (n, inserts) in steps {
                if inserts {
                    let origin = origins.get_or_insert(name(n), || Origin::new(name(n), [n; 32]));
                    prop_assert_eq!(origin.key, [n; 32]);
                    known.insert(n);
                } else {
                    let removed = origins.remove(name(n)).map(|origin| origin.name);
                    prop_assert_eq!(removed, known.remove(&n).then(|| name(n)));
                }
                prop_assert!(origins.names().eq(known.iter().map(|&n| name(n))));
                prop_assert!(origins.iter().map(|o| o.key).eq(known.iter().map(|&n| [n; 32])));
                prop_assert_eq!(origins.len(), known.len());
                for n in 0..40 {
                    prop_assert_eq!(origins.get(name(n)).map(|o| o.key), known.contains(&n).then_some([n; 32]));
                    prop_assert_eq!(origins.get_mut(name(n)).is_some(), origins.contains(name(n)));
                }
            }
        }
    }
}
