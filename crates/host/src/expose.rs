//! Addresses of the host itself on the bridge, by which it talks with containers.

use ipnetwork::IpNetwork;

use crate::arp;
use crate::error::Result;
use crate::netlink::Netlink;
use crate::sysctl;

/// Gives the bridge an address, and lets the host pass packets on. Answers whether the address is new.
///
/// IPv4 forwarding is switched on and never off again: whether something else relies on it by then cannot be known.
/// IPv6 forwarding is left as it is, since it makes a host deaf to the router advertisements that it may live by.
///
/// # Errors
///
/// [`HostError::NoInterface`](crate::HostError::NoInterface) when there is no such bridge.
pub async fn expose(bridge: &str, address: IpNetwork) -> Result<bool> {
    let netlink = Netlink::connect()?;
    let link = netlink.bridge(bridge).await?;
    if address.is_ipv4() {
        sysctl::set("net/ipv4/ip_forward", "1")?;
        // Hiding one address shall not cost the others of its subnet.
        sysctl::prefer(&format!("net/ipv4/conf/{bridge}/promote_secondaries"), "1");
    } else {
        sysctl::prefer(&format!("net/ipv6/conf/{bridge}/ndisc_notify"), "1");
    }
    let new = netlink.add_address(&link, address).await?;
    if new && let Err(error) = arp::announce(&link, &[address]) {
        tracing::warn!(bridge, %address, %error, "containers are not told about the new address");
    }
    Ok(new)
}

/// Takes an address from the bridge. Answers whether it was there; that there is no bridge is no error.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn hide(bridge: &str, address: IpNetwork) -> Result<bool> {
    let netlink = Netlink::connect()?;
    match netlink.link(bridge).await? {
        Some(link) => netlink.remove_address(&link, address).await,
        None => Ok(false),
    }
}

/// The host's addresses on the bridge, without link-local ones; none when there is no bridge.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn exposed(bridge: &str) -> Result<Vec<IpNetwork>> {
    let netlink = Netlink::connect()?;
    match netlink.link(bridge).await? {
        Some(link) => netlink.addresses(&link).await,
        None => Ok(Vec::new()),
    }
}
