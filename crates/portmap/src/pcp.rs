//! PCP, and NAT-PMP where the router knows no more.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crab_nat::{
    InternetProtocol, MappingFailure, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};

use crate::{Gateway, LIFE, Mapped, Ports, Protocol, Transport};

/// Four requests within four seconds: a router on the same network answers the first, or never.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};

/// What was granted: at least one mapping.
pub(crate) struct Lease {
    granted: Vec<(Transport, PortMapping)>,
    /// The router's outer address, where the mappings do not tell it.
    outer: Option<IpAddr>,
}

impl Lease {
    pub(crate) async fn obtain(gateway: Gateway, ports: Ports) -> Result<Self, String> {
        let (mut granted, mut refused) = (Vec::new(), None);
        for (transport, port) in ports.each() {
            let options = PortMappingOptions {
                external_port: Some(port),
                lifetime_seconds: Some(LIFE.as_secs() as u32),
                timeout_config: Some(PATIENCE),
            };
            let (router, local) = (gateway.address.into(), gateway.local.into());
            match PortMapping::new(router, local, protocol(transport), port, options).await {
                Ok(mapping) => granted.push((transport, mapping)),
                // A router that does not answer once does not the second time.
                Err(e) if granted.is_empty() => return Err(told(&e)),
                Err(e) => refused = Some(e),
            }
        }
        if granted.is_empty() {
            return Err(refused.map_or_else(|| "PCP: there is no port".to_owned(), |e| told(&e)));
        }
        let mut lease = Self { granted, outer: None };
        lease.find_outer().await?;
        Ok(lease)
    }

    /// Asks for the outer address, which NAT-PMP tells apart from the mappings.
    async fn find_outer(&mut self) -> Result<(), String> {
        if let Some((_, mapping)) = self.granted.first()
            && matches!(mapping.mapping_type(), PortMappingType::NatPmp)
        {
            let outer = natpmp::external_address(mapping.gateway(), Some(PATIENCE)).await;
            self.outer = Some(outer.map_err(|e| format!("NAT-PMP: {e}"))?.into());
        }
        Ok(())
    }

    pub(crate) async fn renew(&mut self) -> Result<(), String> {
        for (_, mapping) in &mut self.granted {
            mapping.renew().await.map_err(|e| told(&e))?;
        }
        self.find_outer().await
    }

    pub(crate) async fn end(self) {
        for (_, mapping) in self.granted {
            let _ = mapping.try_drop().await;
        }
    }

    /// The shortest of all lives granted.
    pub(crate) fn life(&self) -> Duration {
        let lives = self.granted.iter().map(|(_, mapping)| mapping.lifetime());
        Duration::from_secs(lives.min().unwrap_or_default().into())
    }

    pub(crate) fn mapped(&self) -> Mapped {
        let of = |wanted: Transport| {
            let (_, mapping) = self.granted.iter().find(|(transport, _)| *transport == wanted)?;
            let ip = match mapping.mapping_type() {
                PortMappingType::Pcp { external_ip, .. } => external_ip,
                PortMappingType::NatPmp => self.outer?,
            };
            // A router that does not know its own address yet.
            (!ip.is_unspecified()).then(|| SocketAddr::new(ip, mapping.external_port().get()))
        };
        let by = match self.outer {
            Some(_) => Protocol::NatPmp,
            None => Protocol::Pcp,
        };
        Mapped { udp: of(Transport::Udp), tcp: of(Transport::Tcp), by }
    }
}

fn told(failure: &MappingFailure) -> String {
    match failure {
        MappingFailure::NatPmp(e) => format!("NAT-PMP: {e}"),
        MappingFailure::Pcp(e) => format!("PCP: {e}"),
    }
}

const fn protocol(transport: Transport) -> InternetProtocol {
    match transport {
        Transport::Udp => InternetProtocol::Udp,
        Transport::Tcp => InternetProtocol::Tcp,
    }
}
