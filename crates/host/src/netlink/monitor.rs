//! What the kernel tells of by itself.

use futures::StreamExt;
use futures::stream::BoxStream;
use rtnetlink::MulticastGroup;

use crate::error::{HostError, Result};

/// Addresses and routes of both IP versions.
const GROUPS: [MulticastGroup; 4] = [
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];

/// Listens for changes of addresses and routes.
pub(crate) struct Monitor {
    events: BoxStream<'static, ()>,
}

impl Monitor {
    /// Begins to listen in the calling thread's network namespace.
    pub(crate) fn start() -> Result<Self> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)
            .map_err(|source| HostError::Io { what: "listen for changes of addresses", source })?;
        tokio::spawn(connection);
        // The task that serves it ends with the last handle.
        let events = messages.map(move |_| {
            let _ = &handle;
        });
        Ok(Self { events: events.boxed() })
    }

    /// Waits for the next change; `None`: the kernel tells nothing any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.events.next().await
    }
}
