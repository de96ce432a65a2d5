//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnetwork::IpNetwork;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};

use super::{Link, Netlink, is, refused, to_io};
use crate::error::Result;

impl Netlink {
    /// The addresses of an interface, without those that are only valid on the link or the host.
    pub(crate) async fn addresses(&self, link: &Link) -> Result<Vec<IpNetwork>> {
        let all = self.all_addresses().await?;
        Ok(all.into_iter().filter(|(index, _)| *index == link.index).map(|(_, address)| address).collect())
    }

    /// The addresses of all interfaces, each with the interface's index, without those that are only valid on the link
    /// or the host.
    pub(crate) async fn all_addresses(&self) -> Result<Vec<(u32, IpNetwork)>> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused("list addresses of", "this network namespace"))?;
        Ok(messages.iter().filter_map(global_address).collect())
    }

    /// Gives an interface an address, in IPv4 with the broadcast address of its subnet. Answers whether it is new.
    pub(crate) async fn add_address(&self, link: &Link, address: IpNetwork) -> Result<bool> {
        match self.handle.address().add(link.index, address.ip(), address.prefix()).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is(&to_io(error.clone()), libc::EEXIST) => Ok(false),
            Err(error) => Err(refused("add the address", format!("{address} to {}", link.name))(error)),
        }
    }

    /// Takes an address from an interface. Answers whether it was there.
    ///
    /// Together with the first address of an IPv4 subnet the kernel deletes all others of that subnet, unless the
    /// setting `promote_secondaries` is on. Those are given back.
    pub(crate) async fn remove_address(&self, link: &Link, address: IpNetwork) -> Result<bool> {
        let before = self.addresses(link).await?;
        match self.handle.address().del(message(link, address)).execute().await {
            Ok(()) => {}
            Err(error) if is(&to_io(error.clone()), libc::EADDRNOTAVAIL) => return Ok(false),
            Err(error) => {
                return Err(refused("remove the address", format!("{address} from {}", link.name))(error));
            }
        }
        let after = self.addresses(link).await?;
        for lost in before.into_iter().filter(|kept| *kept != address && !after.contains(kept)) {
            self.add_address(link, lost).await?;
        }
        Ok(true)
    }
}

fn message(link: &Link, address: IpNetwork) -> AddressMessage {
    match address {
        IpNetwork::V4(v4) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(link.index).address(v4.ip(), v4.prefix()).build()
        }
        IpNetwork::V6(v6) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(link.index).address(v6.ip(), v6.prefix()).build()
        }
    }
}

/// The address a message is about. On a point-to-point interface `Address` is the far end's and `Local` our own;
/// IPv6 has only `Address` otherwise.
fn global_address(message: &AddressMessage) -> Option<(u32, IpNetwork)> {
    if matches!(message.header.scope, AddressScope::Link | AddressScope::Host | AddressScope::Nowhere) {
        return None;
    }
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    let ip: IpAddr = local.or(any)?;
    Some((message.header.index, IpNetwork::new(ip, message.header.prefix_len).ok()?))
}
