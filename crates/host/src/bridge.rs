//! The bridge that everything on this host hangs on.

use crate::error::{HostError, Result};
use crate::netlink::{Link, LinkChange, LinkKind, Netlink, check_name};
use crate::port::PORT_PREFIX;
use crate::sysctl;

/// The smallest MTU that IPv4 allows a link (RFC 791 section 3.2).
const MIN_MTU: u32 = 68;

/// The largest MTU of a Linux bridge (`ETH_MAX_MTU`).
const MAX_MTU: u32 = 65535;

/// How the bridge shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its MAC address, fixed: the host's addresses on the bridge answer from it.
    pub mac: [u8; 6],
    /// Its MTU in bytes, which its ports have as well.
    pub mtu: u32,
}

/// Makes the bridge, or brings the one that is there into the wanted state, and up.
///
/// It is a plain switch: no spanning tree and no forward delay, since the overlay is free of loops and a port shall
/// carry frames as soon as it is there; no multicast snooping, since multicast has to reach the router, which asks for
/// no group.
///
/// # Errors
///
/// [`HostError::NotABridge`] when the name is taken by something else; nothing is changed then.
pub async fn ensure_bridge(spec: &BridgeSpec<'_>) -> Result<()> {
    check_name(spec.name)?;
    if !(MIN_MTU..=MAX_MTU).contains(&spec.mtu) {
        return Err(HostError::Mtu { mtu: spec.mtu, min: MIN_MTU, max: MAX_MTU });
    }
    let netlink = Netlink::connect()?;
    let made = match netlink.link(spec.name).await? {
        Some(Link { kind: LinkKind::Bridge, .. }) => false,
        Some(other) => {
            return Err(HostError::NotABridge { name: spec.name.to_owned(), kind: other.kind.describe() });
        }
        None => {
            netlink.add_bridge(spec.name, spec.mac).await?;
            true
        }
    };
    let result = settle(&netlink, spec).await;
    if made && result.is_err() {
        // Whatever goes wrong while tidying up, the first error is the one that explains it.
        let _ = remove_bridge(spec.name).await;
    }
    result
}

async fn settle(netlink: &Netlink, spec: &BridgeSpec<'_>) -> Result<()> {
    let bridge = netlink.bridge(spec.name).await?;
    netlink.make_plain_switch(&bridge).await?;
    refuse_router_advertisements(spec.name);
    netlink
        .change(
            &bridge,
            LinkChange {
                up: Some(true),
                mtu: (bridge.mtu != spec.mtu).then_some(spec.mtu),
                mac: (bridge.mac != spec.mac).then_some(spec.mac),
                ..LinkChange::default()
            },
        )
        .await
}

/// A container that poses as an IPv6 router must not become the host's way into the world.
fn refuse_router_advertisements(bridge: &str) {
    sysctl::prefer(&format!("net/ipv6/conf/{bridge}/accept_ra"), "0");
    sysctl::prefer(&format!("net/ipv6/conf/{bridge}/autoconf"), "0");
}

/// Removes the bridge, and the containers' ports that are on it. That there is none is no error.
///
/// # Errors
///
/// [`HostError::NotABridge`] when the name is taken by something else, which is left alone.
pub async fn remove_bridge(name: &str) -> Result<()> {
    let netlink = Netlink::connect()?;
    let Some(bridge) = netlink.link(name).await? else {
        return Ok(());
    };
    if bridge.kind != LinkKind::Bridge {
        return Err(HostError::NotABridge { name: name.to_owned(), kind: bridge.kind.describe() });
    }
    for port in netlink.ports(&bridge).await? {
        if port.name.starts_with(PORT_PREFIX) && port.kind == LinkKind::Veth {
            netlink.delete(&port).await?;
        }
    }
    netlink.delete(&bridge).await
}

/// Whether hairpin mode of a bridge's port is on. On the router's port it makes every frame come back to the router:
/// somebody else switched it on, and has to be told.
///
/// # Errors
///
/// [`HostError::NotAPort`] when the interface is not on that bridge.
pub async fn hairpin_on(bridge: &str, port: &str) -> Result<bool> {
    let netlink = Netlink::connect()?;
    let bridge_link = netlink.bridge(bridge).await?;
    match netlink.link(port).await? {
        Some(link) if link.master == Some(bridge_link.index) => Ok(link.hairpin),
        _ => Err(HostError::NotAPort { port: port.to_owned(), bridge: bridge.to_owned() }),
    }
}

/// Joins an interface to a bridge and brings it up, as a mere port: without hairpin mode, and without IPv6 addresses
/// of its own, whose neighbour discovery would be noise in the overlay.
pub(crate) async fn join(
    netlink: &Netlink,
    bridge: &Link,
    port: &Link,
    change: LinkChange<'_>,
) -> Result<()> {
    sysctl::prefer(&format!("net/ipv6/conf/{}/disable_ipv6", port.name), "1");
    netlink.change(port, LinkChange { master: Some(bridge.index), ..change }).await?;
    netlink.set_hairpin(port, false).await?;
    netlink.change(port, LinkChange { up: Some(true), ..LinkChange::default() }).await
}
