//! What the operator decides at launch.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use transport_tls::Shown;

use crate::{AdvertisedAddr, ListenAddr, Proxy};

/// Everything `weave launch` can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Passwords that let a peer in; the empty list means none is needed. At most four (P3.1).
    pub passwords: Vec<String>,
    /// Which ways frames may take.
    pub transport: TransportChoice,
    /// Whether the kernel is left work that it does for many packets at once.
    pub offload: OffloadChoice,
    /// Overrides the name derived from the identity (P1.2).
    pub name: Option<String>,
    /// Shown beside the name.
    pub nickname: String,
    /// The address to listen on; all when absent.
    pub host: Option<IpAddr>,
    /// TCP and UDP port.
    pub port: u16,
    /// Further addresses and TCP ports to listen on.
    pub listen: Vec<ListenAddr>,
    /// Where others are to reach this host, besides where they see it.
    pub advertise: Vec<AdvertisedAddr>,
    /// Whether the router in front of this host is asked to let others in.
    pub port_mapping: bool,
    /// Whether ports of NATs are guessed where nothing else leads to a direct path.
    pub guess_ports: bool,
    /// The HTTP proxy that links may go through.
    pub proxy: Option<Proxy>,
    /// What those who watch see of the handshakes of links that this router opens.
    pub shown: Shown,
    /// The TCP congestion control of links; BBR, or the kernel's own, when absent.
    pub congestion: Option<String>,
    /// Whether to dial peers heard of from others.
    pub discovery: bool,
    /// Most links at once; 0 means no limit.
    pub conn_limit: usize,
    /// Take up the targets of the last run.
    pub resume: bool,
    /// Identity and state live here.
    pub state_dir: PathBuf,
    /// Socket, pid file and log live here.
    pub run_dir: PathBuf,
    /// Where status and metrics are served read-only; nowhere when absent.
    pub status_addr: Option<SocketAddr>,
    /// error, warning, info or debug.
    pub log_level: String,
    /// MTU of the bridge and of containers, in bytes.
    pub mtu: u32,
    /// Targets given at launch.
    pub peers: Vec<String>,
}

/// Which ways frames may take to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportChoice {
    /// UDP where a probe gets through, else TLS.
    Auto,
    /// UDP only.
    Udp,
    /// TLS only; no UDP socket is opened.
    Tls,
}

/// Whether offloads are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadChoice {
    /// Where the kernel has them and they are found sound.
    Auto,
    /// None: each packet by itself, through the TAP and over UDP.
    Off,
}

/// What `weave reset` removes.
#[derive(Debug, Clone)]
pub struct ResetPaths {
    /// Identity and state.
    pub state_dir: PathBuf,
    /// Socket, pid file and log.
    pub run_dir: PathBuf,
}
