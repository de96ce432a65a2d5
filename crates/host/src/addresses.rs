//! What addresses and routes the host has already.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::error::Result;
use crate::netlink::Netlink;

/// A route of the host that leads part of a subnet elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Where the route leads to.
    pub destination: IpNetwork,
    /// The interface it leads through.
    pub interface: String,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {} through {}", self.destination, self.interface)
    }
}

/// The addresses at which others may reach this host: those of all interfaces, without loopback and link-local ones.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn own_addresses() -> Result<Vec<IpAddr>> {
    let all = Netlink::connect()?.all_addresses().await?;
    Ok(all.into_iter().map(|(_, address)| address.ip()).filter(|ip| !ip.is_loopback()).collect())
}

/// A route of this host that a subnet overlaps with, other than the default route and routes through `bridge`.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn route_overlap(subnet: IpNetwork, bridge: &str) -> Result<Option<Overlap>> {
    let netlink = Netlink::connect()?;
    let routes = netlink.routes(subnet).await?;
    let links = netlink.links().await?;
    Ok(routes
        .into_iter()
        .filter(|route| route.destination.prefix() > 0 && overlap(route.destination, subnet))
        .find_map(|route| {
            let link = links.iter().find(|link| link.index == route.interface)?;
            (link.name != bridge)
                .then(|| Overlap { destination: route.destination, interface: link.name.clone() })
        }))
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    match (a, b) {
        (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
        (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
        (IpNetwork::V4(_), IpNetwork::V6(_)) | (IpNetwork::V6(_), IpNetwork::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let check = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(check("10.0.0.0/8", "10.2.1.0/24"));
        assert!(check("10.2.1.0/24", "10.0.0.0/8"));
        assert!(check("10.2.1.7/24", "10.2.1.9/24"));
        assert!(!check("10.2.1.0/24", "10.2.2.0/24"));
        assert!(!check("10.2.1.0/24", "::/0"));
        assert!(check("fd00::/8", "fd00:1::/64"));
    }
}
