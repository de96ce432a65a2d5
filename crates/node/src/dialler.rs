//! Connections out, up to an established link or the reason why there is none.
//!
//! Every way is tried at once, or nearly: the addresses of a name a quarter of a second apart, the proxy a little after them.
//! The first handshake that gets to its end is the link.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use mesh::{DialId, DialTo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use transport_tls::{Dialled, Endpoint, Established, Expect, Turn};
use wire::{PeerName, RefuseCode};

use crate::connect::{self, ADDRESS_GAP, race};
use crate::core::Input;
use crate::proxy::{self, HttpProxy, Proxy};
use crate::target;

/// The head start of direct connections before the proxy: where they work, it sees nothing of us.
const PROXY_GAP: Duration = Duration::from_millis(300);

/// Identities remembered for a target: by address.
pub(crate) type Pins = BTreeMap<SocketAddr, [u8; 32]>;

/// What all dials need.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) proxy: Option<Arc<Proxy>>,
    pub(crate) default_port: u16,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Dialler {
    /// Dials, and reports to the event loop.
    pub(crate) async fn dial(self, id: DialId, to: DialTo, pins: Pins) {
        let outcome = match self.start(id, &to, pins) {
            Ok(dial) => dial.run().await,
            Err(failed) => Err(failed),
        };
        let input = match outcome {
            Ok(established) => {
                self.tell_address(id, established.remote).await;
                Input::Linked(Box::new(established), Some(id))
            }
            Err(Failed { reason, code }) => Input::DialFailed(id, reason, code),
        };
        // The loop is gone only when the router stops.
        let _ = self.inputs.send(input).await;
    }

    fn start(&self, id: DialId, to: &DialTo, pins: Pins) -> Result<Dial<'_>, Failed> {
        let (host, port, name) = match to {
            DialTo::Target(target) => {
                let (host, port) = target::parse(target, self.default_port).map_err(Failed::because)?;
                (host, port, None)
            }
            DialTo::Address { address, expect } => (address.ip().to_string(), address.port(), Some(*expect)),
        };
        Ok(Dial { dialler: self, id, host, port, name, pins, turn: Turn::new(), found: OnceLock::new() })
    }

    async fn tell_address(&self, id: DialId, address: SocketAddr) {
        if !address.ip().is_unspecified() {
            let _ = self.inputs.send(Input::Dialling(id, address)).await;
        }
    }
}

/// Why there is no link.
#[derive(Debug, PartialEq, Eq)]
struct Failed {
    reason: String,
    code: Option<RefuseCode>,
}

impl Failed {
    fn because(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), code: None }
    }

    /// One reason out of those of several ways. Where one end refused, the other ways do not matter.
    fn of(all: Vec<Self>) -> Self {
        let code = all.iter().find_map(|failed| failed.code);
        let mut reasons = Vec::new();
        for failed in all {
            if failed.code == code && !reasons.contains(&failed.reason) {
                reasons.push(failed.reason);
            }
        }
        Self { reason: reasons.join("; "), code }
    }
}

/// One dial, with all its ways.
struct Dial<'a> {
    dialler: &'a Dialler,
    id: DialId,
    host: String,
    port: u16,
    name: Option<PeerName>,
    pins: Pins,
    turn: Turn,
    /// The addresses of the host, once they are known here.
    found: OnceLock<Vec<SocketAddr>>,
}

impl Dial<'_> {
    async fn run(&self) -> Result<Established, Failed> {
        let proxy = self.dialler.proxy.as_ref().and_then(|proxy| proxy.towards(&self.host, self.port));
        let Some(proxy) = proxy else { return self.directly().await };
        let ways: [BoxFuture<'_, _>; 2] = [Box::pin(self.directly()), Box::pin(self.through(proxy))];
        race(ways, PROXY_GAP).await.map_err(Failed::of)
    }

    async fn directly(&self) -> Result<Established, Failed> {
        let found = target::addresses(&self.host, self.port).await.map_err(Failed::because)?;
        let found = self.found.get_or_init(|| found);
        let to = |address| -> BoxFuture<'_, _> { Box::pin(self.to(address)) };
        let ways: Vec<_> = connect::interleaved(found).into_iter().map(to).collect();
        race(ways, ADDRESS_GAP).await.map_err(Failed::of)
    }

    async fn to(&self, address: SocketAddr) -> Result<Established, Failed> {
        self.dialler.tell_address(self.id, address).await;
        let tcp = connect::to(address).await.map_err(Failed::because)?;
        self.shake_hands(tcp, address, None).await
    }

    async fn through(&self, proxy: &HttpProxy) -> Result<Established, Failed> {
        let tcp = proxy::open(proxy, &self.host, self.port).await.map_err(Failed::because)?;
        let beyond = self.beyond();
        self.shake_hands(tcp, beyond, Some(beyond)).await.map_err(|failed| Failed {
            reason: format!("through the proxy {proxy}: {}", failed.reason),
            ..failed
        })
    }

    /// Where the proxy leads, as far as that is known here: frames may reach it over UDP.
    fn beyond(&self) -> SocketAddr {
        let found = self.found.get().and_then(|found| found.first());
        let ip = self.host.parse().ok().or(found.map(SocketAddr::ip));
        SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), self.port)
    }

    async fn shake_hands(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        beyond_proxy: Option<SocketAddr>,
    ) -> Result<Established, Failed> {
        let expect = Expect { public_key: self.pins.get(&address).copied(), name: self.name };
        let dialled = Dialled { expect, beyond_proxy, turn: Some(&self.turn) };
        let established = self.dialler.endpoint.dial_one_of(tcp, dialled).await;
        established.map_err(|e| Failed { reason: e.to_string(), code: e.code() })
    }
}

#[cfg(test)]
mod tests;
