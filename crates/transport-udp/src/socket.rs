//! The one UDP socket: both IP versions, big buffers, trains in one system call.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

/// Asked for as socket buffers, in bytes. wireguard-go gained 29 % from 7 MB over a path of 125 us (its commit f26efb6); the
/// kernel caps what it grants at net.core.{r,w}mem_max unless the process may override it.
const BUFFER: usize = 7 << 20;
/// How long a full socket buffer is waited for before records are dropped, in milliseconds.
const SEND_PATIENCE_MS: u8 = 2;

/// The socket that all records go through.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    dual: bool,
}

impl Socket {
    /// Binds `host`, or every address of both IP versions, or of IPv4 where the kernel has no IPv6.
    ///
    /// # Errors
    /// When the port is in use or the address is not this host's.
    pub fn bind(host: Option<IpAddr>, port: u16) -> io::Result<Self> {
        let (socket, dual) = match host {
            Some(ip) => (bind(SocketAddr::new(ip, port), false)?, false),
            None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true) {
                Ok(socket) => (socket, true),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => return Err(e),
                Err(_) => (bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false)?, false),
            },
        };
        let io: UdpSocket = socket.into();
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Less than asked for is no fault, only slower.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), BUFFER);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), BUFFER);
        Ok(Self { io, state, dual })
    }

    /// The bound port.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.io.local_addr()?.port())
    }

    /// Sends datagrams of `segment` bytes each, the last one maybe shorter.
    ///
    /// When the kernel refuses a train for a reason that is the train's (no checksum offload below: EIO, EINVAL), the same bytes
    /// go out one by one.
    ///
    /// # Errors
    /// What the kernel says, once nothing is left to try.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8], segment: usize) -> io::Result<()> {
        match self.send_once(to, bytes, Some(segment).filter(|s| *s < bytes.len())) {
            Err(e) if segment < bytes.len() && !is_about_the_way(&e) => {
                bytes.chunks(segment).try_for_each(|datagram| self.send_once(to, datagram, None))
            }
            result => result,
        }
    }

    pub(crate) fn recv(
        &self,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.io), buffers, meta)
    }

    fn send_once(&self, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let transmit =
            Transmit { destination: self.map(to), ecn: None, contents, segment_size, src_ip: None };
        let mut waited = false;
        loop {
            match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    let mut fds = [nix::poll::PollFd::new(self.io.as_fd(), nix::poll::PollFlags::POLLOUT)];
                    nix::poll::poll(&mut fds, SEND_PATIENCE_MS)?;
                }
                // A port unreachable for an earlier record (ip(7)): this one has not been sent yet.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && !waited => waited = true,
                result => return result,
            }
        }
    }

    /// A socket of both versions addresses IPv4 as mapped IPv6 (RFC 4291 section 2.5.5.2).
    const fn map(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.dual => {
                SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())
            }
            other => other,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// Errors that would meet a single datagram as well.
fn is_about_the_way(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
    ) || quinn_udp::is_msg_size_err(e)
}

fn bind(address: SocketAddr, dual: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
