//! Who is linked to whom, who can be reached, and who has been out of reach for how long (P5.7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::PeerName;

use crate::facts::FactStore;

/// How long a peer that nothing reaches is remembered (P5.7).
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(60);
/// How long facts of a peer that nothing reaches are still handed to those who lack them. Long enough for the links
/// facts of both ends of a young link to cross the network; far shorter than [`FORGET_AFTER`], or else whoever
/// forgets a peer a moment late would hand it back to those who forgot it in time, for ever.
const OFFER_FOR: Duration = Duration::from_secs(5);

/// What all links facts say together.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    stated: BTreeMap<PeerName, BTreeSet<PeerName>>,
}

impl Topology {
    /// The state of affairs as the facts have it.
    pub(crate) fn from_facts(facts: &FactStore) -> Self {
        let of = |name| (name, facts.links(name).iter().map(|l| l.peer).filter(|&p| p != name).collect());
        Self { stated: facts.origins().map(of).collect() }
    }

    /// Whether both ends state this link (P5.7).
    pub(crate) fn linked(&self, a: PeerName, b: PeerName) -> bool {
        self.states(a, b) && self.states(b, a)
    }

    /// Everyone that a chain of links leads to from any of `from`, those included.
    pub(crate) fn reachable(&self, from: impl IntoIterator<Item = PeerName>) -> BTreeSet<PeerName> {
        let mut reached: BTreeSet<_> = from.into_iter().collect();
        let mut edge: Vec<_> = reached.iter().copied().collect();
        while let Some(at) = edge.pop() {
            for &next in self.stated.get(&at).into_iter().flatten() {
                if self.states(next, at) && reached.insert(next) {
                    edge.push(next);
                }
            }
        }
        reached
    }

    fn states(&self, a: PeerName, b: PeerName) -> bool {
        self.stated.get(&a).is_some_and(|peers| peers.contains(&b))
    }
}

/// Since when each peer that is known has been out of reach.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    absent: BTreeMap<PeerName, Instant>,
}

impl Reach {
    /// Takes a new survey of who can be reached, among all who are known.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        reachable: &BTreeSet<PeerName>,
        known: impl Iterator<Item = PeerName>,
    ) {
        let absent = known.filter(|name| !reachable.contains(name));
        self.absent = absent.map(|name| (name, self.absent.get(&name).copied().unwrap_or(now))).collect();
    }

    /// Whether this peer's facts are handed to those who lack them.
    pub(crate) fn is_offered(&self, now: Instant, name: PeerName) -> bool {
        self.absent.get(&name).is_none_or(|&since| now < since + OFFER_FOR)
    }

    /// Those who have been out of reach for so long that they are to be forgotten; asked once for each.
    pub(crate) fn take_forgotten(&mut self, now: Instant) -> Vec<PeerName> {
        let gone: Vec<_> = self
            .absent
            .iter()
            .filter(|&(_, &since)| now >= since + FORGET_AFTER)
            .map(|(&name, _)| name)
            .collect();
        for name in &gone {
            self.absent.remove(name);
        }
        gone
    }

    /// When the next one is to be forgotten.
    pub(crate) fn next_forgotten(&self) -> Option<Instant> {
        self.absent.values().min().map(|&since| since + FORGET_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sign_fact;
    use crate::identity::Identity;
    use proptest::prelude::*;
    use wire::{FactKind, LinkEntry, encode_links};

    const fn name(n: u8) -> PeerName {
        PeerName::new([2, 0, 0, 0, 0, n])
    }

    /// A topology out of who states what.
    fn topology(stated: &[(u8, &[u8])]) -> Topology {
        let identity = Identity::from_seed(&[1; 32]);
        let mut facts = FactStore::new(name(0), identity.public_key());
        for &(origin, peers) in stated {
            let entry = |&p: &u8| LinkEntry { peer: name(p), address: String::new(), outbound: true };
            let payload = encode_links(&peers.iter().map(entry).collect::<Vec<_>>());
            facts.publish(sign_fact(&identity, name(origin), FactKind::LINKS, (1, 1), payload));
        }
        Topology::from_facts(&facts)
    }

    fn reachable(t: &Topology, from: u8) -> Vec<u8> {
        t.reachable([name(from)]).into_iter().map(|n| n.bytes()[5]).collect()
    }

    #[test]
    fn a_link_counts_only_when_both_ends_state_it() {
        let t = topology(&[(1, &[2, 3]), (2, &[1]), (3, &[])]);
        assert!(t.linked(name(1), name(2)) && t.linked(name(2), name(1)));
        assert!(!t.linked(name(1), name(3)));
        assert_eq!(reachable(&t, 1), [1, 2]);
    }

    #[test]
    fn reach_goes_along_chains_and_around_loops() {
        let t =
            topology(&[(1, &[2]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3, 5]), (5, &[4]), (7, &[8]), (8, &[7])]);
        assert_eq!(reachable(&t, 1), [1, 2, 3, 4, 5]);
        assert_eq!(reachable(&t, 8), [7, 8]);
        assert_eq!(reachable(&t, 9), [9], "even of someone nobody heard of");
    }

    #[test]
    fn a_peer_is_forgotten_once_it_was_out_of_reach_for_60_s_without_a_break() {
        let now = crate::testing::start();
        let known = || [name(1), name(2)].into_iter();
        let at = |s| now + Duration::from_secs(s);
        let mut reach = Reach::default();
        reach.update(at(0), &BTreeSet::from([name(1)]), known());
        assert_eq!(reach.next_forgotten(), Some(at(60)));
        reach.update(at(59), &BTreeSet::from([name(1), name(2)]), known());
        reach.update(at(61), &BTreeSet::from([name(1)]), known());
        assert!(reach.take_forgotten(at(120)).is_empty());
        reach.update(at(70), &BTreeSet::from([name(1)]), known());
        assert_eq!(reach.take_forgotten(at(121)), [name(2)], "a later survey does not start the time anew");
        assert_eq!(reach.next_forgotten(), None);
    }

    #[test]
    fn facts_of_someone_out_of_reach_are_offered_for_5_s_only() {
        let now = crate::testing::start();
        let mut reach = Reach::default();
        reach.update(now, &BTreeSet::new(), [name(1)].into_iter());
        assert!(reach.is_offered(now + Duration::from_millis(4999), name(1)));
        assert!(!reach.is_offered(now + Duration::from_secs(5), name(1)));
        assert!(reach.is_offered(now + Duration::from_secs(5), name(2)), "who was never surveyed is new");
    }

    proptest! {
        #[test]
        fn reach_is_mutual(pairs in proptest::collection::vec((0u8..8, 0u8..8), 0..30), from in 0u8..8) {
            let mut stated: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            for &(a, b) in &pairs {
                stated.entry(a).or_default().push(b);
            }
            let list: Vec<(u8, &[u8])> = stated.iter().map(|(&a, b)| (a, b.as_slice())).collect();
            let t = topology(&list);
            for to in reachable(&t, from) {
                prop_assert!(reachable(&t, to).contains(&from));
            }
        }
    }
}
