//! What stands between this host and others, in words: what `weave why` tells of one peer at length, `weave status` says in a line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh::Unlinked;
use transport::PathKind;
use wire::PeerName;

use super::Core;

/// What may be over in a moment is not told.
const LASTING: Duration = Duration::from_secs(15);
/// Most peers that are named in one line.
const NAMED: usize = 3;

impl Core {
    /// A line for each kind of trouble on the ways that frames take.
    pub(super) fn troubles(&self, now: Instant, nicknames: &BTreeMap<PeerName, String>) -> Vec<String> {
        let named = |peer: PeerName| {
            format!("{peer}({})", nicknames.get(&peer).map(String::as_str).unwrap_or_default())
        };
        let lasts = |so_long: Option<Duration>| so_long.is_some_and(|so_long| so_long >= LASTING);
        let blocked = self.neighbours.values().filter(|n| lasts(n.udp_blocked_for(now)));
        let blocked: Vec<_> = blocked.map(|neighbour| named(neighbour.peer)).collect();
        let mut lines = Vec::new();
        if !blocked.is_empty() {
            lines.push(format!("UDP is blocked between here and {}: frames go over TLS", list(&blocked)));
        }
        let mut relayed = BTreeMap::new();
        for (peer, distant) in self.distants.iter().filter(|(peer, _)| !self.is_carried(**peer)) {
            if lasts(distant.relayed_for(now))
                && let Some(via) = self.parts.mesh.route(*peer).and_then(|hops| hops.first())
            {
                // Where TLS alone is used there is nothing to be told of UDP.
                let is_tried = distant.candidates().next().is_some();
                let why =
                    self.obstacle(*peer).or(is_tried.then_some("UDP is blocked between here and there"));
                relayed.insert(*peer, (*via, why.unwrap_or_default().to_owned()));
            }
        }
        for Unlinked { peer, via, trouble } in self.parts.mesh.unlinked() {
            // Who is reached directly needs no link.
            if self.distants.get(&peer).is_none_or(|distant| distant.chosen() != Some(PathKind::Udp)) {
                let (_, why) = relayed.entry(peer).or_insert_with(|| (via, String::new()));
                *why = if why.is_empty() { trouble } else { format!("{why}; {trouble}") };
            }
        }
        let mut together: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (peer, place) in relayed {
            together.entry(place).or_default().push(named(peer));
        }
        for ((via, why), who) in together {
            let why = if why.is_empty() { "no direct way is known" } else { &why };
            let are = if who.len() > 1 { "are" } else { "is" };
            lines.push(format!("{} {are} reachable only through {}: {why}", list(&who), named(via)));
        }
        lines
    }

    /// What NATs on both sides mean for the direct way to this peer.
    pub(super) fn obstacle(&self, peer: PeerName) -> Option<&'static str> {
        let mapping = |name| self.parts.mesh.mapping(name);
        mesh::outlook(mapping(self.parts.endpoint.hello.name), mapping(peer))
    }
}

/// Names with commas; the first few of many.
fn list(names: &[String]) -> String {
    let (told, others) = names.split_at(names.len().min(NAMED));
    match others.len() {
        0 => told.join(", "),
        n => format!("{} and {n} others", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_are_named_and_the_others_counted() {
        let names: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(list(&names[..1]), "a");
        assert_eq!(list(&names[..3]), "a, b, c");
        assert_eq!(list(&names), "a, b, c and 2 others");
    }
}
