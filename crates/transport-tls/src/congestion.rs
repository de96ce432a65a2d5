//! [`Congestion`]: the congestion control of links.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// Measures what a path carries instead of filling its queue until something is lost. The TCP inside takes each loss of the
/// path for congestion already; if the link did so too, one lost packet would slow the same data twice. And where a queue is
/// filled, control messages wait in it.
const PREFERRED: &str = "bbr";
/// Every kernel has this one, and lets every program use it.
const PLAIN: &str = "reno";
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

/// A socket's BBR, and how it is made to begin anew.
///
/// BBR finds out how much a path carries once, when a connection begins, by sending nearly three times as much from round trip to round
/// trip. Later it tries a quarter more every eight. What little a quiet link sends lets it forget what it found: a lost echo is
/// enough, since what is sent while that is repaired counts as all that the path carries. From there on, the first seconds of a
/// transfer on a long path get a tenth of what a new connection would. So after a quiet time the link is a new connection to its BBR.
#[derive(Debug)]
pub(crate) struct Anew {
    is_bbr: bool,
}

impl Anew {
    /// Of a socket that has its congestion control already.
    pub(crate) fn of(tcp: &impl AsFd) -> Self {
        let name = SockRef::from(tcp).tcp_congestion().unwrap_or_default();
        Self { is_bbr: name.split(|byte| *byte == 0).next() == Some(PREFERRED.as_bytes()) }
    }

    /// Has BBR forget what it knows. Others keep what they know: none forgets it in quiet times.
    pub(crate) fn begin(&self, tcp: &impl AsFd) {
        let socket = SockRef::from(tcp);
        // Only a change makes the kernel set one up. The socket had it, so it may have it again; and with the other it would work too.
        if self.is_bbr && socket.set_tcp_congestion(PLAIN.as_bytes()).is_ok() {
            let _ = socket.set_tcp_congestion(PREFERRED.as_bytes());
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

    #[tokio::test]
    async fn beginning_anew_leaves_a_socket_what_it_had() {
        let tcp = connection().await;
        Congestion::default().apply(&tcp).unwrap();
        let before = used(&tcp);
        let anew = Anew::of(&tcp);
        assert_eq!(anew.is_bbr, before == PREFERRED);
        anew.begin(&tcp);
        assert_eq!(used(&tcp), before);
        Congestion::named("reno").unwrap().apply(&tcp).unwrap();
        let anew = Anew::of(&tcp);
        assert!(!anew.is_bbr);
        anew.begin(&tcp);
        assert_eq!(used(&tcp), "reno");
    }
}
