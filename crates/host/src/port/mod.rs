//! Containers' ports: a veth pair each, one end on the bridge, the other in the container.
//!
//! The end in the container is always [`INNER`]; the end on the bridge is [`PORT_PREFIX`] and the beginning of the
//! container's id, and carries the whole id as its alias. The kernel keeps the pair for as long as the container's
//! network namespace lives, whatever becomes of the daemon.

mod inside;

use std::os::fd::AsFd;
use std::time::Duration;

use futures::TryFutureExt;
use ipnetwork::IpNetwork;

use crate::bridge::join;
use crate::error::{HostError, Result};
use crate::netlink::{Link, LinkChange, LinkKind, Netlink};
use crate::netns::NetNs;
use inside::{Inside, Wanted};

/// How containers see their port.
pub const INNER: &str = "ethwe";

/// How the names of containers' ports begin on the host.
pub const PORT_PREFIX: &str = "vethwepl";

/// As much of a container's id as fits into the name of an interface after [`PORT_PREFIX`].
const ID_LEN: usize = 7;

/// How long a new port may take until it carries frames, and how often it is looked at meanwhile. The kernel notices a
/// link's carrier in a work queue: usually within a millisecond, under load within one second.
const PORT_READY: Duration = Duration::from_secs(2);
const PORT_POLL: Duration = Duration::from_millis(2);

/// An attachment of a container as it shall be.
#[derive(Clone, Copy, Debug)]
pub struct PortSpec<'a> {
    /// A process in the container.
    pub pid: u32,
    /// The container's id.
    pub container_id: &'a str,
    /// The bridge to join.
    pub bridge: &'a str,
    /// The MTU of both ends, in bytes.
    pub mtu: u32,
    /// Addresses to have, besides those that are there already.
    pub addresses: &'a [IpNetwork],
    /// Whether multicast shall leave through this port unless it has another way.
    pub multicast_route: bool,
}

/// What [`attach`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The MAC address of the container's end.
    pub mac: [u8; 6],
    /// Those of the wanted addresses that were not there before.
    pub added: Vec<IpNetwork>,
}

/// A container's port as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The MAC address of the container's end.
    pub mac: [u8; 6],
    /// Its addresses, without link-local ones.
    pub addresses: Vec<IpNetwork>,
}

/// Joins a container to the bridge, or gives it more addresses. Returns when frames pass.
///
/// The MAC address is drawn by the kernel when the port is made, and stays when addresses are added.
///
/// # Errors
///
/// Whatever the error, what this call made is gone again. [`HostError::HostNetwork`], [`HostError::NoSuchProcess`],
/// [`HostError::ForeignInterface`] and [`HostError::PortTaken`] say what is special about the container.
pub async fn attach(spec: &PortSpec<'_>) -> Result<Attached> {
    let outer = port_name(spec.container_id)?;
    let namespace = container(spec.pid)?;
    let netlink = Netlink::connect()?;
    let bridge = netlink.bridge(spec.bridge).await?;
    let (port, made) = match namespace.run(inside::link).await? {
        Some(inner) => (outer_end(&netlink, spec.pid, &inner).await?, false),
        None => (make_pair(&netlink, &namespace, &outer, spec).await?, true),
    };
    let result = settle(&netlink, &namespace, &bridge, &port, spec).await;
    if made && result.is_err() {
        // Whatever goes wrong while tidying up, the first error is the one that explains it.
        let _ = netlink.delete(&port).await;
    }
    result
}

/// Takes addresses from a container, and the port with the last of them. Returns those that were there.
///
/// # Errors
///
/// As [`attach`]. That an address or the port is not there is no error.
pub async fn detach(pid: u32, addresses: &[IpNetwork]) -> Result<Vec<IpNetwork>> {
    let addresses = addresses.to_vec();
    container(pid)?.run(move || inside::withdraw(addresses)).await
}

/// The port of a container, if it has one.
///
/// # Errors
///
/// [`HostError::NoSuchProcess`] when the container has stopped.
pub async fn inspect(pid: u32) -> Result<Option<PortFacts>> {
    NetNs::of_process(pid)?.run(inside::facts).await
}

/// The name of a container's port on the host.
///
/// # Errors
///
/// [`HostError::ContainerId`] when the id is empty or holds anything but ASCII letters and digits.
pub fn port_name(container_id: &str) -> Result<String> {
    if container_id.is_empty() || !container_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(HostError::ContainerId { id: container_id.to_owned() });
    }
    let start: String = container_id.chars().take(ID_LEN).collect();
    Ok(format!("{PORT_PREFIX}{start}"))
}

/// A container's namespace. One that is the host's own must never be worked in: its `ethwe` would be the host's.
fn container(pid: u32) -> Result<NetNs> {
    let namespace = NetNs::of_process(pid)?;
    if namespace.is_own()? { Err(HostError::HostNetwork { pid }) } else { Ok(namespace) }
}

/// The end on the host of a pair whose other end is known. Interfaces are numbered per namespace, so that the number
/// alone might be that of a stranger: both ends have to name each other.
async fn outer_end(netlink: &Netlink, pid: u32, inner: &Link) -> Result<Link> {
    let links = netlink.links().await?;
    links
        .into_iter()
        .find(|link| {
            link.kind == LinkKind::Veth
                && link.name.starts_with(PORT_PREFIX)
                && inner.peer == Some(link.index)
                && link.peer == Some(inner.index)
        })
        .ok_or_else(|| HostError::ForeignInterface { pid, name: INNER.to_owned() })
}

async fn make_pair(netlink: &Netlink, namespace: &NetNs, outer: &str, spec: &PortSpec<'_>) -> Result<Link> {
    if let Some(stale) = netlink.link(outer).await? {
        // When a container restarts, its old namespace, and the old pair with it, may take a while to go.
        match stale.alias {
            Some(owner) if owner != spec.container_id => {
                return Err(HostError::PortTaken {
                    name: outer.to_owned(),
                    owner,
                    container: spec.container_id.to_owned(),
                });
            }
            _ => netlink.delete(&stale).await?,
        }
    }
    netlink.add_veth(outer, INNER, namespace.as_fd(), spec.mtu).await?;
    netlink.existing(outer).await
}

/// Brings both ends into the wanted state: first the host's, so that the container's first frame finds its way.
async fn settle(
    netlink: &Netlink,
    namespace: &NetNs,
    bridge: &Link,
    port: &Link,
    spec: &PortSpec<'_>,
) -> Result<Attached> {
    let alias = port.alias.is_none().then_some(spec.container_id);
    join(netlink, bridge, port, LinkChange { mtu: Some(spec.mtu), alias, ..LinkChange::default() }).await?;
    let wanted =
        Wanted { mtu: spec.mtu, addresses: spec.addresses.to_vec(), multicast_route: spec.multicast_route };
    let Inside { mac, added } = namespace.run(move || inside::configure(wanted)).await?;
    // Neighbours have to hear the announcement, and the caller relies on frames passing from here on.
    let announced = added.clone();
    let announce = async { namespace.run(move || inside::announce(announced)).await };
    let ready = wait_for(netlink, &port.name, |port| port.forwarding);
    if let Err(error) = ready.and_then(|()| announce).await {
        tracing::warn!(port = %port.name, %error, "neighbours are not told about the new addresses");
    }
    Ok(Attached { mac, added })
}

/// Waits until an interface is ready to carry frames, as `ready` tells.
async fn wait_for(netlink: &Netlink, name: &str, ready: impl Fn(&Link) -> bool) -> Result<()> {
    let wait = async {
        while !ready(&netlink.existing(name).await?) {
            tokio::time::sleep(PORT_POLL).await;
        }
        Ok(())
    };
    tokio::time::timeout(PORT_READY, wait)
        .await
        .unwrap_or_else(|_| Err(HostError::NotReady { name: name.to_owned(), after: PORT_READY }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::check_name;

    #[test]
    fn a_port_is_named_after_the_beginning_of_the_containers_id() {
        let id = "4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c";
        assert_eq!(port_name(id).unwrap(), "vethwepl4d5e6f7");
        assert_eq!(port_name("ct1").unwrap(), "vethweplct1");
    }

    #[test]
    fn what_is_not_an_id_names_no_port() {
        for id in ["", "../../x", "a b", "naïve"] {
            assert!(matches!(port_name(id), Err(HostError::ContainerId { .. })), "{id}");
        }
    }

    proptest! {
        #[test]
        fn every_port_name_can_name_an_interface(id in ".{0,80}") {
            if let Ok(name) = port_name(&id) {
                check_name(&name).unwrap();
                prop_assert!(name.starts_with(PORT_PREFIX));
            }
        }
    }

    /// The daemon runs attachments as tasks of a runtime with several threads.
    #[test]
    fn attachments_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let spec = PortSpec {
            pid: 1,
            container_id: "ct1",
            bridge: "weave",
            mtu: 1400,
            addresses: &[],
            multicast_route: false,
        };
        is_send(&attach(&spec));
        is_send(&detach(1, &[]));
        is_send(&inspect(1));
    }
}
