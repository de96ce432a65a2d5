//! Taking everything away again.

use crate::bridge::remove_bridge;
use crate::docker_forward;
use crate::error::{HostError, Result};
use crate::firewall;
use crate::netlink::{LinkKind, Netlink};
use crate::port::PORT_PREFIX;
use crate::tap::remove_tap;

/// Removes bridge, TAP, containers' ports and firewall rules, as far as they are there.
///
/// # Errors
///
/// All that went wrong; what could be removed is removed nevertheless.
pub async fn reset(bridge: &str, tap: &str) -> Result<(), Vec<HostError>> {
    let results = [
        remove_tap(tap).await,
        remove_bridge(bridge).await,
        remove_stray_ports().await,
        firewall::remove().await,
        docker_forward::remove().await,
    ];
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Ports that are on no bridge: someone took them off, or deleted the bridge before us.
async fn remove_stray_ports() -> Result<()> {
    let netlink = Netlink::connect()?;
    for link in netlink.links().await? {
        if link.kind == LinkKind::Veth && link.master.is_none() && link.name.starts_with(PORT_PREFIX) {
            netlink.delete(&link).await?;
        }
    }
    Ok(())
}
