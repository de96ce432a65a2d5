//! Which peer has which name.

use std::collections::BTreeMap;

use wire::PeerName;

/// Names and numbers. A clone has the name of its original and does not count.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: BTreeMap<PeerName, usize>,
}

impl Names {
    pub(crate) fn insert(&mut self, name: PeerName, number: usize) {
        self.numbers.entry(name).or_insert(number);
    }

    pub(crate) fn number(&self, name: PeerName) -> Option<usize> {
        self.numbers.get(&name).copied()
    }
}
