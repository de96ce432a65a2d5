//! Peers that someone had removed (P5.8).
//!
//! A statement about a peer that runs must not silence it. So it counts only while nobody whom we can reach states a
//! link to that peer: who is linked to someone is not removed, whoever says so.

use std::collections::BTreeMap;

use wire::{FactKind, LinkList, PeerName, RemovedEntry, decode_removed};

use super::FactStore;
use super::origin::Origin;
use super::origins::Origins;

/// Most entries taken of one statement.
pub(crate) const MAX_REMOVED: usize = 1024;
/// Most entries taken of all.
const MAX_IN_ALL: usize = 16 * MAX_REMOVED;

/// What all statements that stand say together.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// The greatest incarnation that is void.
    incarnations: BTreeMap<PeerName, u64>,
}

impl Removed {
    /// Gathers the statements anew: one came, went, or was ended by a restart of its origin.
    pub(super) fn update(&mut self, origins: &Origins) {
        self.incarnations.clear();
        for origin in origins.iter() {
            let stated = decode_removed(origin.current(FactKind::REMOVED)).unwrap_or_default();
            for RemovedEntry { peer, incarnation } in stated.into_iter().take(MAX_REMOVED) {
                if self.incarnations.len() < MAX_IN_ALL || self.incarnations.contains_key(&peer) {
                    let named = self.incarnations.entry(peer).or_default();
                    *named = incarnation.max(*named);
                }
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.incarnations.len() * size_of::<(PeerName, u64)>() * 3 / 2
    }
}

impl FactStore {
    /// Whether what this peer says in this run, or said in an earlier one, is void.
    pub(crate) fn is_removed(&self, name: PeerName, incarnation: u64) -> bool {
        self.removed.incarnations.get(&name).is_some_and(|&named| incarnation <= named)
            && name != self.own
            && self.claimant(name).is_none()
    }

    /// Those who are to be forgotten, if nothing reaches them.
    pub(crate) fn removed(&self) -> Vec<PeerName> {
        let removed = self.removed.incarnations.iter();
        let known = removed.filter(|&(name, &named)| {
            self.knows(*name) && self.incarnation(*name).is_none_or(|i| i <= named)
        });
        known.map(|(&name, _)| name).filter(|&name| self.claimant(name).is_none()).collect()
    }

    /// Someone who is linked to this peer, ourselves or one within reach.
    pub(crate) fn claimant(&self, name: PeerName) -> Option<PeerName> {
        let claims = |o: &&Origin| {
            o.offered
                && o.name != name
                && LinkList::trusted(o.current(FactKind::LINKS)).any(|link| link.peer == name)
        };
        let linked = self.origins.get(name).filter(|o| o.linked).map(|_| self.own);
        linked.or_else(|| self.origins.iter().find(claims).map(|o| o.name))
    }
}
