//! Whose links facts are to be looked at again.

use std::collections::BTreeSet;

use wire::PeerName;

/// What changed in what peers state about their links. No more than there are origins held: where one is forgotten, that
/// is noted instead of all others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// What these state.
    Of(BTreeSet<PeerName>),
    /// Who is known, and perhaps anything else.
    Known,
}

impl Changes {
    pub(super) fn note(&mut self, origin: PeerName) {
        if let Self::Of(origins) = self {
            origins.insert(origin);
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}
