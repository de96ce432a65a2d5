//! The one UDP socket: both IP versions, big buffers, trains in one system call.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use crate::errors::is_of_an_earlier_one;
use crate::train::{Stopped, send_as};

/// Asked for as send buffer, in bytes. The kernel grants twice as much, to account for its own overhead, and no more than twice
/// net.core.wmem_max. It could be forced to, but what waits there before a slow card is delay.
const SEND_BUFFER: usize = 7 << 20;
/// Asked for as receive buffer, in bytes; with CAP_NET_ADMIN whatever net.core.rmem_max is (often 208 KiB). It is there for as long
/// as the receiving thread waits for a processor; whatever fills it beyond that is delay: 7 MB gave a ping beside one TCP stream
/// (cubic) 3.0 ms, 1 MB 1.2 ms at the same throughput, and 0.4 MB cost a fifth of that (docs/experiments.md).
const RECV_BUFFER: usize = 1 << 20;
/// How long a full socket buffer is waited for before records are dropped, in milliseconds. It is made once: after that nothing is
/// waited for before something was sent again, since what sends also answers probes.
const SEND_PATIENCE_MS: u8 = 2;

/// The socket that all records go through.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    host: Option<IpAddr>,
    dual: bool,
    /// Why it goes without trains although the kernel may have them.
    plain: Option<&'static str>,
    no_trains: Option<&'static str>,
    no_coalescing: Option<&'static str>,
    /// Whether its buffer stayed full for as long as it is waited for.
    full: AtomicBool,
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
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), SEND_BUFFER);
        if setsockopt(&io, sockopt::RcvBufForce, &RECV_BUFFER).is_err() {
            let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), RECV_BUFFER);
        }
        // Asked before anything is sent: afterwards it also tells what happened to trains.
        let no_trains = (state.max_gso_segments() == 1).then_some("this kernel has no UDP_SEGMENT");
        let no_coalescing = (state.gro_segments() == 1).then_some("this kernel has no UDP_GRO");
        let socket = Self {
            io,
            state,
            host,
            dual,
            plain: None,
            no_trains,
            no_coalescing,
            full: AtomicBool::new(false),
        };
        socket.watch_errors();
        socket.leave_out_what_nobody_reads();
        Ok(socket)
    }

    /// The same without trains either way: one datagram, one system call. `why` is for people.
    ///
    /// # Errors
    /// When the kernel does not let go of UDP_GRO.
    pub fn without_offloads(mut self, why: &'static str) -> io::Result<Self> {
        if self.no_coalescing.is_none() {
            self.coalesce(false)?;
        }
        (self.no_trains, self.no_coalescing, self.plain) = (Some(why), Some(why), Some(why));
        Ok(self)
    }

    /// One like it at another port.
    pub(crate) fn another(&self) -> io::Result<Self> {
        let socket = Self::bind(self.host, 0)?;
        match self.plain {
            Some(why) => socket.without_offloads(why),
            None => Ok(socket),
        }
    }

    /// Why no trains are ever sent (UDP_SEGMENT), if so.
    pub const fn no_trains(&self) -> Option<&'static str> {
        self.no_trains
    }

    /// Why the kernel never puts datagrams together that arrive (UDP_GRO), if so.
    pub const fn no_coalescing(&self) -> Option<&'static str> {
        self.no_coalescing
    }

    /// What `quinn_udp` has the kernel tell with each datagram beside its sender and its train. Here it is only work: a
    /// look at the clock, and control messages that nobody reads. Where the kernel has no such option there is nothing to leave out.
    fn leave_out_what_nobody_reads(&self) {
        let _ = setsockopt(&self.io, sockopt::ReceiveTimestampns, &false);
        let _ = setsockopt(&self.io, sockopt::Ipv4PacketInfo, &false);
        let _ = setsockopt(&self.io, sockopt::Ipv6RecvPacketInfo, &false);
        let _ = setsockopt(&self.io, sockopt::IpRecvTos, &false);
        let _ = setsockopt(&self.io, sockopt::Ipv6RecvTClass, &false);
    }

    /// Lets the kernel put datagrams together, or not.
    pub(crate) fn coalesce(&self, on: bool) -> io::Result<()> {
        Ok(setsockopt(&self.io, sockopt::UdpGroSegment, &on)?)
    }

    /// The bound port.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.io.local_addr()?.port())
    }

    /// Sends datagrams of `segment` bytes each, the last one maybe shorter, as one train where `trains` allows it.
    ///
    /// When the kernel refuses a train for a reason that is the train's (no checksum offload below: EIO, EINVAL), the same bytes
    /// go out one by one, and the error is given back as `Ok`.
    ///
    /// # Errors
    /// What the kernel says, once nothing is left to try, and how many datagrams went before.
    pub(crate) fn send(
        &self,
        to: SocketAddr,
        bytes: &[u8],
        segment: usize,
        trains: bool,
    ) -> Result<Option<io::Error>, Stopped> {
        send_as(trains, bytes, segment, |bytes, segment| self.send_once(to, bytes, segment))
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
        let mut again = false;
        loop {
            let result = self.state.try_send(UdpSockRef::from(&self.io), &transmit);
            let full = matches!(&result, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
            // Mostly nothing changes: the cache line stays with those who only look.
            if !full && self.full.load(Ordering::Relaxed) {
                self.full.store(false, Ordering::Relaxed);
            }
            match result {
                Err(_) if full && !again && !self.full.load(Ordering::Relaxed) => {
                    again = true;
                    let mut fds = [nix::poll::PollFd::new(self.io.as_fd(), nix::poll::PollFlags::POLLOUT)];
                    // Ready is a socket whose buffer is half empty (`sock_writeable` of Linux): there may be room before.
                    if nix::poll::poll(&mut fds, SEND_PATIENCE_MS) == Ok(0) {
                        self.full.store(true, Ordering::Relaxed);
                    }
                }
                // A host or port unreachable for an earlier record, to whomever (ip(7)): this one has not been sent yet.
                Err(e) if is_of_an_earlier_one(&e) && !again => again = true,
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

fn bind(address: SocketAddr, dual: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;

    use nix::sys::socket::getsockopt;

    use super::*;

    fn pair() -> (Socket, Socket, SocketAddr) {
        let ip = Ipv4Addr::LOCALHOST;
        let [a, b] = [(); 2].map(|()| Socket::bind(Some(ip.into()), 0).unwrap());
        let to = SocketAddr::new(ip.into(), b.port().unwrap());
        (a, b, to)
    }

    /// Receives messages until `bytes` bytes are there; gives them, and the length of the longest message.
    fn receive(socket: &Socket, bytes: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut datagrams, mut longest, mut total) = (Vec::new(), 0, 0);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut memory = vec![0; 65_536];
        while total < bytes {
            assert!(std::time::Instant::now() < until, "{total} of {bytes} bytes arrived");
            let mut meta = [RecvMeta::default()];
            if socket.recv(&mut [IoSliceMut::new(&mut memory)], &mut meta).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(1));
                continue;
            }
            let [RecvMeta { len, stride, .. }] = meta;
            datagrams.extend(memory[..len].chunks(stride).map(<[u8]>::to_vec));
            (longest, total) = (longest.max(len), total + len);
        }
        (datagrams, longest)
    }

    fn numbered() -> Vec<u8> {
        (0..10_u8).flat_map(|n| [n; 1000]).collect()
    }

    #[test]
    fn a_batch_arrives_when_the_kernel_refuses_it_as_a_train() {
        let (from, at, to) = pair();
        let mut tried = 0;
        let refusal = send_as(true, &numbered(), 1000, |bytes, segment| {
            if segment.is_some() {
                tried += 1;
                return Err(nix::errno::Errno::EIO.into());
            }
            from.send_once(to, bytes, None)
        });
        assert_eq!(refusal.unwrap().unwrap().raw_os_error(), Some(nix::errno::Errno::EIO as i32));
        assert_eq!(tried, 1);
        let (datagrams, _) = receive(&at, 10_000);
        assert!(datagrams.iter().map(Vec::as_slice).eq(numbered().chunks(1000)), "unchanged and in order");
    }

    #[test]
    fn the_kernel_tells_of_each_datagram_only_what_is_read() {
        for host in [None, Some(Ipv4Addr::LOCALHOST.into())] {
            let Socket { io, no_coalescing, .. } = Socket::bind(host, 0).unwrap();
            assert!(!getsockopt(&io, sockopt::ReceiveTimestampns).unwrap());
            assert!(!getsockopt(&io, sockopt::Ipv4PacketInfo).unwrap());
            assert!(!getsockopt(&io, sockopt::IpRecvTos).unwrap());
            assert!(!getsockopt(&io, sockopt::Ipv6RecvPacketInfo).unwrap_or(false));
            assert!(!getsockopt(&io, sockopt::Ipv6RecvTClass).unwrap_or(false));
            assert_eq!(getsockopt(&io, sockopt::UdpGroSegment).unwrap_or(false), no_coalescing.is_none());
        }
    }

    #[test]
    fn trains_cross_whole_unless_one_end_does_without() {
        let sent = numbered();
        for (trains, coalescing) in [(true, true), (true, false), (false, true)] {
            let (from, at, to) = pair();
            let at = if coalescing { at } else { at.without_offloads("a test").unwrap() };
            from.send(to, &sent, 1000, trains).unwrap();
            let (datagrams, longest) = receive(&at, sent.len());
            assert!(datagrams.iter().map(Vec::as_slice).eq(sent.chunks(1000)));
            let whole = trains && coalescing && from.no_trains().is_none() && at.no_coalescing().is_none();
            assert_eq!(
                longest,
                if whole { sent.len() } else { 1000 },
                "trains {trains}, UDP_GRO {coalescing}"
            );
        }
    }
}
