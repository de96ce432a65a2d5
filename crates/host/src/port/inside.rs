//! The container's end of a port. Everything here runs in the container's network namespace.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use super::{INNER, PortFacts, wait_for};
use crate::arp;
use crate::error::{HostError, Result};
use crate::netlink::{Link, LinkChange, LinkKind, Netlink};
use crate::sysctl;

/// All IPv4 multicast addresses (RFC 5771).
const MULTICAST: Ipv4Network = match Ipv4Network::new_checked(Ipv4Addr::new(224, 0, 0, 0), 4) {
    Some(network) => network,
    None => unreachable!(),
};

/// The end in the container as it shall be.
pub(super) struct Wanted {
    pub(super) mtu: u32,
    pub(super) addresses: Vec<IpNetwork>,
    pub(super) multicast_route: bool,
}

/// The end in the container as it came to be.
pub(super) struct Inside {
    pub(super) mac: [u8; 6],
    pub(super) added: Vec<IpNetwork>,
}

/// Our interface, if the container has it.
pub(super) async fn link() -> Result<Option<Link>> {
    Netlink::connect()?.link(INNER).await
}

/// Brings the interface up with all addresses, or leaves it without the new ones.
pub(super) async fn configure(wanted: Wanted) -> Result<Inside> {
    let netlink = Netlink::connect()?;
    let link = netlink.existing(INNER).await?;
    let mut added = Vec::new();
    let result = configure_link(&netlink, &link, &wanted, &mut added).await;
    if let Err(error) = result {
        for address in added {
            // The first error is the one that explains the others.
            let _ = netlink.remove_address(&link, address).await;
        }
        return Err(error);
    }
    Ok(Inside { mac: link.mac, added })
}

async fn configure_link(
    netlink: &Netlink,
    link: &Link,
    wanted: &Wanted,
    added: &mut Vec<IpNetwork>,
) -> Result<()> {
    settings(wanted);
    let change = LinkChange { mtu: Some(wanted.mtu), up: Some(true), ..LinkChange::default() };
    netlink.change(link, change).await?;
    for address in &wanted.addresses {
        if netlink.add_address(link, *address).await? {
            added.push(*address);
        }
    }
    if wanted.multicast_route {
        multicast_route(netlink, link).await?;
    }
    Ok(())
}

/// Kernel settings that make addresses behave; none is needed for frames to pass.
fn settings(wanted: &Wanted) {
    let v4 = |key| format!("net/ipv4/conf/{INNER}/{key}");
    let v6 = |key| format!("net/ipv6/conf/{INNER}/{key}");
    // Neighbours hear at once when the interface comes up, say after the container was moved.
    sysctl::prefer(&v4("arp_notify"), "1");
    // An address that goes does not take the others of its subnet with it.
    sysctl::prefer(&v4("promote_secondaries"), "1");
    if wanted.addresses.iter().any(IpNetwork::is_ipv6) {
        // Docker turns IPv6 off in containers of networks without it; here it was asked for.
        sysctl::prefer(&v6("disable_ipv6"), "0");
        sysctl::prefer(&v6("ndisc_notify"), "1");
    }
}

/// Sends multicast this way unless the container has a route for it. One with a default route has a way for it, too,
/// but it leads out of the overlay.
async fn multicast_route(netlink: &Netlink, link: &Link) -> Result<()> {
    let multicast = IpNetwork::V4(MULTICAST);
    let routes = netlink.routes(multicast).await?;
    if !routes.iter().any(|route| route.destination == multicast) {
        netlink.add_route(link, multicast).await?;
    }
    Ok(())
}

/// Tells neighbours about new addresses, as soon as the interface carries frames: its queue opens a moment after the
/// other end has come up.
pub(super) async fn announce(addresses: Vec<IpNetwork>) -> Result<()> {
    let netlink = Netlink::connect()?;
    wait_for(&netlink, INNER, |link| link.running).await?;
    let link = netlink.existing(INNER).await?;
    arp::announce(&link, &addresses).map_err(|source| HostError::Io { what: "announce addresses", source })
}

/// Takes addresses away, and the interface with the last of them.
pub(super) async fn withdraw(addresses: Vec<IpNetwork>) -> Result<Vec<IpNetwork>> {
    let netlink = Netlink::connect()?;
    let Some(link) = ours(&netlink).await? else {
        return Ok(Vec::new());
    };
    let mut removed = Vec::new();
    for address in addresses {
        if netlink.remove_address(&link, address).await? {
            removed.push(address);
        }
    }
    if netlink.addresses(&link).await?.is_empty() {
        netlink.delete(&link).await?;
    }
    Ok(removed)
}

/// What `weave ps` shows.
pub(super) async fn facts() -> Result<Option<PortFacts>> {
    let netlink = Netlink::connect()?;
    let Some(link) = ours(&netlink).await? else {
        return Ok(None);
    };
    let addresses = netlink.addresses(&link).await?;
    Ok(Some(PortFacts { mac: link.mac, addresses }))
}

async fn ours(netlink: &Netlink) -> Result<Option<Link>> {
    Ok(netlink.link(INNER).await?.filter(|link| link.kind == LinkKind::Veth))
}
