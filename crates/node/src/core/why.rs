//! The whole story of the way to one peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use api::{CandidateReport, ChangeReport, PeerRef, SeenReport, WhyReport};
use wire::PeerName;

use super::report::transport;
use super::udp_side::UdpSide;
use super::{Core, Neighbour};

impl Core {
    /// Takes note of what frames to each peer take now.
    pub(super) fn note_changes(&mut self, now: Instant) {
        let Self { neighbours, distants, by_peer, changes, .. } = self;
        let carried = |peer| {
            let neighbour = by_peer.get(peer).and_then(|id| neighbours.get(id));
            neighbour.filter(|neighbour| neighbour.chosen().is_some() || !distants.contains_key(peer))
        };
        for peer in by_peer.keys() {
            if let Some(neighbour) = carried(peer) {
                changes.note(now, *peer, neighbour.chosen(), neighbour.cause(), || neighbour.reason());
            }
        }
        for (peer, distant) in distants.iter().filter(|(peer, _)| carried(peer).is_none()) {
            let change = changes.note(now, *peer, distant.chosen(), distant.cause(), || distant.reason());
            if let Some(change) = change {
                let (from, to) =
                    (change.from.map(transport::PathKind::name), change.to.map(transport::PathKind::name));
                tracing::info!(%peer, ?from, ?to, reason = change.reason, "frames to a peer that is no neighbour");
            }
        }
    }

    /// Takes note of what lengths of records were found to pass. That changes no snapshot.
    pub(super) fn note_sizes(&mut self, now: Instant) {
        let neighbours = self.neighbours.values_mut().map(|one| (one.peer, one.udp_side()));
        let distants = self.distants.values_mut().map(|one| (one.peer, one.udp_side()));
        for (peer, side) in neighbours.chain(distants) {
            for resized in side.map(UdpSide::take_resized).into_iter().flatten() {
                self.changes.note_size(now, peer, &resized);
            }
        }
    }

    /// All that is known about the way to the peer of this name or nickname.
    pub(super) fn why(&self, now: Instant, given: &str) -> Option<WhyReport> {
        let peers = self.parts.mesh.peers();
        let view = peers.iter().find(|p| p.nickname == given || p.name.to_string() == given)?;
        let nicknames: BTreeMap<_, _> = peers.iter().map(|p| (p.name, p.nickname.clone())).collect();
        let (name, text) = (view.name, view.name.to_string());
        let neighbour = self.by_peer.get(&name).and_then(|id| self.neighbours.get(id));
        let views = self.parts.mesh.connections(now).into_iter();
        let candidates: Vec<_> = match neighbour {
            Some(neighbour) => neighbour.candidates().collect(),
            None => self.distants.get(&name).into_iter().flat_map(|distant| distant.candidates()).collect(),
        };
        let in_use = neighbour.map_or_else(
            || self.distants.get(&name).and_then(|distant| distant.udp_address()),
            Neighbour::udp_address,
        );
        let candidate = |(address, answered): (SocketAddr, Option<Instant>)| CandidateReport {
            address: address.to_string(),
            answered_secs: answered.map(|at| now.saturating_duration_since(at).as_secs()),
            in_use: in_use == Some(address),
        };
        let change = |change: &super::changes::Change| ChangeReport {
            secs_ago: now.saturating_duration_since(change.at).as_secs(),
            from: change.from.map(transport),
            to: change.to.map(transport),
            reason: change.reason.clone(),
        };
        Some(WhyReport {
            peer: PeerRef { name: text, nickname: view.nickname.clone() },
            connections: views
                .filter(|view| view.peer.as_ref().is_some_and(|(peer, _)| *peer == name))
                .map(|view| self.connection(view))
                .collect(),
            route: self.routes(&nicknames).into_iter().find(|route| route.peer.name == name.to_string()),
            candidates: candidates.into_iter().map(candidate).collect(),
            seen: self.seen(&nicknames),
            port_mapping: self.port_mapping(),
            nat: self.obstacle(name).filter(|_| in_use.is_none()).map(str::to_owned),
            meeting: self.parts.mesh.meeting(now, name).filter(|_| neighbour.is_none()),
            path: match neighbour {
                Some(neighbour) => neighbour.story(now),
                None => {
                    let story = self.distants.get(&name).map(|distant| distant.story(now));
                    story.into_iter().flatten().chain(self.parts.mesh.guessing(now, name)).collect()
                }
            },
            changes: self.changes.of(name).map(change).collect(),
        })
    }

    /// Where neighbours see this host over UDP.
    fn seen(&self, nicknames: &BTreeMap<PeerName, String>) -> Vec<SeenReport> {
        let seen = |neighbour: &Neighbour| {
            let nickname = nicknames.get(&neighbour.peer).cloned().unwrap_or_default();
            let by = PeerRef { name: neighbour.peer.to_string(), nickname };
            Some(SeenReport { address: neighbour.seen_address()?.to_string(), by })
        };
        self.neighbours.values().filter_map(seen).collect()
    }
}
