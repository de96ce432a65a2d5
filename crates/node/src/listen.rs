//! Where links are accepted: [`ListenAddr`], the sockets, and who is let in how fast.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use transport_tls::{Endpoint, HandshakeError};

use crate::core::Input;

/// Handshakes of strangers at once; further connections wait in the kernel's backlog.
const HANDSHAKES: usize = 64;
/// Connections accepted at once, and then one in each interval: a thousand peers that join through one are in within five seconds,
/// at less than a millisecond of this processor for each.
const BURST: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(5);

/// A local address and TCP port for links: `*:443`, `198.18.0.1:443`, `[2001:db8::1]:443`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddr {
    /// All addresses of both IP versions when absent.
    pub ip: Option<IpAddr>,
    /// Not 0.
    pub port: u16,
}

/// Why a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address and a port are needed, as in *:443, 198.18.0.1:443 or [2001:db8::1]:443")]
pub struct ListenAddrError;

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        let (ip, port) = match text.strip_prefix("*:") {
            Some(port) => (None, port.parse().map_err(|_| ListenAddrError)?),
            None => {
                let address: SocketAddr = text.parse().map_err(|_| ListenAddrError)?;
                (Some(address.ip()), address.port())
            }
        };
        if port == 0 { Err(ListenAddrError) } else { Ok(Self { ip, port }) }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
            None => write!(f, "*:{}", self.port),
        }
    }
}

impl ListenAddr {
    /// As others are told (P5.4): all addresses of a family are written as its unspecified one.
    pub(crate) fn stated(self) -> impl Iterator<Item = SocketAddr> {
        let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let ips = match self.ip {
            Some(ip) => [Some(ip), None],
            None => all.map(Some),
        };
        ips.into_iter().flatten().map(move |ip| SocketAddr::new(ip, self.port))
    }

    /// Listens there. `::` stands for IPv6 alone.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        match self.ip {
            Some(ip) => bind(SocketAddr::new(ip, self.port), true),
            None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.port), false) {
                // A kernel without IPv6.
                Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                    bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port), true)
                }
                result => result,
            },
        }
    }
}

fn bind(address: SocketAddr, one_family: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(one_family)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Accepts for ever, and reports to the event loop. All listeners share what strangers may cost.
pub(crate) async fn accept(
    listeners: Vec<TcpListener>,
    endpoint: Arc<Endpoint>,
    inputs: mpsc::Sender<Input>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut limiter = Limiter::new(Instant::now());
    let mut turn = 0;
    loop {
        tokio::time::sleep(limiter.wait(Instant::now())).await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (tcp, remote) = match next(&listeners, turn).await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: the pause lets some close.
                tracing::warn!(error = %e, "cannot accept connections");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        turn = turn.wrapping_add(1);
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let (endpoint, inputs) = (Arc::clone(&endpoint), inputs.clone());
        tokio::spawn(async move {
            let input = match endpoint.accept(tcp).await {
                Ok(established) => Input::Linked(Box::new(established), None),
                Err(e) => Input::InboundFailed(remote, e.to_string(), matches!(e, HandshakeError::Io(_))),
            };
            drop(permit);
            let _ = inputs.send(input).await;
        });
    }
}

/// The next connection of any listener; each is the first to be asked in its turn.
async fn next(listeners: &[TcpListener], turn: usize) -> io::Result<(TcpStream, SocketAddr)> {
    let (before, first) = listeners.split_at(turn.checked_rem(listeners.len()).unwrap_or(0));
    poll_fn(|cx| {
        let mut ready = first.iter().chain(before).map(|listener| listener.poll_accept(cx));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// A token bucket.
struct Limiter {
    tokens: u32,
    last: Instant,
}

impl Limiter {
    const fn new(now: Instant) -> Self {
        Self { tokens: BURST, last: now }
    }

    /// Takes a token; gives how long to wait before using it.
    fn wait(&mut self, now: Instant) -> Duration {
        let refill =
            u32::try_from(now.saturating_duration_since(self.last).as_millis() / INTERVAL.as_millis())
                .unwrap_or(BURST);
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(BURST);
            self.last = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Duration::ZERO
            }
            None => INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["*:443", "198.18.0.1:443", "0.0.0.0:1", "[::]:443", "[2001:db8::1]:65535"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "443",
            ":443",
            "*",
            "*:",
            "*:0",
            "*:65536",
            "198.18.0.1",
            "198.18.0.1:0",
            "::1:443",
            "host:443",
        ] {
            assert_eq!(text.parse::<ListenAddr>(), Err(ListenAddrError), "{text}");
        }
    }

    #[test]
    fn others_are_told_of_one_address_or_of_all_of_a_family() {
        for (text, stated) in [
            ("*:443", &["0.0.0.0:443", "[::]:443"][..]),
            ("0.0.0.0:443", &["0.0.0.0:443"]),
            ("[::]:443", &["[::]:443"]),
            ("198.18.0.1:443", &["198.18.0.1:443"]),
        ] {
            let listen: ListenAddr = text.parse().unwrap();
            assert_eq!(listen.stated().map(|a| a.to_string()).collect::<Vec<_>>(), stated, "{text}");
        }
    }

    #[tokio::test]
    async fn connections_come_in_by_each_of_several_addresses() {
        let loopback = |port| ListenAddr { ip: Some(Ipv4Addr::LOCALHOST.into()), port };
        let listeners: Vec<_> = (0..3).map(|_| loopback(0).listen().unwrap()).collect();
        for round in 0..6 {
            let to = listeners[(round * 2) % 3].local_addr().unwrap();
            let (dialled, accepted) = tokio::join!(TcpStream::connect(to), next(&listeners, round));
            let (dialled, (accepted, _)) = (dialled.unwrap(), accepted.unwrap());
            assert_eq!(accepted.local_addr().unwrap(), to);
            assert_eq!(accepted.peer_addr().unwrap(), dialled.local_addr().unwrap());
        }
        let taken = loopback(listeners[0].local_addr().unwrap().port());
        assert_eq!(taken.listen().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_burst_passes_and_then_two_hundred_a_second() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        assert!((0..BURST).all(|_| limiter.wait(start) == Duration::ZERO));
        assert_eq!(limiter.wait(start), INTERVAL);
        let at = |ms| start + Duration::from_millis(ms);
        let mut let_in = 0;
        for ms in 1..=1000 {
            while limiter.wait(at(ms)) == Duration::ZERO {
                let_in += 1;
            }
        }
        assert_eq!(let_in, 200);
    }
}
