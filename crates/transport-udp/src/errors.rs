//! What routers on the way say of records that they did not pass on (ICMP), as the kernel's error queue tells it (ip(7), IP_RECVERR).
//!
//! Anybody can send such a message, so it is no more than a hint to ask again.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use records::UdpEvent;

use crate::receiver::Shared;
use crate::{Receiver, Socket};

/// Errors taken from the queue at once.
const A_TURN: usize = 16;

impl Socket {
    /// Has the kernel keep such messages. Without that they go unheard, and probes show the same somewhat later.
    pub(crate) fn watch_errors(&self) {
        // Of the socket's own version, and of IPv4 on a socket of both.
        let _ = setsockopt(self, sockopt::Ipv6RecvErr, &true);
        let _ = setsockopt(self, sockopt::Ipv4RecvErr, &true);
    }

    /// Where the next record went that did not arrive.
    pub(crate) fn take_error(&self) -> Option<SocketAddr> {
        // Of the record itself, which the message quotes, nothing is needed.
        let mut none = [io::IoSliceMut::new(&mut [])];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(self.as_fd().as_raw_fd(), &mut none, None, flags).ok()?;
        let to = message.address?;
        let v4 = to.as_sockaddr_in().map(|to| SocketAddr::V4(SocketAddrV4::from(*to)));
        let to = v4.or_else(|| to.as_sockaddr_in6().map(|to| SocketAddr::V6(SocketAddrV6::from(*to))))?;
        Some(SocketAddr::new(to.ip().to_canonical(), to.port()))
    }
}

/// Whether the kernel tells of an earlier record instead of sending this one.
pub(crate) fn is_of_an_earlier_one(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EACCES
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EMSGSIZE
        )
    )
}

/// Whether the kernel has no room for a record just now, in the socket or, where it tells (IP_RECVERR), in a queue below it: a
/// moment later it may.
pub fn is_for_want_of_room(e: &io::Error) -> bool {
    matches!(e.raw_os_error().map(Errno::from_raw), Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM))
}

impl Receiver {
    /// Notes that something is the matter with the [`socket`](Self::socket): takes what the error queue holds. Left there, it
    /// would keep room from what arrives.
    #[cold]
    pub fn troubled(&self) {
        self.shared.take_errors(&self.shared.socket);
    }
}

impl Shared {
    /// Takes what the error queue of a socket holds; whether there was anything.
    #[cold]
    pub(crate) fn take_errors(&self, socket: &Socket) -> bool {
        let mut last = None;
        let mut some = false;
        for to in std::iter::from_fn(|| socket.take_error()).take(A_TURN) {
            some = true;
            if last.replace(to) != Some(to) {
                (self.events)(UdpEvent::Unreachable { to });
            }
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_closed_port_is_told_by_its_address_and_only_its_records_are_concerned() {
        for host in [Some(IpAddr::from(Ipv4Addr::LOCALHOST)), None] {
            let from = Socket::bind(host, 0).unwrap();
            let open = Socket::bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
            let gone = Socket::bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap().port().unwrap();
            let [open_at, closed] =
                [open.port().unwrap(), gone].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            from.send(closed, b"hello", 5, false).unwrap();
            let until = Instant::now() + Duration::from_secs(5);
            let told = loop {
                if let Some(to) = from.take_error() {
                    break to;
                }
                assert!(Instant::now() < until, "no error came");
                std::thread::sleep(Duration::from_millis(1));
            };
            assert_eq!(told, closed);
            assert_eq!(from.take_error(), None);
            // The error is still due to whoever asks next, and is not theirs.
            from.send(closed, b"hello", 5, false).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(from.send(open_at, b"world", 5, false).is_ok());
            let (mut memory, mut meta) = ([0; 9], [quinn_udp::RecvMeta::default()]);
            let mut buffers = [io::IoSliceMut::new(&mut memory)];
            while open.recv(&mut buffers, &mut meta).is_err() {
                assert!(Instant::now() < until, "it did not arrive");
            }
            assert_eq!(meta[0].len, 5);
        }
    }

    #[test]
    fn what_is_about_this_record_is_not_taken_for_an_earlier_ones() {
        for errno in [Errno::EPERM, Errno::EIO, Errno::EINVAL, Errno::EAGAIN, Errno::ENOBUFS] {
            assert!(!is_of_an_earlier_one(&errno.into()), "{errno}");
        }
        assert!(is_of_an_earlier_one(&Errno::EHOSTUNREACH.into()));
    }
}
