//! Everything the daemon knows about itself, as `weave report` shows it and the text pages are made from.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::messages::PsEntry;

/// The daemon's full state at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// Whether the daemon serves: its bridge, its sockets and its saved state are in place.
    pub ready: bool,
    /// The daemon's version.
    pub version: String,
    /// The router and its network.
    pub router: RouterReport,
    /// What is known of the Docker Engine.
    pub docker: DockerReport,
    /// Addresses the host has on the bridge, with prefix.
    pub exposed: Vec<String>,
    /// Every container on the bridge.
    pub attachments: Vec<PsEntry>,
}

/// The router: its settings, neighbours and tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouterReport {
    /// Lowest protocol version spoken.
    #[serde(rename = "ProtocolMinVersion")]
    pub protocol_min: u8,
    /// Highest protocol version spoken.
    #[serde(rename = "ProtocolMaxVersion")]
    pub protocol_max: u8,
    /// The peer name, written like a MAC address.
    pub name: String,
    /// The name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
    /// The public identity key in hexadecimal.
    pub identity: String,
    /// The bridge the containers' ports are in.
    pub interface: String,
    /// The local address links and records are bound to; empty means all.
    pub host: String,
    /// TCP and UDP port.
    pub port: u16,
    /// Local addresses and TCP ports on which links are accepted.
    #[serde(default)]
    pub listening: Vec<String>,
    /// The HTTP proxy that links may go through, without user and password; empty when there is none.
    #[serde(default)]
    pub http_proxy: String,
    /// When the router started, in seconds since 1970.
    pub started: u64,
    /// How peers prove that they may join.
    pub authentication: Authentication,
    /// How many passwords are valid.
    pub passwords: usize,
    /// Which transports new connections may use.
    pub transport: TransportMode,
    /// The cipher this host prefers for records.
    pub cipher: String,
    /// Whether peers heard of are connected to.
    #[serde(rename = "PeerDiscovery")]
    pub discovery: bool,
    /// Most connections kept at once; 0 means no limit.
    pub conn_limit: usize,
    /// The bridge's MTU in bytes.
    #[serde(rename = "MTU")]
    pub mtu: u32,
    /// What is left to the kernel to do for many packets at once.
    pub offloads: Offloads,
    /// What the operator asked to connect to.
    pub targets: Vec<TargetReport>,
    /// Connections, standing and attempted.
    pub connections: Vec<ConnectionReport>,
    /// Every known peer, this one included.
    pub peers: Vec<PeerReport>,
    /// The ways to peers within reach that are not neighbours.
    #[serde(default)]
    pub routes: Vec<RouteReport>,
    /// The MAC table.
    #[serde(rename = "MACs")]
    pub macs: Vec<MacReport>,
    /// Frames and records dropped since the start, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What the operator ought to know, in words.
    pub warnings: Vec<String>,
}

/// What is known of the Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerReport {
    /// Whether its last answer or event stream was in order.
    pub reachable: bool,
    /// Its version, or why it cannot be reached.
    pub detail: String,
}

/// What is left to the kernel to do for many packets at once, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Offloads {
    /// What the operator chose.
    pub mode: OffloadMode,
    /// Checksums are left to the far end's hardware or kernel.
    pub csum: bool,
    /// TCP super-frames cross the TAP device whole.
    pub tso: bool,
    /// UDP super-frames cross the TAP device whole.
    pub uso: bool,
    /// Records may leave in trains (UDP_SEGMENT); whether they do is each connection's affair.
    pub segmentation: bool,
    /// The kernel may put records together that arrive (UDP_GRO).
    pub coalescing: bool,
    /// What is wrong with them, in words.
    pub trouble: Vec<String>,
}

/// One peer the operator asked to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetReport {
    /// The target exactly as it was given.
    pub target: String,
    /// Where the connection to it is.
    pub state: ConnectionState,
    /// Why the last attempt ended.
    pub last_error: Option<String>,
    /// Seconds until the next attempt.
    pub retry_in_secs: Option<u64>,
}

/// One connection to a neighbour, standing or attempted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionReport {
    /// Who dialled.
    pub direction: Direction,
    /// The far end, as `ip:port`.
    pub address: String,
    /// How far it has come.
    pub state: ConnectionState,
    /// Who is there, once known.
    pub peer: Option<PeerRef>,
    /// What carries frames.
    pub transport: Option<Transport>,
    /// Why this transport.
    pub reason: Option<String>,
    /// The cipher, for example `AES-256-GCM`.
    pub encryption: Option<String>,
    /// What the link goes by where one end did not just dial the other: a proxy, or a connection that both ends opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Whether the peer proved that it knows a password.
    pub authenticated: bool,
    /// Largest frame payload the path carries in one piece, in bytes.
    #[serde(rename = "MTU")]
    pub mtu: Option<u32>,
    /// Round-trip time in microseconds.
    pub rtt_micros: Option<u64>,
    /// Whether records leave in trains (UDP_SEGMENT); nothing where frames do not go over UDP.
    pub trains: Option<bool>,
    /// Why they do not.
    pub no_trains: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Seconds until the next attempt.
    pub retry_in_secs: Option<u64>,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
}

/// One peer of the network and its connections, as it tells them itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerReport {
    /// The peer name.
    pub name: String,
    /// The name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
    /// Number of this run of the peer's router, in hexadecimal.
    #[serde(rename = "UID")]
    pub uid: String,
    /// The peer's program version.
    pub version: String,
    /// Its connections.
    pub connections: Vec<PeerConnection>,
}

/// One connection that a peer says it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerConnection {
    /// Who dialled, seen from the peer.
    pub direction: Direction,
    /// The far end, as `ip:port`.
    pub address: String,
    /// The far end's peer name.
    pub name: String,
    /// The far end's name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
    /// Whether both ends say so.
    pub established: bool,
}

/// A peer's two names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerRef {
    /// The peer name.
    pub name: String,
    /// The name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
}

/// The way to a peer that is no neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteReport {
    /// The peer.
    pub peer: PeerRef,
    /// The peers on the way through others, in order; the peer itself is the last.
    pub hops: Vec<PeerRef>,
    /// What frames take; nothing before there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Why.
    pub reason: String,
    /// The cipher of frames to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Round-trip time over UDP, where frames take that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_micros: Option<u64>,
}

/// One entry of the MAC table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MacReport {
    /// The address.
    #[serde(rename = "MAC")]
    pub mac: String,
    /// The peer it is behind; this host's own name for a local one.
    pub name: String,
    /// That peer's name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
    /// Seconds since a frame from it was seen.
    pub age_secs: u64,
}

/// How peers prove that they may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// Not at all: who answers at a target is remembered, and that is all.
    None,
    /// With a shared password.
    Password,
}

/// Which transports the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportMode {
    /// UDP where it gets through, else TLS.
    Auto,
    /// Only UDP.
    Udp,
    /// Only TLS.
    Tls,
}

/// Whether the operator allows offloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffloadMode {
    /// Where the kernel has them and they are found sound.
    #[default]
    Auto,
    /// None.
    Off,
}

/// What carries frames on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Sealed UDP records.
    Udp,
    /// The link itself.
    Tls,
    /// Sealed records through peers in between.
    Relay,
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This end.
    Outbound,
    /// The far end.
    Inbound,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It carries frames.
    Established,
    /// The link is up, no path carries frames yet.
    Pending,
    /// Being dialled.
    Connecting,
    /// The last attempt failed; the next is near.
    Retrying,
    /// The last attempt failed for a reason that needs the operator.
    Failed,
    /// Not yet dialled.
    Waiting,
}

impl Display for Authentication {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Password => "password",
        })
    }
}

impl Display for TransportMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
            Self::Tls => "tls",
        })
    }
}

impl Display for Transport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Relay => "relay",
        })
    }
}

/// The arrow that the text pages begin a connection with.
impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outbound => "->",
            Self::Inbound => "<-",
        })
    }
}

impl Display for ConnectionState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Established => "established",
            Self::Pending => "pending",
            Self::Connecting => "connecting",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        })
    }
}
