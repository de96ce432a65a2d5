//! The host's own network, as far as ways to other hosts depend on it, and when it changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures::FutureExt;

use crate::error::Result;
use crate::netlink::{Monitor, Netlink};

/// What follows within so long belongs to the same change: an interface comes up with several addresses and routes.
const GATHER: Duration = Duration::from_millis(200);

/// What others may reach this host by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The addresses of its interfaces, without those that are only valid on a link or on the host.
    pub addresses: BTreeSet<IpAddr>,
    /// The router that the IPv4 default route leads to.
    pub gateway: Option<Ipv4Addr>,
}

/// Watches the network namespace in which it was made.
pub struct NetworkWatch {
    netlink: Netlink,
    monitor: Monitor,
    without: String,
    known: Network,
}

impl NetworkWatch {
    /// Begins to watch all interfaces but this one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub async fn start(without: &str) -> Result<Self> {
        let (monitor, netlink) = (Monitor::addresses_and_routes()?, Netlink::connect()?);
        let known = look(&netlink, without).await?;
        Ok(Self { netlink, monitor, without: without.to_owned(), known })
    }

    /// The network as it was when last looked at.
    pub const fn network(&self) -> &Network {
        &self.known
    }

    /// Waits until it is another one. Ends where the kernel tells nothing any more.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to say what changed.
    pub async fn changed(&mut self) -> Result<Option<&Network>> {
        while self.monitor.next().await.is_some() {
            tokio::time::sleep(GATHER).await;
            while self.monitor.next().now_or_never().flatten().is_some() {}
            let now = look(&self.netlink, &self.without).await?;
            if now != self.known {
                self.known = now;
                return Ok(Some(&self.known));
            }
        }
        Ok(None)
    }
}

async fn look(netlink: &Netlink, without: &str) -> Result<Network> {
    let left_out = netlink.links().await?.into_iter().find(|link| link.name == without);
    let left_out = left_out.map(|link| link.index);
    let all = netlink.all_addresses().await?.into_iter();
    let of_others = all.filter(|(index, address)| Some(*index) != left_out && !address.ip().is_loopback());
    let addresses = of_others.map(|(_, address)| address.ip()).collect();
    Ok(Network { addresses, gateway: netlink.default_gateway().await? })
}
