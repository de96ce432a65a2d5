//! Connections out, up to an established link or the reason why there is none.
//!
//! Every way is tried at once, or nearly: the addresses of a name a quarter of a second apart, the proxy a little after them.
//! The first handshake that gets to its end is the link.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use mesh::{DialId, DialTo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use transport_tls::{Dialled, Endpoint, Established, Expect, Progress, Turn};
use wire::{PeerName, RefuseCode};

use crate::connect::{self, ADDRESS_GAP, race};
use crate::core::Input;
use crate::narrow::{self, Narrow};
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
    pub(crate) narrow: Arc<Narrow>,
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
        let (place, name) = match to {
            DialTo::Target(target) => {
                let (host, port) = target::parse(target, self.default_port).map_err(Failed::because)?;
                (Place::Named { host, port, found: OnceLock::new() }, None)
            }
            DialTo::Addresses { addresses, expect } => (Place::Known(addresses.clone()), Some(*expect)),
        };
        Ok(Dial { dialler: self, id, place, name, pins, turn: Turn::new() })
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

    /// One reason out of those of several ways. Where one end refused, the other ways do not matter; that somebody else is at one of
    /// several addresses tells nothing about the others.
    fn of(mut all: Vec<Self>) -> Self {
        let elsewhere =
            |failed: &Self| matches!(failed.code, Some(RefuseCode::WrongPeer | RefuseCode::Oneself));
        if !all.iter().all(elsewhere) {
            all.retain(|failed| !elsewhere(failed));
        }
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

/// Where a dial goes.
enum Place {
    /// What the operator named.
    Named {
        host: String,
        port: u16,
        /// Its addresses, once they are known here.
        found: OnceLock<Vec<SocketAddr>>,
    },
    /// Where others say that the peer is, the likeliest first.
    Known(Vec<SocketAddr>),
}

/// One dial, with all its ways.
struct Dial<'a> {
    dialler: &'a Dialler,
    id: DialId,
    place: Place,
    name: Option<PeerName>,
    pins: Pins,
    turn: Turn,
}

impl Dial<'_> {
    async fn run(&self) -> Result<Established, Failed> {
        let through = self.through_proxy();
        if through.is_empty() {
            return self.directly().await;
        }
        let through = async { race(through, ADDRESS_GAP).await.map_err(Failed::of) };
        let ways: [BoxFuture<'_, _>; 2] = [Box::pin(self.directly()), Box::pin(through)];
        race(ways, PROXY_GAP).await.map_err(Failed::of)
    }

    async fn directly(&self) -> Result<Established, Failed> {
        let addresses = match &self.place {
            Place::Named { host, port, found } => {
                let addresses = target::addresses(host, *port).await.map_err(Failed::because)?;
                connect::interleaved(found.get_or_init(|| addresses))
            }
            Place::Known(addresses) => addresses.clone(),
        };
        let to = |address| -> BoxFuture<'_, _> { Box::pin(self.to(address)) };
        let ways: Vec<_> = addresses.into_iter().map(to).collect();
        race(ways, ADDRESS_GAP).await.map_err(Failed::of)
    }

    /// The ways through the proxy, if one is to be used.
    fn through_proxy(&self) -> Vec<BoxFuture<'_, Result<Established, Failed>>> {
        let Some(proxy) = &self.dialler.proxy else { return Vec::new() };
        let way = |host: String, port| -> Option<BoxFuture<'_, _>> {
            let server = proxy.towards(&host, port)?;
            Some(Box::pin(self.through(server, host, port)))
        };
        match &self.place {
            Place::Named { host, port, .. } => way(host.clone(), *port).into_iter().collect(),
            Place::Known(addresses) => {
                addresses.iter().filter_map(|to| way(to.ip().to_string(), to.port())).collect()
            }
        }
    }

    async fn to(&self, address: SocketAddr) -> Result<Established, Failed> {
        self.dialler.tell_address(self.id, address).await;
        let (known, begun) = (&self.dialler.narrow, Instant::now());
        if known.is_known(begun, address.ip()) {
            return self.with_short_segments(address).await;
        }
        let tcp = connect::to(address).await.map_err(Failed::because)?;
        let patience = known.patience(begun, address.ip(), begun.elapsed());
        let progress = Progress::default();
        let hold = narrow::hold(&tcp);
        let full = self.shake_hands(tcp, address, None, Some(&progress));
        let short = self.with_short_segments(address);
        let (established, is_short) = narrow::beside(full, progress.stalled(patience), short).await?;
        if is_short {
            tracing::info!(%address, "long packets vanish on the way: TCP with short segments gets through");
            known.note(Instant::now(), address.ip());
            hold.iter().for_each(narrow::reset);
        }
        Ok(established)
    }

    async fn with_short_segments(&self, address: SocketAddr) -> Result<Established, Failed> {
        let tcp = narrow::connect(address).await.map_err(Failed::because)?;
        self.shake_hands(tcp, address, None, None).await
    }

    async fn through(&self, proxy: &HttpProxy, host: String, port: u16) -> Result<Established, Failed> {
        let tcp = proxy::open(proxy, &host, port).await.map_err(Failed::because)?;
        let beyond = self.beyond(&host, port);
        self.shake_hands(tcp, beyond, Some(beyond), None).await.map_err(|failed| Failed {
            reason: format!("through the proxy {proxy}: {}", failed.reason),
            ..failed
        })
    }

    /// Where the proxy leads, as far as that is known here: frames may reach it over UDP.
    fn beyond(&self, host: &str, port: u16) -> SocketAddr {
        let found = match &self.place {
            Place::Named { found, .. } => found.get().and_then(|found| found.first()),
            Place::Known(_) => None,
        };
        let ip = host.parse().ok().or(found.map(SocketAddr::ip));
        SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port)
    }

    async fn shake_hands(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        beyond_proxy: Option<SocketAddr>,
        progress: Option<&Progress>,
    ) -> Result<Established, Failed> {
        let expect = Expect { public_key: self.pins.get(&address).copied(), name: self.name };
        let dialled = Dialled { expect, beyond_proxy, turn: Some(&self.turn), progress };
        let established = self.dialler.endpoint.dial_one_of(tcp, dialled).await;
        established.map_err(|e| Failed { reason: e.to_string(), code: e.code() })
    }
}

#[cfg(test)]
mod tests;
