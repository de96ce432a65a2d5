//! What the kernel tells of by itself.

use futures::stream::BoxStream;
use futures::{StreamExt, future};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::link::{Link, LinkKind};
use crate::error::{HostError, Result};

/// Addresses and routes of both IP versions.
const ADDRESSES_AND_ROUTES: [MulticastGroup; 4] = [
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];

/// Listens for changes.
pub(crate) struct Monitor {
    events: BoxStream<'static, ()>,
}

impl Monitor {
    /// Begins to listen for addresses and routes in the calling thread's network namespace.
    pub(crate) fn addresses_and_routes() -> Result<Self> {
        Self::start("listen for changes of addresses", &ADDRESSES_AND_ROUTES, |_| true)
    }

    /// Begins to listen for bridges that come or are changed, there.
    pub(crate) fn bridges() -> Result<Self> {
        Self::start("listen for new bridges", &[MulticastGroup::Link], is_of_a_bridge)
    }

    fn start(
        what: &'static str,
        groups: &[MulticastGroup],
        wanted: fn(&NetlinkMessage<RouteNetlinkMessage>) -> bool,
    ) -> Result<Self> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(groups).map_err(|source| HostError::Io { what, source })?;
        tokio::spawn(connection);
        // The task that serves it ends with the last handle.
        let events = messages.filter_map(move |(message, _)| {
            let _ = &handle;
            future::ready(wanted(&message).then_some(()))
        });
        Ok(Self { events: events.boxed() })
    }

    /// Waits for the next change; `None`: the kernel tells nothing any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.events.next().await
    }
}

fn is_of_a_bridge(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Link::from_message(link).kind == LinkKind::Bridge
        }
        _ => false,
    }
}
