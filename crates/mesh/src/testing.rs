//! What unit tests of several modules need.

use std::sync::Arc;
use std::time::Instant;

use wire::{PeerName, Uid};

use crate::identity::Identity;
use crate::mesh::{LinkUp, Mesh, MeshConfig};

/// Some moment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some moment; no outcome depends on which"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// The identity number `n`.
pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

/// The mesh of identity 1.
pub(crate) fn mesh(now: Instant) -> Mesh {
    let identity = Arc::new(identity(1));
    let config = MeshConfig {
        name: identity.name(),
        identity,
        nickname: "h1".into(),
        uid: Uid(1),
        incarnation: 1,
        port: 6783,
        program: "test".into(),
        discovery: true,
        conn_limit: 0,
        seed: [1; 32],
        udp_port: 6783,
        verify: crate::verify,
    };
    Mesh::new(config, now)
}

/// The peer name 02:00:00:00:00:`n`.
pub(crate) const fn name(n: u8) -> PeerName {
    PeerName::new([2, 0, 0, 0, 0, n])
}

/// A link to the peer with identity number `n`, at 10.0.0.`n`.
pub(crate) fn link_up(n: u8, outbound: bool) -> LinkUp {
    let identity = identity(n);
    let port = if outbound { 6783 } else { 40_000 + u16::from(n) };
    LinkUp {
        peer: identity.name(),
        public_key: identity.public_key(),
        uid: Uid(u64::from(n)),
        nickname: format!("h{n}"),
        incarnation: 1,
        address: ([10, 0, 0, n], port).into(),
        port: 6783,
        outbound,
        dial: None,
        dialler_nonce: 7,
        way: crate::mesh::LinkWay::Direct,
    }
}
