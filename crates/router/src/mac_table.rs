//! Which MAC address lives where: the control side's table.

use std::sync::Arc;

use foldhash::HashMap;
use packet::Mac;
use wire::PeerName;

use crate::{Fib, MacEntry, PeerEntry, Place};

/// An address that was silent for so long is forgotten, in seconds; the original's value.
pub const MAC_AGE_SECS: u32 = 600;
/// Most addresses known at once. Containers choose their addresses, so the table must not grow at their will; what does
/// not fit is flooded.
pub const MAC_LIMIT: usize = 65_536;

/// The table. Its hasher is seeded anew for each table, so nobody can choose addresses that collide.
#[derive(Default)]
pub struct MacTable {
    entries: HashMap<Mac, Arc<MacEntry>>,
}

/// One address, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacView {
    /// The address.
    pub mac: Mac,
    /// Where it lives.
    pub place: Place,
    /// Seconds since its last frame.
    pub age: u32,
}

impl MacTable {
    /// Takes note; `true` when this changes the table.
    pub fn learn(&mut self, mac: Mac, place: Place, now: u32) -> bool {
        match self.entries.get(&mac) {
            Some(entry) if entry.place == place => {
                entry.touch(now);
                false
            }
            None if self.entries.len() >= MAC_LIMIT => false,
            _ => {
                self.entries.insert(mac, Arc::new(MacEntry::new(place, now)));
                true
            }
        }
    }

    /// Forgets silent addresses; `true` when there were any.
    pub fn expire(&mut self, now: u32) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.age(now) < MAC_AGE_SECS);
        self.entries.len() != before
    }

    /// Forgets what lived at a peer that is gone; `true` when there was any.
    pub fn forget_peer(&mut self, peer: PeerName) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.place != Place::Peer(peer));
        self.entries.len() != before
    }

    /// Forgets one address, as when its container is detached.
    pub fn forget(&mut self, mac: Mac) -> bool {
        self.entries.remove(&mac).is_some()
    }

    /// What data threads forward by from now on; see [`Fib::new`].
    pub fn snapshot(
        &self,
        own: PeerName,
        peers: Vec<PeerEntry>,
        trees: Vec<(PeerName, Vec<PeerName>)>,
    ) -> Fib {
        Fib::new(own, peers, self.entries.clone(), trees)
    }

    /// All addresses, in order.
    pub fn view(&self, now: u32) -> Vec<MacView> {
        let mut list: Vec<_> = self
            .entries
            .iter()
            .map(|(mac, e)| MacView { mac: *mac, place: e.place, age: e.age(now) })
            .collect();
        list.sort_unstable_by_key(|v| v.mac);
        list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    #[test]
    fn an_address_ages_unless_it_is_heard() {
        let mut table = MacTable::default();
        assert!(table.learn(mac(1), Place::Local, 0));
        assert!(table.learn(mac(2), Place::Local, 0));
        assert!(!table.learn(mac(2), Place::Local, 1), "nothing new, only heard");
        assert!(!table.expire(MAC_AGE_SECS - 1));
        assert!(table.expire(MAC_AGE_SECS));
        assert_eq!(table.view(MAC_AGE_SECS).iter().map(|v| v.mac).collect::<Vec<_>>(), [mac(2)]);
    }

    #[test]
    fn a_snapshot_keeps_an_address_young_for_the_table() {
        let mut table = MacTable::default();
        table.learn(mac(1), Place::Peer(P), 0);
        let fib = table.snapshot(P, vec![], vec![]);
        crate::decide_remote(&fib, P, &[&mac(9).bytes()[..], &mac(1).bytes(), &[8, 0]].concat(), 500);
        assert!(!table.expire(MAC_AGE_SECS + 100));
    }

    #[test]
    fn a_peer_takes_its_addresses_along() {
        let mut table = MacTable::default();
        table.learn(mac(1), Place::Local, 0);
        table.learn(mac(2), Place::Peer(P), 0);
        assert!(table.forget_peer(P) && !table.forget_peer(P));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_known_addresses_can_still_move() {
        let mut table = MacTable::default();
        for n in 0..MAC_LIMIT as u32 {
            table.learn(mac(n), Place::Local, 0);
        }
        assert!(!table.learn(mac(u32::MAX), Place::Local, 0));
        assert!(table.learn(mac(0), Place::Peer(P), 0));
        assert_eq!(table.len(), MAC_LIMIT);
    }
}
