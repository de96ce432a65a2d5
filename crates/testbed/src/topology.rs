//! The network as its routers tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::weave::list;
use crate::{Host, Lab, eventually};

/// What one router believes about the whole network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The peer names.
    pub peers: BTreeSet<String>,
    /// Pairs of peers with a link between them that both ends state; the smaller name first.
    pub links: BTreeSet<(String, String)>,
}

impl Topology {
    /// Reads a report.
    pub fn of(report: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (mut peers, mut links) = (BTreeSet::new(), BTreeSet::new());
        for peer in list(&report["Router"]["Peers"]) {
            let name = text(&peer["Name"]);
            for to in list(&peer["Connections"]).filter(|one| one["Established"] == true) {
                let other = text(&to["Name"]);
                links.insert((name.clone().min(other.clone()), other.max(name.clone())));
            }
            peers.insert(name);
        }
        Self { peers, links }
    }

    /// Whether links lead from any peer to any other.
    pub fn is_connected(&self) -> bool {
        let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (a, b) in &self.links {
            neighbours.entry(a).or_default().push(b);
            neighbours.entry(b).or_default().push(a);
        }
        let mut found: BTreeSet<&str> = self.peers.first().map(String::as_str).into_iter().collect();
        let mut next: Vec<&str> = found.iter().copied().collect();
        while let Some(peer) = next.pop() {
            let new = neighbours.get(peer).into_iter().flatten().filter(|one| found.insert(one));
            next.extend(new.copied());
        }
        self.peers.iter().all(|peer| found.contains(peer.as_str()))
    }
}

impl Lab {
    /// Launches the router of every host; `targets` are the hosts that a host is told to connect to. Gives the peer names.
    #[track_caller]
    pub fn launch_all(&self, options: &[&str], targets: impl Fn(usize) -> Vec<usize>) -> Vec<String> {
        let launch = |host: &Host| {
            let targets: Vec<_> =
                targets(host.number()).into_iter().map(|k| self.host(k).address()).collect();
            host.launch(
                &options.iter().copied().chain(targets.iter().map(String::as_str)).collect::<Vec<_>>(),
            )
        };
        self.hosts().iter().map(launch).collect()
    }

    /// Waits until every router knows of links between exactly these hosts; `names` are the peer names.
    #[track_caller]
    pub fn await_links(&self, names: &[String], pairs: &[(usize, usize)]) {
        self.hosts().iter().for_each(|host| host.await_links(names, pairs));
    }
}

impl Host {
    /// Waits until this router knows of `peers` peers and of links between exactly these hosts; `names` are the peer
    /// names of hosts 1, 2 and so on.
    #[track_caller]
    pub fn await_links(&self, names: &[String], pairs: &[(usize, usize)]) {
        let name = |k: &usize| names[k - 1].clone();
        let expected = Topology {
            peers: names.iter().cloned().collect(),
            links: pairs.iter().map(|(a, b)| (name(a).min(name(b)), name(b).max(name(a)))).collect(),
        };
        eventually(&format!("{self} knows of links between {pairs:?}"), JOINING, || {
            let topology = Topology::of(&self.ask()?);
            if topology == expected { Ok(()) } else { Err(format!("{topology:#?}, not {expected:#?}")) }
        });
    }
}

/// A dial that comes too early is repeated after some seconds.
const JOINING: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(links: &[(&str, &str, bool)]) -> Value {
        let peer = |name: &str| {
            let connections: Vec<_> = links
                .iter()
                .filter(|(from, _, _)| *from == name)
                .map(|(_, to, established)| json!({ "Name": to, "Established": established }))
                .collect();
            json!({ "Name": name, "Connections": connections })
        };
        let peers = ["a", "b", "c"].map(peer);
        json!({ "Router": { "Peers": peers } })
    }

    #[test]
    fn a_link_counts_once_and_only_when_it_is_established() {
        let topology = Topology::of(&report(&[("a", "b", true), ("b", "a", true), ("b", "c", false)]));
        assert_eq!(topology.links, BTreeSet::from([("a".to_owned(), "b".to_owned())]));
        assert!(!topology.is_connected());
        assert!(Topology::of(&report(&[("a", "b", true), ("c", "b", true)])).is_connected());
    }
}
