//! UPnP Internet Gateway Device.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use igd_next::aio::Gateway as Device;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

use crate::{Gateway, LIFE, Mapped, Ports, Protocol, Transport};

/// How long a router may take to answer the search.
const SEARCH: Duration = Duration::from_secs(4);
/// Shown in the router's list.
const DESCRIPTION: &str = "weave";
/// Ports tried where the router has given the wanted one to somebody else.
const OTHERS: u16 = 4;

/// What was granted: at least one mapping.
pub(crate) struct Lease {
    device: Device<Tokio>,
    gateway: Gateway,
    outer: IpAddr,
    granted: Vec<Mapping>,
}

struct Mapping {
    transport: Transport,
    inner: u16,
    outer: u16,
}

impl Lease {
    pub(crate) async fn obtain(gateway: Gateway, ports: Ports) -> Result<Self, String> {
        let mut options = SearchOptions::default();
        options.bind_addr = (gateway.local, 0).into();
        options.timeout = Some(SEARCH);
        options.single_search_timeout = Some(SEARCH);
        let device = search_gateway(options).await.map_err(|e| format!("UPnP: {e}"))?;
        // Others on the network may answer the search; only the router is believed.
        if device.addr.ip() != IpAddr::V4(gateway.address) {
            return Err(format!("UPnP: {} answers, which is not the default gateway", device.addr.ip()));
        }
        let outer = device.get_external_ip().await.map_err(|e| format!("UPnP: {e}"))?;
        let mut lease = Self { device, gateway, outer, granted: Vec::new() };
        let mut refused = None;
        for (transport, port) in ports.each() {
            match lease.add_near(transport, port.get()).await {
                Ok(mapping) => lease.granted.push(mapping),
                Err(e) => refused = Some(e),
            }
        }
        match refused {
            Some(e) if lease.granted.is_empty() => Err(format!("UPnP: {e}")),
            _ => Ok(lease),
        }
    }

    /// Maps the same port outside, or one of those behind it.
    async fn add_near(&self, transport: Transport, inner: u16) -> Result<Mapping, AddPortError> {
        for outer in inner..=inner.saturating_add(OTHERS) {
            let mapping = Mapping { transport, inner, outer };
            match self.add(&mapping).await {
                Ok(()) => return Ok(mapping),
                Err(AddPortError::PortInUse) => {}
                Err(e) => return Err(e),
            }
        }
        Err(AddPortError::PortInUse)
    }

    async fn add(&self, mapping: &Mapping) -> Result<(), AddPortError> {
        let inside = SocketAddr::new(self.gateway.local.into(), mapping.inner);
        let add = |life: Duration| {
            let protocol = protocol(mapping.transport);
            let seconds = life.as_secs() as u32;
            self.device.add_port(protocol, mapping.outer, inside, seconds, DESCRIPTION)
        };
        match add(LIFE).await {
            Err(AddPortError::OnlyPermanentLeasesSupported) => add(Duration::ZERO).await,
            done => done,
        }
    }

    pub(crate) async fn renew(&mut self) -> Result<(), String> {
        for mapping in &self.granted {
            self.add(mapping).await.map_err(|e| format!("UPnP: {e}"))?;
        }
        self.outer = self.device.get_external_ip().await.map_err(|e| format!("UPnP: {e}"))?;
        Ok(())
    }

    pub(crate) async fn end(self) {
        for mapping in &self.granted {
            let _ = self.device.remove_port(protocol(mapping.transport), mapping.outer).await;
        }
    }

    pub(crate) fn mapped(&self) -> Mapped {
        let of = |wanted: Transport| {
            let mapping = self.granted.iter().find(|mapping| mapping.transport == wanted)?;
            (!self.outer.is_unspecified()).then(|| SocketAddr::new(self.outer, mapping.outer))
        };
        Mapped { udp: of(Transport::Udp), tcp: of(Transport::Tcp), by: Protocol::Upnp }
    }
}

const fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Udp => PortMappingProtocol::UDP,
        Transport::Tcp => PortMappingProtocol::TCP,
    }
}
