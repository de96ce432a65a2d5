//! The event loop: everything about links, paths and forwarding is decided here, by one task.
//!
//! Connections, the receiving thread, timers and commands send [`Input`]s; the loop feeds them to the pure parts, carries out what
//! these ask for, and publishes a new forwarding snapshot whenever one is due. It never blocks: what takes long (dialling,
//! Docker, the disk) happens in tasks that report back.

mod addresses;
mod changes;
mod distant;
mod guessing;
mod links;
mod neighbour;
mod report;
mod sessions;
mod sleep;
mod tick;
mod trains;
mod trouble;
mod udp_side;
mod why;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{RemovedPeer, WhyReport};
use mesh::{DialId, LinkId, Mesh, RemoveError};
use records::{Table, TableEvent};
use router::{Forwarder, Learned, MacTable, Notice, Place};
use tokio::sync::{mpsc, oneshot, watch};
use transport_tls::{Endpoint, Established, Handover, LinkEvent};
use transport_udp::{UdpEvent, UdpTransport};
use wire::{PeerName, RefuseCode};

use crate::narrow::Narrow;
use crate::store::Store;
use crate::tap_writer::TapWatch;
use crate::{Proxy, TransportChoice};
use changes::Changes;
use distant::Distant;
use neighbour::Neighbour;
use sleep::Sleep;

pub(crate) use neighbour::transports;
pub(crate) use report::{CoreReport, OffloadState, PathReport};

/// Inputs handled before timers are looked at again.
const INPUTS_A_TURN: usize = 256;
/// The pace of everything that is only looked at now and then.
const TICK: Duration = Duration::from_secs(1);
/// Snapshots are published this far apart at least. A full MAC table takes milliseconds to copy, and containers choose how often
/// there are new addresses; what is not published yet is flooded.
const PUBLISH_GAP: Duration = Duration::from_millis(20);
/// How long peers may take to read that we stop.
const FAREWELL: Duration = Duration::from_millis(200);

/// Something happened.
pub(crate) enum Input {
    /// A handshake went through.
    Linked(Box<Established>, Option<DialId>),
    /// A connection that this peer opened together with us, or why there is none.
    Met(PeerName, Result<Box<Established>, String>),
    /// A dial goes to this address.
    Dialling(DialId, SocketAddr),
    /// A dial came to nothing.
    DialFailed(DialId, String, Option<RefuseCode>),
    /// Somebody who dialled us was not let in, or (`true`) went away by himself.
    InboundFailed(SocketAddr, String, bool),
    /// A link has something.
    Link(u64, LinkEvent),
    /// So has the UDP receiver.
    Udp(UdpEvent),
    /// Something happened in a session with a peer that is no neighbour.
    Table(TableEvent),
    /// A frame waits for keys for this peer.
    KeysWanted(PeerName),
    /// This host has other addresses, or another default route.
    NetworkChanged,
    /// Somebody asks.
    Command(Command),
}

/// What the API asks the loop.
pub(crate) enum Command {
    Connect { targets: Vec<String>, replace: bool },
    Forget { targets: Vec<String> },
    RemovePeers { peers: Vec<String>, reply: oneshot::Sender<Result<Vec<RemovedPeer>, String>> },
    Why { peer: String, reply: oneshot::Sender<Option<WhyReport>> },
    Report(oneshot::Sender<CoreReport>),
    Stop,
}

/// What the loop is made from.
pub(crate) struct CoreParts {
    pub(crate) mesh: Mesh,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) choice: TransportChoice,
    pub(crate) mtu: u32,
    pub(crate) port: u16,
    /// Where the operator says that this host is to be reached.
    pub(crate) advertised: Vec<SocketAddr>,
    /// Where the router in front of this host lets others in.
    pub(crate) mapped: watch::Receiver<portmap::State>,
    pub(crate) proxy: Option<Arc<Proxy>>,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) table: Arc<Table>,
    pub(crate) udp: Option<UdpTransport>,
    pub(crate) tap: TapWatch,
    pub(crate) store: Arc<Store>,
    pub(crate) pins: BTreeMap<(String, String), [u8; 32]>,
    pub(crate) sender: mpsc::Sender<Input>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// What the data path finds out. Containers can make it as much as they like, so it has a queue of its own.
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) link_events: mpsc::Receiver<(u64, LinkEvent)>,
    pub(crate) link_sender: mpsc::Sender<(u64, LinkEvent)>,
    /// To the thread that reads links while they are quiet.
    pub(crate) handover: Handover,
}

pub(crate) struct Core {
    parts: CoreParts,
    macs: MacTable,
    neighbours: BTreeMap<LinkId, Neighbour>,
    by_peer: BTreeMap<PeerName, LinkId>,
    /// Peers within reach that are not neighbours, and those there are keys for.
    distants: BTreeMap<PeerName, Distant>,
    /// Whose trees the data path asked for, and when.
    sources: BTreeMap<PeerName, Instant>,
    changes: Changes,
    /// Which target each dial in progress is for, so that the identity found there can be remembered.
    dials: BTreeMap<DialId, mesh::DialTo>,
    /// Where links need short segments.
    narrow: Arc<Narrow>,
    guesses: guessing::Guesses,
    /// Drops counted by neighbours that are gone: totals never fall.
    past_drops: BTreeMap<&'static str, u64>,
    next_link: u64,
    /// The forwarding snapshot is out of date.
    stale: bool,
    /// When the next snapshot may be published.
    publish_after: Instant,
    start: Instant,
    next_tick: Instant,
    last_tick: Instant,
    sleep: Sleep,
    stopping: bool,
}

impl Core {
    pub(crate) fn new(parts: CoreParts, now: Instant) -> Self {
        Self {
            parts,
            macs: MacTable::default(),
            neighbours: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            distants: BTreeMap::new(),
            sources: BTreeMap::new(),
            changes: Changes::default(),
            dials: BTreeMap::new(),
            narrow: Arc::default(),
            guesses: guessing::Guesses::default(),
            past_drops: BTreeMap::new(),
            next_link: 1,
            stale: false,
            publish_after: now,
            start: now,
            next_tick: now,
            last_tick: now,
            sleep: Sleep::default(),
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        while !self.stopping {
            let now = Instant::now();
            self.turn(now);
            let deadline = self.deadline(now);
            tokio::select! {
                Some((id, event)) = self.parts.link_events.recv() => {
                    self.handle(Input::Link(id, event));
                    for _ in 0..INPUTS_A_TURN {
                        let Ok((id, event)) = self.parts.link_events.try_recv() else { break };
                        self.handle(Input::Link(id, event));
                    }
                }
                Some(input) = self.parts.inputs.recv() => {
                    self.handle(input);
                    for _ in 0..INPUTS_A_TURN {
                        let Ok(input) = self.parts.inputs.try_recv() else { break };
                        self.handle(input);
                    }
                }
                Some(notice) = self.parts.notices.recv() => {
                    let now = Instant::now();
                    self.notice(now, notice);
                    for _ in 0..INPUTS_A_TURN {
                        let Ok(notice) = self.parts.notices.try_recv() else { break };
                        self.notice(now, notice);
                    }
                    self.follow_mesh(now);
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
        self.say_goodbye();
        tokio::time::sleep(FAREWELL).await;
    }

    /// Timers, then what the pure parts want, then the snapshot.
    fn turn(&mut self, now: Instant) {
        if self.parts.mesh.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.parts.mesh.handle_timeout(now);
        }
        if self.next_tick <= now {
            self.tick(now);
            self.next_tick = now + TICK;
        }
        self.follow_mesh(now);
        let ids: Vec<_> = self.neighbours.keys().copied().collect();
        for id in ids {
            self.drive_path(now, id);
        }
        self.follow_guessing(now);
        self.drive_distants(now);
        self.share_addresses(now);
        self.note_sizes(now);
        if self.stale && self.publish_after <= now {
            self.stale = false;
            self.publish_after = now + PUBLISH_GAP;
            self.note_changes(now);
            self.publish();
        }
    }

    fn deadline(&self, now: Instant) -> Instant {
        let neighbours = self.neighbours.values().filter_map(Neighbour::poll_timeout);
        let paths = self.distants.values().filter_map(Distant::poll_timeout).chain(neighbours);
        let mesh = self.parts.mesh.poll_timeout().map(|(at, _)| at);
        let snapshot = self.stale.then_some(self.publish_after);
        paths.chain(mesh).chain(snapshot).fold(self.next_tick, Instant::min).max(now)
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Linked(established, dial) => self.linked(now, *established, dial),
            Input::Met(peer, outcome) => self.met(now, peer, outcome),
            Input::Dialling(id, address) => self.parts.mesh.handle_dialling(now, id, address),
            Input::DialFailed(id, reason, code) => {
                self.dials.remove(&id);
                tracing::debug!(reason, "dial failed");
                self.parts.mesh.handle_dial_failed(now, id, reason, code);
            }
            Input::InboundFailed(address, reason, gone) => {
                if gone {
                    tracing::debug!(%address, reason, "connection ended in the handshake");
                } else {
                    tracing::info!(%address, reason, "connection refused");
                    self.parts.mesh.handle_refused_inbound(now, address, reason);
                }
            }
            Input::Link(id, event) => self.link_event(now, LinkId(id), event),
            Input::Udp(event) => self.udp_event(now, event),
            Input::Table(event) => self.table_event(now, event),
            Input::KeysWanted(peer) => self.parts.mesh.want_session(now, peer),
            Input::NetworkChanged => self.network_changed(now),
            Input::Command(command) => self.command(now, command),
        }
        self.follow_mesh(now);
    }

    fn notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Learned(Learned { mac, place }) => {
                self.stale |= self.macs.learn(mac, place, self.seconds(now));
                if let Place::Peer(peer) = place {
                    self.expect(peer);
                }
            }
            Notice::TreeWanted(source) => self.tree_wanted(now, source),
        }
    }

    /// Carries out what the mesh wants.
    fn follow_mesh(&mut self, now: Instant) {
        // Keys first: the message that tells the other end of them is among the actions, and its records may be here in no time.
        self.take_session_events(now);
        while let Some(action) = self.parts.mesh.poll_action() {
            self.act(now, action);
            self.take_session_events(now);
        }
        while let Some(meeting) = self.parts.mesh.poll_meeting() {
            tracing::debug!(peer = %meeting.peer, "opening a connection from both ends");
            let (endpoint, sender) = (self.parts.endpoint.clone(), self.parts.sender.clone());
            tokio::spawn(crate::meet::meet(endpoint, meeting, sender));
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { targets, replace: true } => self.parts.mesh.replace_targets(now, &targets),
            Command::Connect { targets, replace: false } => {
                targets.iter().for_each(|t| self.parts.mesh.connect(now, t));
            }
            Command::Forget { targets } => {
                for target in targets {
                    self.parts.mesh.forget(&target);
                    self.parts.pins.retain(|(t, _), _| *t != target);
                }
            }
            Command::RemovePeers { peers, reply } => {
                let _ = reply.send(self.remove_peers(now, peers));
            }
            Command::Why { peer, reply } => {
                let _ = reply.send(self.why(now, &peer));
            }
            Command::Report(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.report(now));
            }
            Command::Stop => self.stopping = true,
        }
    }

    /// Has the network forget peers that are gone; none of them, if one of them runs.
    fn remove_peers(&mut self, now: Instant, given: Vec<String>) -> Result<Vec<RemovedPeer>, String> {
        let peers = self.parts.mesh.peers();
        let names: Vec<_> = given
            .into_iter()
            .map(|given| {
                let is_meant = |p: &&mesh::PeerView| p.nickname == given || p.name.to_string() == given;
                let name = peers.iter().find(is_meant).map(|p| p.name);
                (given, name)
            })
            .collect();
        let shown = |name: PeerName| {
            let nickname = peers.iter().find(|p| p.name == name).map_or("", |p| p.nickname.as_str());
            format!("{name}({nickname})")
        };
        let stays = |given: &str, e: RemoveError| match e {
            RemoveError::Linked(by) => {
                format!("{given} runs: {} is linked to it; stop it there first", shown(by))
            }
            RemoveError::Oneself => format!("{given} is this host: `weave stop` takes it out of the network"),
        };
        for (given, name) in &names {
            if let Some(name) = name {
                self.parts.mesh.check_removal(*name).map_err(|e| stays(given, e))?;
            }
        }
        let remove = |(given, name): (String, Option<PeerName>)| {
            if let Some(name) = name {
                self.parts.mesh.remove_peer(now, name).map_err(|e| stays(&given, e))?;
            }
            Ok(RemovedPeer { given, name: name.map(|name| name.to_string()) })
        };
        names.into_iter().map(remove).collect()
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }
}
