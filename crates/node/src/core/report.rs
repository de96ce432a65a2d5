//! What the loop knows, for status and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use api::{
    ConnectionReport, ConnectionState, Direction, MacReport, PeerConnection, PeerRef, PeerReport,
    RouteReport, TargetReport, Transport,
};
use mesh::{ConnectionView, PeerView};
use router::Place;
use transport::PathKind;
use wire::PeerName;

use super::{Core, Distant, Neighbour};

/// A moment of the loop's state.
#[derive(Debug, Clone)]
pub(crate) struct CoreReport {
    pub(crate) targets: Vec<TargetReport>,
    pub(crate) connections: Vec<ConnectionReport>,
    pub(crate) peers: Vec<PeerReport>,
    pub(crate) routes: Vec<RouteReport>,
    pub(crate) macs: Vec<MacReport>,
    pub(crate) drops: BTreeMap<String, u64>,
    pub(crate) warnings: Vec<String>,
    pub(crate) counters: mesh::Counters,
    /// What became of guessing ports.
    pub(crate) guesses: mesh::GuessCounts,
    pub(crate) tables: mesh::TableSizes,
    /// What was done to frames that did not fit.
    pub(crate) acted: [(&'static str, u64); 4],
    /// How often frames changed their way, by what they took before and after, and why.
    pub(crate) changes: BTreeMap<super::changes::Kind, u64>,
    /// Sessions with peers that are not neighbours, epochs counted singly.
    pub(crate) sessions: usize,
    pub(crate) paths: Vec<PathReport>,
    pub(crate) offload: OffloadState,
}

/// What became of the offloads since the start.
#[derive(Debug, Clone)]
pub(crate) struct OffloadState {
    /// Whether super-frames of TCP and of UDP are written to the TAP whole.
    pub(crate) whole: [bool; 2],
    pub(crate) segmentation: bool,
    pub(crate) coalescing: bool,
    /// What is wrong, for people.
    pub(crate) trouble: Vec<String>,
}

/// Counts of one way to one neighbour.
#[derive(Debug, Clone)]
pub(crate) struct PathReport {
    pub(crate) peer: String,
    pub(crate) nickname: String,
    pub(crate) kind: PathKind,
    /// Whether frames take it now.
    pub(crate) chosen: bool,
    pub(crate) rtt: Option<Duration>,
    pub(crate) mtu: u32,
    pub(crate) frames: [u64; 2],
    pub(crate) bytes: [u64; 2],
    pub(crate) drops: Vec<(&'static str, u64)>,
    /// Whether records go in trains; nothing for a way that has none.
    pub(crate) trains: Option<bool>,
    /// How often that was switched off, by reason.
    pub(crate) trains_off: Vec<(&'static str, u64)>,
    /// How often it was in doubt that it works; nothing for a way that is never.
    pub(crate) doubts: Option<u64>,
}

impl Core {
    pub(super) fn report(&self, now: Instant) -> CoreReport {
        let views = self.parts.mesh.connections(now);
        let peers = self.parts.mesh.peers();
        let nicknames: BTreeMap<_, _> = peers.iter().map(|p| (p.name, p.nickname.clone())).collect();
        let own = self.parts.endpoint.hello.name;
        let macs = self.macs.view(self.seconds(now)).into_iter().map(|view| {
            let peer = match view.place {
                Place::Local => own,
                Place::Peer(peer) => peer,
            };
            MacReport {
                mac: view.mac.to_string(),
                name: peer.to_string(),
                nickname: nicknames.get(&peer).cloned().unwrap_or_default(),
                age_secs: view.age.into(),
            }
        });
        CoreReport {
            targets: self.targets(now),
            paths: views
                .iter()
                .flat_map(|view| self.paths_of(view))
                .chain(self.distants.values().flat_map(|d| self.paths_of_distant(d, &nicknames)))
                .collect(),
            routes: self.routes(&nicknames),
            connections: views.into_iter().map(|view| self.connection(view)).collect(),
            peers: peers.into_iter().map(peer_report).collect(),
            macs: macs.collect(),
            drops: self.drops(),
            warnings: self
                .parts
                .mesh
                .warnings()
                .into_iter()
                .chain(self.mtu_warnings())
                .chain(self.troubles(now, &nicknames))
                .collect(),
            counters: self.parts.mesh.counters(),
            guesses: self.parts.mesh.guess_counts(),
            tables: self.parts.mesh.table_sizes(),
            acted: self.acted(),
            changes: self.changes.counts().clone(),
            sessions: self.parts.table.len(),
            offload: self.offload(),
        }
    }

    fn acted(&self) -> [(&'static str, u64); 4] {
        let acted = self.parts.forwarder.acted();
        [
            ("mss_clamped", &acted.mss_clamped),
            ("resegmented", &acted.resegmented),
            ("fragmented", &acted.fragmented),
            ("too_big_told", &acted.too_big_told),
        ]
        .map(|(name, n)| (name, n.load(Relaxed)))
    }

    fn offload(&self) -> OffloadState {
        let socket = self.parts.udp.as_ref().map(|udp| (udp.socket().no_trains(), udp.no_coalescing()));
        let (no_trains, no_coalescing) = socket.unwrap_or_default();
        let of_udp = no_trains.into_iter().chain(no_coalescing).map(str::to_owned);
        OffloadState {
            whole: self.parts.tap.whole(),
            segmentation: socket.is_some_and(|(no_trains, _)| no_trains.is_none()),
            coalescing: socket.is_some_and(|(_, no_coalescing)| no_coalescing.is_none()),
            trouble: self.parts.tap.trouble().chain(of_udp).collect(),
        }
    }

    fn targets(&self, now: Instant) -> Vec<TargetReport> {
        let report = |view: mesh::TargetView| TargetReport {
            target: view.target,
            state: state(view.state),
            last_error: view.error,
            retry_in_secs: view.retry_at.map(|at| at.saturating_duration_since(now).as_secs()),
        };
        self.parts.mesh.targets().into_iter().map(report).collect()
    }

    pub(super) fn connection(&self, view: ConnectionView) -> ConnectionReport {
        let neighbour = self.neighbour(&view);
        let chosen = neighbour.and_then(Neighbour::chosen);
        let sum = |pick: fn(&transport::PathCounters) -> u64| {
            neighbour.map_or(0, |n| n.counters().map(|(_, counters)| pick(counters)).sum())
        };
        let over_udp = neighbour.filter(|_| chosen == Some(PathKind::Udp)).and_then(Neighbour::udp_rtt);
        let rtt = over_udp.or(view.rtt);
        let no_trains = neighbour.and_then(Neighbour::no_trains);
        ConnectionReport {
            direction: if view.outbound { Direction::Outbound } else { Direction::Inbound },
            address: view.address,
            state: match state(view.state) {
                ConnectionState::Established if chosen.is_none() => ConnectionState::Pending,
                state => state,
            },
            peer: view.peer.map(|(name, nickname)| PeerRef { name: name.to_string(), nickname }),
            transport: chosen.map(transport),
            reason: neighbour.map(Neighbour::reason),
            encryption: neighbour.map(|n| n.cipher().to_owned()),
            via: neighbour.and_then(|n| n.via(self.parts.proxy.as_deref())),
            authenticated: neighbour.is_some_and(|n| n.authenticated),
            mtu: chosen.map(|kind| neighbour.and_then(|n| n.mtu_of(kind)).unwrap_or(self.parts.mtu)),
            rtt_micros: rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            trains: no_trains.as_ref().map(Option::is_none),
            no_trains: no_trains.flatten(),
            error: view.error,
            retry_in_secs: view.retry_in.map(|d| d.as_secs()),
            frames_in: sum(|c| c.rx_frames.load(Relaxed)),
            frames_out: sum(|c| c.tx_frames.load(Relaxed)),
            bytes_in: sum(|c| c.rx_bytes.load(Relaxed)),
            bytes_out: sum(|c| c.tx_bytes.load(Relaxed)),
        }
    }

    fn paths_of(&self, view: &ConnectionView) -> Vec<PathReport> {
        let (Some(neighbour), Some((peer, nickname))) = (self.neighbour(view), &view.peer) else {
            return Vec::new();
        };
        let report = |(kind, counters): (PathKind, &transport::PathCounters)| PathReport {
            peer: peer.to_string(),
            nickname: nickname.clone(),
            kind,
            chosen: neighbour.chosen() == Some(kind),
            rtt: if kind == PathKind::Udp { neighbour.udp_rtt() } else { view.rtt },
            mtu: neighbour.mtu_of(kind).unwrap_or(self.parts.mtu),
            frames: [counters.rx_frames.load(Relaxed), counters.tx_frames.load(Relaxed)],
            bytes: [counters.rx_bytes.load(Relaxed), counters.tx_bytes.load(Relaxed)],
            drops: counters.drops.nonzero().map(|(reason, n)| (reason.name(), n)).collect(),
            trains: neighbour.no_trains().filter(|_| kind == PathKind::Udp).map(|why| why.is_none()),
            trains_off: match kind {
                PathKind::Udp => neighbour.trains_switched_off().collect(),
                PathKind::Tls | PathKind::Relay | PathKind::Memory => Vec::new(),
            },
            doubts: neighbour.doubts().filter(|_| kind == PathKind::Udp),
        };
        neighbour.counters().map(report).collect()
    }

    fn paths_of_distant<'a>(
        &'a self,
        distant: &'a Distant,
        nicknames: &BTreeMap<PeerName, String>,
    ) -> impl Iterator<Item = PathReport> + use<'a> {
        let nickname = nicknames.get(&distant.peer).cloned().unwrap_or_default();
        distant.counters().map(move |(kind, counters)| PathReport {
            peer: distant.peer.to_string(),
            nickname: nickname.clone(),
            kind,
            chosen: distant.chosen() == Some(kind),
            rtt: distant.udp_rtt().filter(|_| kind == PathKind::Udp),
            mtu: distant.mtu_of(kind).unwrap_or(self.parts.mtu),
            frames: [counters.rx_frames.load(Relaxed), counters.tx_frames.load(Relaxed)],
            bytes: [counters.rx_bytes.load(Relaxed), counters.tx_bytes.load(Relaxed)],
            drops: counters.drops.nonzero().map(|(reason, n)| (reason.name(), n)).collect(),
            trains: None,
            trains_off: Vec::new(),
            doubts: distant.doubts().filter(|_| kind == PathKind::Udp),
        })
    }

    /// The ways to peers that are not neighbours.
    pub(super) fn routes(&self, nicknames: &BTreeMap<PeerName, String>) -> Vec<RouteReport> {
        let name = |peer: PeerName| PeerRef {
            name: peer.to_string(),
            nickname: nicknames.get(&peer).cloned().unwrap_or_default(),
        };
        let far = self.distants.iter().filter(|(peer, _)| !self.is_carried(**peer));
        let report = |(peer, distant): (&PeerName, &Distant)| RouteReport {
            peer: name(*peer),
            hops: self.parts.mesh.route(*peer).unwrap_or_default().iter().map(|hop| name(*hop)).collect(),
            transport: distant.chosen().map(transport),
            reason: match self.parts.mesh.guessing_now(*peer) {
                Some(progress) => format!("{}; {progress}", distant.reason()),
                None => distant.reason(),
            },
            encryption: distant.cipher().map(str::to_owned),
            rtt_micros: distant.udp_rtt().map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        };
        far.map(report).collect()
    }

    /// Networks of different MTUs lose the larger frames at the far bridge, where nobody counts them.
    fn mtu_warnings(&self) -> impl Iterator<Item = String> {
        let ours = self.parts.mtu;
        self.neighbours.values().filter_map(move |n| n.mtu.filter(|mtu| *mtu != ours).map(|mtu| (n.peer, mtu))).map(
            move |(peer, mtu)| {
                format!("peer {peer} has MTU {mtu}, this router {ours}: frames that do not fit the smaller are lost; launch both with the same --mtu")
            },
        )
    }

    /// All drops, wherever they happened.
    fn drops(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<_, _> =
            self.past_drops.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        let paths = self
            .neighbours
            .values()
            .flat_map(|n| n.counters().flat_map(|(_, c)| c.drops.nonzero().collect::<Vec<_>>()));
        for (reason, n) in self.distants.values().flat_map(Distant::drops) {
            *all.entry(reason.to_owned()).or_default() += n;
        }
        let strangers = self.parts.udp.iter().flat_map(|udp| udp.drops().nonzero());
        for (reason, n) in paths.chain(strangers).chain(self.parts.forwarder.drops().nonzero()) {
            *all.entry(reason.name().to_owned()).or_default() += n;
        }
        all
    }

    /// Whether frames to this peer have a way beside or inside a link to it.
    pub(super) fn is_carried(&self, peer: PeerName) -> bool {
        let neighbour = self.by_peer.get(&peer).and_then(|id| self.neighbours.get(id));
        neighbour.is_some_and(|neighbour| neighbour.chosen().is_some())
    }

    fn neighbour(&self, view: &ConnectionView) -> Option<&Neighbour> {
        self.neighbours.get(&view.link?)
    }
}

const fn state(state: mesh::ConnectionState) -> ConnectionState {
    match state {
        mesh::ConnectionState::Established => ConnectionState::Established,
        mesh::ConnectionState::Connecting => ConnectionState::Connecting,
        mesh::ConnectionState::Retrying => ConnectionState::Retrying,
        mesh::ConnectionState::Failed => ConnectionState::Failed,
        mesh::ConnectionState::Waiting => ConnectionState::Waiting,
    }
}

pub(super) const fn transport(kind: PathKind) -> Transport {
    match kind {
        PathKind::Udp => Transport::Udp,
        PathKind::Tls | PathKind::Memory => Transport::Tls,
        PathKind::Relay => Transport::Relay,
    }
}

fn peer_report(view: PeerView) -> PeerReport {
    let connection = |link: mesh::PeerLink| PeerConnection {
        direction: if link.entry.outbound { Direction::Outbound } else { Direction::Inbound },
        address: link.entry.address.to_string(),
        name: link.entry.peer.to_string(),
        nickname: link.nickname,
        established: link.established_both_ways,
    };
    PeerReport {
        name: view.name.to_string(),
        nickname: view.nickname,
        uid: view.uid.map(|uid| uid.to_string()).unwrap_or_default(),
        version: view.program.unwrap_or_default(),
        connections: view.links.into_iter().map(connection).collect(),
    }
}
