//! TCP simultaneous open (RFC 9293 section 3.5): two hosts that both let nothing in connect to each other at the same time.
//!
//! The SYN of each opens its own NAT or firewall for the other's. The two SYNs cross, and both ends believe that they have
//! connected; who is the client of TLS is decided by the names.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use wire::PeerName;

use crate::dial::{Dialled, Turn};
use crate::password::Side;
use crate::{Endpoint, Established, Expect, HandshakeError};

/// The pause after a SYN that was refused: it came before the other end's had opened the way.
const PAUSE: Duration = Duration::from_millis(25);

/// Connects from a fixed local address to one that does the same towards us, beginning at `at`, for as long as `patience`.
/// Refusals in between count for nothing. Other sockets of this user may hold the local port too, if they allow it.
///
/// # Errors
/// The last one, when the time is up; any that another try would not mend, at once.
pub async fn dial_simultaneous(
    local: SocketAddr,
    remote: SocketAddr,
    at: Instant,
    patience: Duration,
) -> io::Result<TcpStream> {
    tokio::time::sleep_until(at.into()).await;
    let mut last = io::Error::from(ErrorKind::TimedOut);
    let tries = async {
        loop {
            match once(local, remote).await {
                Ok(tcp) => return Ok(tcp),
                Err(e) if is_passing(&e) => last = e,
                Err(e) => return Err(e),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(patience, tries).await {
        Ok(outcome) => outcome,
        Err(_) => Err(last),
    }
}

async fn once(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(local)?;
    socket.connect(remote).await
}

/// What firewalls say while the way is not open yet. An address in use is the try before, whose end the kernel still awaits.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
            | ErrorKind::AddrInUse
            | ErrorKind::AddrNotAvailable
    )
}

impl Endpoint {
    /// Takes a connection that both ends opened through the handshake: the smaller name is the client. Of several that both opened
    /// the client takes its turn with one, and the other end has what comes of that.
    ///
    /// # Errors
    /// As [`Endpoint::dial`]; when `peer` has our own name.
    pub async fn meet(
        &self,
        tcp: TcpStream,
        peer: PeerName,
        turn: &Turn,
    ) -> Result<Established, HandshakeError> {
        let expect = Expect { name: Some(peer), ..Expect::default() };
        let dialled = Dialled { expect, ..Dialled::default() };
        match self.hello.name.cmp(&peer) {
            std::cmp::Ordering::Less => self.dial_one_of(tcp, Dialled { turn: Some(turn), ..dialled }).await,
            std::cmp::Ordering::Greater => {
                let connection = self.credentials.server_connection();
                self.handshake(tcp, connection, Side::Acceptor, dialled).await
            }
            std::cmp::Ordering::Equal => {
                Err(HandshakeError::Protocol("a peer does not meet itself".to_owned()))
            }
        }
    }
}
