//! Who has been out of reach for how long (P5.7).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use topology::Reached;
use wire::PeerName;

/// How long a peer that nothing reaches is remembered (P5.7).
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(60);
/// How long facts of a peer that nothing reaches are still handed to those who lack them. Long enough for the links
/// facts of both ends of a young link to cross the network; far shorter than [`FORGET_AFTER`], or else whoever
/// forgets a peer a moment late would hand it back to those who forgot it in time, for ever.
const OFFER_FOR: Duration = Duration::from_secs(5);

/// Since when each peer that is known has been out of reach.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    absent: BTreeMap<PeerName, Absent>,
}

#[derive(Debug, Clone, Copy)]
struct Absent {
    since: Instant,
    withheld: bool,
}

impl Reach {
    /// Takes a new survey of who can be reached, among all who are known.
    pub(crate) fn update(&mut self, now: Instant, reached: &Reached, known: impl Iterator<Item = PeerName>) {
        let absent = known.filter(|name| !reached.contains(*name));
        let new = Absent { since: now, withheld: false };
        self.absent = absent.map(|name| (name, self.absent.get(&name).copied().unwrap_or(new))).collect();
    }

    /// Those whose facts are not handed to those who lack them (P5.6).
    pub(crate) fn withheld(&mut self, now: Instant) -> impl Iterator<Item = PeerName> {
        for absent in self.absent.values_mut() {
            absent.withheld |= now >= absent.since + OFFER_FOR;
        }
        self.absent.iter().filter(|(_, absent)| absent.withheld).map(|(&name, _)| name)
    }

    /// When the facts of the next one are to be withheld.
    pub(crate) fn next_withheld(&self) -> Option<Instant> {
        self.absent.values().filter(|absent| !absent.withheld).map(|absent| absent.since + OFFER_FOR).min()
    }

    /// A peer is forgotten for another reason.
    pub(crate) fn forget(&mut self, name: PeerName) {
        self.absent.remove(&name);
    }

    /// Those who have been out of reach for so long that they are to be forgotten; asked once for each.
    pub(crate) fn take_forgotten(&mut self, now: Instant) -> Vec<PeerName> {
        let gone = |absent: &Absent| now >= absent.since + FORGET_AFTER;
        let gone: Vec<_> = self.absent.iter().filter(|(_, a)| gone(a)).map(|(&name, _)| name).collect();
        for name in &gone {
            self.absent.remove(name);
        }
        gone
    }

    /// When the next one is to be forgotten.
    pub(crate) fn next_forgotten(&self) -> Option<Instant> {
        self.absent.values().map(|absent| absent.since).min().map(|since| since + FORGET_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn reached<const N: usize>(peers: [u8; N]) -> Reached {
        peers.map(name).into_iter().collect()
    }

    #[test]
    fn a_peer_is_forgotten_once_it_was_out_of_reach_for_60_s_without_a_break() {
        let now = crate::testing::start();
        let known = || [name(1), name(2)].into_iter();
        let at = |s| now + Duration::from_secs(s);
        let mut reach = Reach::default();
        reach.update(at(0), &reached([1]), known());
        assert_eq!(reach.next_forgotten(), Some(at(60)));
        reach.update(at(59), &reached([1, 2]), known());
        reach.update(at(61), &reached([1]), known());
        assert!(reach.take_forgotten(at(120)).is_empty());
        reach.update(at(70), &reached([1]), known());
        assert_eq!(reach.take_forgotten(at(121)), [name(2)], "a later survey does not start the time anew");
        assert_eq!(reach.next_forgotten(), None);
    }

    #[test]
    fn facts_of_someone_out_of_reach_are_offered_for_5_s_only() {
        let now = crate::testing::start();
        let at = |ms| now + Duration::from_millis(ms);
        let mut reach = Reach::default();
        reach.update(now, &reached([]), [name(1)].into_iter());
        assert_eq!(reach.withheld(at(4999)).count(), 0);
        assert_eq!(reach.next_withheld(), Some(at(5000)));
        assert_eq!(reach.withheld(at(5000)).collect::<Vec<_>>(), [name(1)]);
        assert_eq!(reach.next_withheld(), None);
        reach.update(at(6000), &reached([1]), [name(1)].into_iter());
        assert_eq!(reach.withheld(at(6000)).count(), 0, "it is back");
    }
}
