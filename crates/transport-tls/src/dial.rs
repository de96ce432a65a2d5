//! Connections that are dialled side by side: the first to get through is the link, and the others leave no trace.

use std::net::SocketAddr;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Expect;

/// What is known of a connection that we opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dialled<'a> {
    /// Whom we expect there.
    pub expect: Expect,
    /// Where it leads, if it is connected to a proxy. Unspecified where only the proxy knows.
    pub beyond_proxy: Option<SocketAddr>,
    /// Shared with the other connections of the same dial.
    pub turn: Option<&'a Turn>,
}

/// Who of several handshakes towards one peer may go on to the end.
///
/// The acceptor has a link as soon as it holds the dialler's hello. If two handshakes came that far it might keep the one
/// that the dialler has let go (P2.10). So only one at a time sends its hello, and after one that was answered none does.
#[derive(Debug)]
pub struct Turn(Semaphore);

impl Turn {
    /// Nobody's turn yet.
    pub const fn new() -> Self {
        Self(Semaphore::const_new(1))
    }

    /// Waits while another is at it; for ever if that one gets through.
    pub(crate) async fn take(&self) -> Taken<'_> {
        match self.0.acquire().await {
            Ok(permit) => Taken(permit),
            // Never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes on when dropped.
pub(crate) struct Taken<'a>(SemaphorePermit<'a>);

impl Taken<'_> {
    /// Nobody else gets a turn.
    pub(crate) fn keep(self) {
        self.0.forget();
    }
}
