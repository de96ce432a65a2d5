//! Ports of this host, mapped by the NAT in front of it: by PCP (RFC 6887), else NAT-PMP (RFC 6886), else UPnP IGD.
//!
//! [`keep`] asks the default gateway and nobody else, and only where this host has a private address. It renews what it got
//! at half of its life, asks anew when the gateway is another one, and takes back what it got when it is told to stop. What
//! came of it is in a [`State`]: nothing is logged, and nothing waits for it.

#![forbid(unsafe_code)]

mod igd;
mod pcp;

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a mapping is asked for. A router that restarts has forgotten it; then it is back after half of this.
const LIFE: Duration = Duration::from_secs(1800);
/// After so long a router that mapped nothing is asked again.
const AGAIN: Duration = Duration::from_secs(600);
/// A router that gives mappings a life shorter than twice this is not asked more often.
const SOONEST: Duration = Duration::from_secs(30);
/// How long taking back may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is to be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The UDP port of this host, if it has one.
    pub udp: Option<NonZeroU16>,
    /// Its TCP port.
    pub tcp: Option<NonZeroU16>,
}

/// Who may map it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// The router's address.
    pub address: Ipv4Addr,
    /// The address of this host that it sees.
    pub local: Ipv4Addr,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody was asked yet.
    #[default]
    Asking,
    /// There is no NAT that could be asked: no default gateway, or this host has a public address.
    NotNeeded,
    /// Others get in here.
    Mapped(Mapped),
    /// The router maps nothing, for these reasons.
    Refused(String),
}

/// Where others get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// What leads to the UDP port.
    pub udp: Option<SocketAddr>,
    /// What leads to the TCP port.
    pub tcp: Option<SocketAddr>,
    /// How the router was asked.
    pub by: Protocol,
}

/// How a router is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("asking the router"),
            Self::NotNeeded => f.write_str("no router to ask"),
            Self::Refused(reason) => write!(f, "the router maps no port: {reason}"),
            Self::Mapped(mapped) => {
                let mut open = mapped.udp.map(|to| format!("UDP {to}")).into_iter().collect::<Vec<_>>();
                open.extend(mapped.tcp.map(|to| format!("TCP {to}")));
                write!(f, "the router lets others in at {} ({})", open.join(" and "), mapped.by)
            }
        }
    }
}

/// Which of both a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// Mappings that were granted.
enum Lease {
    Pcp(pcp::Lease),
    Igd(igd::Lease),
}

/// Keeps these ports mapped by the default gateway, whichever that is, until `stop` is ready.
pub async fn keep(
    ports: Ports,
    mut gateway: watch::Receiver<Option<Gateway>>,
    state: watch::Sender<State>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut lease: Option<(Gateway, Lease)> = None;
    // One that is gone changes no more.
    let mut watched = true;
    loop {
        let now = gateway.borrow_and_update().filter(|gateway| gateway.local.is_private());
        // What another router granted ends by itself.
        let held = lease.take().filter(|(of, _)| Some(*of) == now).map(|(_, held)| held);
        let (found, wait) = tokio::select! {
            () = &mut stop => return,
            asked = ask(now, ports, held) => {
                let (found, wait, granted) = asked;
                lease = now.zip(granted);
                (found, wait)
            }
        };
        state.send_if_modified(|before| {
            let is_news = *before != found;
            *before = found;
            is_news
        });
        tokio::select! {
            () = &mut stop => break,
            () = sleep(wait) => {}
            changed = gateway.changed(), if watched => watched = changed.is_ok(),
        }
    }
    if let Some((_, lease)) = lease {
        // Best effort: what is not taken back ends by itself.
        let _ = timeout(FAREWELL, lease.end()).await;
    }
}

/// Asks once: what came of it, when to ask again, and what was granted.
async fn ask(
    gateway: Option<Gateway>,
    ports: Ports,
    held: Option<Lease>,
) -> (State, Duration, Option<Lease>) {
    let Some(gateway) = gateway else { return (State::NotNeeded, AGAIN, None) };
    let granted = match held {
        // What was lost meanwhile is asked for anew.
        Some(mut held) => match held.renew().await {
            Ok(()) => Ok(held),
            Err(_) => Lease::obtain(gateway, ports).await,
        },
        None => Lease::obtain(gateway, ports).await,
    };
    match granted {
        Ok(lease) => {
            let wait = (lease.life() / 2).max(SOONEST);
            (State::Mapped(lease.mapped()), wait, Some(lease))
        }
        Err(reason) => (State::Refused(reason), AGAIN, None),
    }
}

impl Lease {
    async fn obtain(gateway: Gateway, ports: Ports) -> Result<Self, String> {
        let first = match pcp::Lease::obtain(gateway, ports).await {
            Ok(lease) => return Ok(Self::Pcp(lease)),
            Err(reason) => reason,
        };
        match igd::Lease::obtain(gateway, ports).await {
            Ok(lease) => Ok(Self::Igd(lease)),
            Err(second) => Err(format!("{first}; {second}")),
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        match self {
            Self::Pcp(lease) => lease.renew().await,
            Self::Igd(lease) => lease.renew().await,
        }
    }

    async fn end(self) {
        match self {
            Self::Pcp(lease) => lease.end().await,
            Self::Igd(lease) => lease.end().await,
        }
    }

    fn life(&self) -> Duration {
        match self {
            Self::Pcp(lease) => lease.life(),
            Self::Igd(_) => LIFE,
        }
    }

    fn mapped(&self) -> Mapped {
        match self {
            Self::Pcp(lease) => lease.mapped(),
            Self::Igd(lease) => lease.mapped(),
        }
    }
}

impl Ports {
    /// Each port that is to be mapped.
    fn each(self) -> impl Iterator<Item = (Transport, NonZeroU16)> {
        let udp = self.udp.map(|port| (Transport::Udp, port));
        udp.into_iter().chain(self.tcp.map(|port| (Transport::Tcp, port)))
    }
}
