//! Connections that are dialled side by side: the first to get through is the link, and the others leave no trace.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

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
    /// How far it got, for those who watch.
    pub progress: Option<&'a Progress>,
}

/// Most bytes of a segment that passes nearly everywhere: with the headers of IPv4 and TCP a packet of 1200 bytes, and of 1220 with those
/// of IPv6.
pub const SHORT_SEGMENT: u32 = 1160;

/// Connects to an address with no segment longer than [`SHORT_SEGMENT`], either way: the kernel sends none, and asks for none.
///
/// # Errors
/// Those of socket(2), setsockopt(2) and connect(2).
pub async fn connect_short(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    SockRef::from(&socket).set_tcp_mss(SHORT_SEGMENT)?;
    socket.connect(to).await
}

/// How far a handshake got, as long as it is not known that full segments pass both ways.
///
/// Where a router drops packets that are too long and tells nobody, TCP connects, and the first full segment vanishes again and again. Both
/// ends send one in the handshake (P2.12).
#[derive(Debug, Default)]
pub struct Progress {
    news: Notify,
    passed: AtomicBool,
}

impl Progress {
    /// Something came from the other end.
    pub(crate) fn heard(&self) {
        self.news.notify_one();
    }

    /// Full segments pass, both ways.
    pub(crate) fn passed(&self) {
        self.passed.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Waits until nothing has come for so long; for ever if full segments pass.
    pub async fn stalled(&self, patience: Duration) {
        while timeout(patience, self.news.notified()).await.is_ok() {
            if self.passed.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        }
    }
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
            Err(_) => pending().await,
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
