//! How frames to each peer changed their way, for `weave why` and metrics.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use mesh::Resized;
use transport::PathKind;
use wire::PeerName;

/// Changes kept of each peer.
const KEPT: usize = 16;

/// Frames to one peer began to take another way, or the one over UDP takes longer or shorter records: then it is `from` UDP `to` UDP.
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
    of: BTreeMap<PeerName, History>,
    counts: BTreeMap<Kind, u64>,
}

#[derive(Debug, Default)]
struct History {
    /// What frames take.
    takes: Option<PathKind>,
    changes: VecDeque<Change>,
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
        let from = self.of.get(&peer).and_then(|history| history.takes);
        if from == to {
            return None;
        }
        self.of.entry(peer).or_default().takes = to;
        Some(self.add(peer, cause, Change { at: now, from, to, reason: reason() }))
    }

    /// Takes note that its path over UDP takes records of another length.
    pub(super) fn note_size(&mut self, now: Instant, peer: PeerName, resized: &Resized) {
        let udp = Some(PathKind::Udp);
        self.add(peer, resized.name(), Change { at: now, from: udp, to: udp, reason: resized.to_string() });
    }

    /// What happened on the way to this peer, the latest first.
    pub(super) fn of(&self, peer: PeerName) -> impl Iterator<Item = &Change> {
        self.of.get(&peer).into_iter().flat_map(|history| &history.changes).rev()
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, peer: PeerName) {
        self.of.remove(&peer);
    }

    /// How often each change happened.
    pub(super) const fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    fn add(&mut self, peer: PeerName, cause: &'static str, change: Change) -> &Change {
        *self.counts.entry((name(change.from), name(change.to), cause)).or_default() += 1;
        let changes = &mut self.of.entry(peer).or_default().changes;
        if changes.len() >= KEPT {
            changes.pop_front();
        }
        changes.push_back_mut(change)
    }
}

fn name(kind: Option<PathKind>) -> &'static str {
    kind.map_or("none", PathKind::name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::ResizeCause;

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

    #[test]
    fn another_length_of_records_is_a_change_of_the_same_way() {
        let (mut changes, now, peer) = (Changes::default(), Instant::now(), PeerName::new([2; 6]));
        let (udp, tls) = (Some(PathKind::Udp), Some(PathKind::Tls));
        changes.note(now, peer, tls, "untried", || "first".to_owned());
        let resized = Resized { before: 1431, now: 1252, because: ResizeCause::NewWay };
        for _ in 0..KEPT * 2 {
            changes.note_size(now, peer, &resized);
        }
        assert_eq!(changes.note(now, peer, tls, "untried", || panic!("nothing changed")), None);
        assert!(changes.note(now, peer, udp, "answered", || "it answers".to_owned()).is_some());
        let told: Vec<_> = changes.of(peer).map(|change| (change.from, change.to)).collect();
        assert_eq!((told.len(), told[0], told[1]), (KEPT, (tls, udp), (udp, udp)));
        assert_eq!(changes.of(peer).nth(1).unwrap().reason, resized.to_string());
        assert_eq!(changes.counts()[&("udp", "udp", "narrower")], 2 * KEPT as u64);
    }
}
