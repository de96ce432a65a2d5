//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnetwork::IpNetwork;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};

use super::{Link, Netlink, is, refused, to_io};
use crate::error::Result;

/// A route to a subnet through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: IpNetwork,
    /// The interface, by index.
    pub(crate) interface: u32,
}

impl Netlink {
    /// The unicast routes of the main table, in the family of `like`.
    pub(crate) async fn routes(&self, like: IpNetwork) -> Result<Vec<Route>> {
        let question = match like {
            IpNetwork::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpNetwork::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(question)
            .execute()
            .try_collect()
            .await
            .map_err(refused("list routes of", "this network namespace"))?;
        Ok(messages.iter().filter_map(|message| main_route(message, like)).collect())
    }

    /// The router that the IPv4 default route leads to; of several that with the smallest metric.
    pub(crate) async fn default_gateway(&self) -> Result<Option<Ipv4Addr>> {
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute()
            .try_collect()
            .await
            .map_err(refused("list routes of", "this network namespace"))?;
        Ok(messages.iter().filter_map(gateway_of_default).min().map(|(_, gateway)| gateway))
    }

    /// Makes a subnet reachable directly through an interface. Answers whether the route is new.
    pub(crate) async fn add_route(&self, link: &Link, destination: IpNetwork) -> Result<bool> {
        let (ip, prefix) = (destination.network(), destination.prefix());
        let message = match ip {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, prefix)
                .output_interface(link.index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, prefix)
                .output_interface(link.index)
                .build(),
        };
        match self.handle.route().add(message).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is(&to_io(error.clone()), libc::EEXIST) => Ok(false),
            Err(error) => {
                Err(refused("add the route", format!("{destination} through {}", link.name))(error))
            }
        }
    }
}

/// Metric and router of a default route of the main table.
fn gateway_of_default(message: &RouteMessage) -> Option<(u32, Ipv4Addr)> {
    let header = &message.header;
    let is_default = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.destination_prefix_length == 0;
    let (mut metric, mut gateway) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Gateway(RouteAddress::Inet(router)) => gateway = Some(*router),
            _ => {}
        }
    }
    gateway.filter(|_| is_default).map(|gateway| (metric, gateway))
}

fn main_route(message: &RouteMessage, like: IpNetwork) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let interface = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    let ip = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        })
        .unwrap_or(match like {
            IpNetwork::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpNetwork::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
    let destination = IpNetwork::new(ip, header.destination_prefix_length).ok()?;
    Some(Route { destination, interface })
}
