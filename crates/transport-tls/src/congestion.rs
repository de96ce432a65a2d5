//! [`Congestion`]: the congestion control of links.

use std::io::{self, ErrorKind};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// Measures what a path carries instead of filling its queue until something is lost. The TCP inside takes each loss of the
/// path for congestion already; if the link did so too, one lost packet would slow the same data twice. And where a queue is
/// filled, control messages wait in it.
const PREFERRED: &str = "bbr";
/// Longest name (`TCP_CA_NAME_MAX` of the kernel, with the zero at its end).
const LONGEST: usize = 15;

/// The congestion control of links' sockets: by default BBR where the kernel has it, or else the kernel's own choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Congestion(Option<String>);

/// The kernel has no congestion control of this name, or none that this program may use.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel has no TCP congestion control `{name}` for this program ({reason}): \
     /proc/sys/net/ipv4/tcp_available_congestion_control lists those it has"
)]
pub struct CongestionError {
    name: String,
    reason: io::Error,
}

impl Congestion {
    /// The one of this name.
    ///
    /// # Errors
    /// When the kernel does not let us use it.
    pub fn named(name: &str) -> Result<Self, CongestionError> {
        let failed = |reason| CongestionError { name: name.to_owned(), reason };
        if !(1..=LONGEST).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(failed(ErrorKind::NotFound.into()));
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
        socket.set_tcp_congestion(name.as_bytes()).map_err(failed)?;
        Ok(Self(Some(name.to_owned())))
    }

    pub(crate) fn apply(&self, tcp: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(tcp);
        match &self.0 {
            Some(name) => socket.set_tcp_congestion(name.as_bytes()),
            None => {
                // An old kernel, or one without the module: its own choice does as well as it can.
                let _ = socket.set_tcp_congestion(PREFERRED.as_bytes());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn connection() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    }

    fn used(tcp: &TcpStream) -> String {
        let name = SockRef::from(tcp).tcp_congestion().unwrap();
        String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
    }

    #[tokio::test]
    async fn a_name_is_used_and_one_that_the_kernel_lacks_is_refused() {
        // Every kernel has this one.
        let tcp = connection().await;
        Congestion::named("reno").unwrap().apply(&tcp).unwrap();
        assert_eq!(used(&tcp), "reno");
        for name in ["", "no-such-control", "name-longer-than-any", "a b"] {
            let error = Congestion::named(name).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[tokio::test]
    async fn by_default_the_preferred_one_or_the_kernels_own() {
        let tcp = connection().await;
        let own = used(&tcp);
        Congestion::default().apply(&tcp).unwrap();
        let expected = if Congestion::named(PREFERRED).is_ok() { PREFERRED } else { &own };
        assert_eq!(used(&tcp), expected);
    }
}
