//! Connections in both directions, up to an established link or the reason why there is none.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::{DialId, DialTo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use transport_tls::{Endpoint, Expect, HandshakeError};
use wire::RefuseCode;

use crate::core::Input;
use crate::target;

/// A SYN that was not answered by then is not answered soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes of strangers at once; further connections wait in the kernel's backlog.
const HANDSHAKES: usize = 64;
/// Connections accepted at once, and then one in each interval: a thousand peers that join through one are in within five seconds,
/// at less than a millisecond of this processor for each.
const BURST: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(5);

/// Identities remembered for a target: by address.
pub(crate) type Pins = BTreeMap<SocketAddr, [u8; 32]>;

/// Dials, and reports to the event loop.
pub(crate) async fn dial(
    endpoint: Arc<Endpoint>,
    id: DialId,
    to: DialTo,
    pins: Pins,
    default_port: u16,
    inputs: mpsc::Sender<Input>,
) {
    let (candidates, name) = match &to {
        DialTo::Target(target) => (target::resolve(target, default_port).await, None),
        DialTo::Address { address, expect } => (Ok(vec![*address]), Some(*expect)),
    };
    let outcome = match candidates {
        Err(e) => Err((e.to_string(), None)),
        Ok(candidates) => {
            let mut outcome = Err(("no address".to_owned(), None));
            for address in candidates {
                // The loop is gone only when the router stops.
                let _ = inputs.send(Input::Dialling(id, address)).await;
                let expect = Expect { public_key: pins.get(&address).copied(), name };
                outcome = dial_one(&endpoint, address, expect).await;
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        }
    };
    let input = match outcome {
        Ok(established) => Input::Linked(Box::new(established), Some(id)),
        Err((reason, code)) => Input::DialFailed(id, reason, code),
    };
    let _ = inputs.send(input).await;
}

async fn dial_one(
    endpoint: &Endpoint,
    address: SocketAddr,
    expect: Expect,
) -> Result<transport_tls::Established, (String, Option<RefuseCode>)> {
    let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s: a firewall on the way?"))
        })
        .map_err(|e| (format!("cannot connect to {address}: {}", plain(&e)), None))?;
    endpoint.dial(tcp, expect).await.map_err(|e| (e.to_string(), e.code()))
}

/// Listens on `host`, or on every address of both IP versions.
pub(crate) fn listen(host: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(host.is_some())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        TcpListener::from_std(socket.into())
    };
    match host {
        Some(ip) => bind(SocketAddr::new(ip, port)),
        None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            result => result,
        },
    }
}

/// Accepts for ever, and reports to the event loop.
pub(crate) async fn accept(listener: TcpListener, endpoint: Arc<Endpoint>, inputs: mpsc::Sender<Input>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut limiter = Limiter::new(Instant::now());
    loop {
        tokio::time::sleep(limiter.wait(Instant::now())).await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: the pause lets some close.
                tracing::warn!(error = %e, "cannot accept connections");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
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

/// "Connection refused (os error 111)" without the part nobody reads.
fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

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
