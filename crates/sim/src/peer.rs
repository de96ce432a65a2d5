//! One simulated host: a real [`Mesh`], and the circumstances it runs in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::{Identity, Mesh, MeshConfig};
use wire::{PeerName, Uid};

use crate::data::Data;
use crate::traffic::Traffic;
use crate::world::Input;

/// Never.
pub(crate) const NEVER: u64 = u64::MAX;

/// What a peer starts with.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Number of its identity; two peers with one number are a machine and its clone.
    pub identity: u64,
    /// Whether others can dial it.
    pub listens: bool,
    /// How far its wall clock is off, in milliseconds.
    pub clock_skew: i64,
    /// Most links, 0: no limit.
    pub conn_limit: usize,
}

/// One host.
pub struct Peer {
    /// Its router, while it runs.
    pub(crate) mesh: Option<Box<Mesh>>,
    /// Its data path, while it runs and if the world has any.
    pub(crate) data: Option<Box<Data>>,
    pub(crate) config: MeshConfig,
    pub(crate) address: SocketAddr,
    pub(crate) listens: bool,
    pub(crate) clock_skew: i64,
    /// Whether the machine is on: it answers what is sent to a router that is gone.
    pub(crate) powered: bool,
    /// Grows with each start and each end.
    pub(crate) run: u32,
    /// When it is looked at next, if that is put in the queue.
    pub(crate) wake_at: u64,
    /// When its line is free to send more.
    pub(crate) line_free: u64,
    /// When the next connection is accepted if they come without end.
    pub(crate) accept_free: u64,
    /// Its connections by number, those that are being closed too.
    pub(crate) conns: Vec<u32>,
    /// What it is told to dial, and is again after a restart.
    pub(crate) targets: Vec<String>,
    pub(crate) starved: Option<Starved>,
    pub(crate) sent: Traffic,
    /// Where it is on the map.
    pub(crate) place: (f64, f64),
    /// Which side of a split it is on.
    pub(crate) side: bool,
}

/// It gets a processor only now and then.
pub(crate) struct Starved {
    pub(crate) every: Duration,
    pub(crate) budget: usize,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) turn_is_set: bool,
}

impl Peer {
    pub(crate) fn new(index: usize, config: &PeerConfig, seed: [u8; 32], place: (f64, f64)) -> Self {
        let identity = Arc::new(identity(config.identity));
        let [.., a, b, c] = (index as u32 + 1).to_be_bytes();
        let port = if config.listens { 6783 } else { 0 };
        Self {
            mesh: None,
            data: None,
            config: MeshConfig {
                name: identity.name(),
                identity,
                nickname: format!("h{index}"),
                uid: Uid(0),
                incarnation: 0,
                port,
                udp_port: port,
                program: "sim".into(),
                discovery: true,
                conn_limit: config.conn_limit,
                seed,
                verify: crate::verify,
            },
            address: SocketAddr::from(([10, a, b, c], 6783)),
            listens: config.listens,
            clock_skew: config.clock_skew,
            powered: true,
            run: 0,
            wake_at: NEVER,
            line_free: 0,
            accept_free: 0,
            conns: Vec::new(),
            targets: Vec::new(),
            starved: None,
            sent: Traffic::default(),
            place,
            side: false,
        }
    }

    /// Whether its router runs.
    pub const fn is_alive(&self) -> bool {
        self.mesh.is_some()
    }

    /// Its name.
    pub const fn name(&self) -> PeerName {
        self.config.name
    }

    /// What it sent since the world began.
    pub const fn sent(&self) -> &Traffic {
        &self.sent
    }

    /// Whether others can dial it.
    pub const fn listens(&self) -> bool {
        self.listens
    }
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self { identity: 0, listens: true, clock_skew: 0, conn_limit: 0 }
    }
}

/// The identity number `n`.
pub(crate) fn identity(n: u64) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}
