//! Transports on loopback that share sessions.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;

use session::{KeyExchange, Opener, Role, Sealer};
use transport::FrameSink;
use transport_udp::{Socket, UdpEvent, UdpPath, UdpTransport};
use wire::{Cipher, PeerName};

pub(crate) const MAX_FRAME: usize = 1390;

/// A transport of its own with a thread that receives.
pub(crate) fn start(sink: Arc<dyn FrameSink>, events: Box<dyn Fn(UdpEvent) + Send>) -> UdpTransport {
    let socket = Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap();
    UdpTransport::start(socket, sink, events).unwrap()
}

pub(crate) fn address(transport: &UdpTransport) -> SocketAddr {
    format!("127.0.0.1:{}", transport.socket().port().unwrap()).parse().unwrap()
}

/// The keys of both ends of a session; `a` and `b` are their indices.
pub(crate) fn keys(a: u32, b: u32) -> ((Arc<Sealer>, Opener), (Arc<Sealer>, Opener)) {
    let (ka, kb) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
    let (public_a, public_b) = (ka.public_key().to_vec(), kb.public_key().to_vec());
    let (seal_a, open_a) = ka.finish(&public_b, &[1; 32], Role::Dialler, 0, Cipher::Aes256Gcm, b).unwrap();
    let (seal_b, open_b) = kb.finish(&public_a, &[1; 32], Role::Acceptor, 0, Cipher::Aes256Gcm, a).unwrap();
    ((Arc::new(seal_a), open_a), (Arc::new(seal_b), open_b))
}

/// Both ends of a session between neighbours, installed. `a` and `b` have indices that nobody else at these two uses.
pub(crate) struct Joined {
    pub(crate) to_b: Arc<UdpPath>,
    pub(crate) to_a: Arc<UdpPath>,
    /// What `a` seals with for `b`.
    pub(crate) sealer: Arc<Sealer>,
}

pub(crate) fn join(
    (a, at_a, a_index): (PeerName, &UdpTransport, u32),
    (b, at_b, b_index): (PeerName, &UdpTransport, u32),
) -> Joined {
    let ((seal_a, open_a), (seal_b, open_b)) = keys(a_index, b_index);
    let sealer = Arc::clone(&seal_a);
    let to_b = Arc::new(UdpPath::new(at_a.socket(), seal_a, address(at_b), MAX_FRAME));
    let to_a = Arc::new(UdpPath::new(at_b.socket(), seal_b, address(at_a), MAX_FRAME));
    at_a.install(a_index, b, open_a, Arc::clone(&to_b));
    at_b.install(b_index, a, open_b, Arc::clone(&to_a));
    // What is sent before a session is installed would be lost, and tests count on nothing being lost.
    std::thread::sleep(std::time::Duration::from_millis(50));
    Joined { to_b, to_a, sealer }
}
