//! Sockets that the runtime watches for one thing only, readable or writable: its own kind is always watched for both.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket under the runtime's eyes.
pub(crate) type Watched = AsyncFd<Arc<TcpStream>>;

/// Has the runtime watch `tcp`, which must not block.
///
/// # Errors
/// When the kernel cannot watch one more, or watches this very descriptor already.
#[expect(
    deprecated,
    reason = "it warns of types that close or change their descriptor: a socket of the standard library keeps its own to its end"
)]
pub(crate) fn watch(tcp: Arc<TcpStream>, interest: Interest) -> io::Result<Watched> {
    AsyncFd::with_interest(tcp, interest)
}
