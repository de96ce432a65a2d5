//! How frames to each peer changed their way, for `weave why` and metrics.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use transport::PathKind;
use wire::PeerName;

/// Changes kept of each peer.
const KEPT: usize = 16;

/// Frames to one peer began to take another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: Instant,
    pub(super) from: Option<PathKind>,
    pub(super) to: Option<PathKind>,
    pub(super) reason: String,
}

/// What frames take to each peer, and how it came to that.
#[derive(Debug, Default)]
pub(super) struct Changes {
    of: BTreeMap<PeerName, VecDeque<Change>>,
    counts: BTreeMap<Kind, u64>,
}

/// What frames took before and after, and why, of a bounded number of reasons.
pub(super) type Kind = (&'static str, &'static str, &'static str);

impl Changes {
    /// Takes note of what frames to this peer take now. Gives the change, if it is one.
    pub(super) fn note(
        &mut self,
        now: Instant,
        peer: PeerName,
        to: Option<PathKind>,
        cause: &'static str,
        reason: impl FnOnce() -> String,
    ) -> Option<&Change> {
        let from = self.of.get(&peer).and_then(|list| list.back()?.to);
        if from == to {
            return None;
        }
        *self.counts.entry((name(from), name(to), cause)).or_default() += 1;
        let list = self.of.entry(peer).or_default();
        if list.len() >= KEPT {
            list.pop_front();
        }
        list.push_back(Change { at: now, from, to, reason: reason() });
        list.back()
    }

    /// What happened on the way to this peer, the latest first.
    pub(super) fn of(&self, peer: PeerName) -> impl Iterator<Item = &Change> {
        self.of.get(&peer).into_iter().flatten().rev()
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, peer: PeerName) {
        self.of.remove(&peer);
    }

    /// How often each change happened.
    pub(super) const fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }
}

fn name(kind: Option<PathKind>) -> &'static str {
    kind.map_or("none", PathKind::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_kept_and_only_so_many() {
        let (mut changes, now, peer) = (Changes::default(), Instant::now(), PeerName::new([2; 6]));
        assert_eq!(changes.note(now, peer, None, "untried", || panic!("nothing changed")), None);
        for n in 0..40 {
            let to = if n % 2 == 0 { PathKind::Udp } else { PathKind::Tls };
            let change = changes.note(now, peer, Some(to), "proven", || n.to_string()).unwrap();
            assert_eq!((change.to, &change.reason), (Some(to), &n.to_string()));
            assert_eq!(changes.note(now, peer, Some(to), "silent", || panic!("nothing changed")), None);
        }
        assert_eq!(changes.of(peer).count(), KEPT);
        assert_eq!(changes.of(peer).next().unwrap().reason, "39");
        assert_eq!(changes.counts()[&("udp", "tls", "proven")], 20);
        assert_eq!(changes.counts()[&("none", "udp", "proven")], 1);
        changes.forget(peer);
        assert_eq!(changes.of(peer).count(), 0);
    }
}
