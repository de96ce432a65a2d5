//! Datagrams between containers: single ones, and trains that the kernel is to cut or to merge.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, UdpGroSegment};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
use nix::sys::socket::{recvmsg, sendmsg, setsockopt};

use crate::Network;

/// The socket of one side, in the network of a container.
pub struct UdpEnd {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

/// What one call has received.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// One datagram, or several of one flow put together.
    pub bytes: Vec<u8>,
    /// The size of all of them but the last one, which may be shorter; `None` for a datagram that came alone.
    pub segment: Option<usize>,
}

impl UdpEnd {
    /// Binds a socket in this network. Its buffer holds so much that nothing is lost while the test is not looking.
    pub fn bind(network: &Network, address: &str, port: u16) -> Self {
        let ip: IpAddr = address.parse().unwrap_or_else(|e| panic!("{address}: {e}"));
        let socket = network.udp(SocketAddr::new(ip, port));
        // Asked for by root, so no limit of the machine is in the way.
        setsockopt(&socket, RcvBufForce, &BUFFER).unwrap_or_else(|e| panic!("SO_RCVBUFFORCE: {e}"));
        socket.set_read_timeout(Some(SILENCE)).unwrap_or_else(|e| panic!("SO_RCVTIMEO: {e}"));
        Self { socket, buffer: vec![0; 65536] }
    }

    /// Has the kernel hand over several datagrams at once where it can (UDP_GRO).
    pub fn merge(&self) {
        setsockopt(&self.socket, UdpGroSegment, &true).unwrap_or_else(|e| panic!("UDP_GRO: {e}"));
    }

    /// What is sent goes to this one.
    pub fn connect(&self, to: &Self) {
        let to = to.socket.local_addr();
        to.and_then(|to| self.socket.connect(to)).unwrap_or_else(|e| panic!("connect: {e}"));
    }

    /// Sends one datagram.
    pub fn send(&self, bytes: &[u8]) {
        let sent = self.socket.send(bytes).unwrap_or_else(|e| panic!("{} bytes: {e}", bytes.len()));
        assert_eq!(sent, bytes.len());
    }

    /// Sends datagrams of `segment` bytes, the last one of what is left over, in one call (UDP_SEGMENT).
    pub fn send_train(&self, bytes: &[u8], segment: u16) {
        let (fd, train) = (self.socket.as_raw_fd(), ControlMessage::UdpGsoSegments(&segment));
        let sent = sendmsg::<()>(fd, &[IoSlice::new(bytes)], &[train], MsgFlags::empty(), None);
        let sent = sent.unwrap_or_else(|e| panic!("{} bytes, {segment} a segment: {e}", bytes.len()));
        assert_eq!(sent, bytes.len());
    }

    /// Receives what comes next; nothing when it was silent for two seconds.
    pub fn receive(&mut self) -> Option<Received> {
        let mut control = cmsg_space!(i32);
        let mut into = [IoSliceMut::new(&mut self.buffer)];
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let message = match recvmsg::<SockaddrStorage>(fd, &mut into, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return None,
            Err(e) => panic!("recvmsg: {e}"),
        };
        let said = message.cmsgs().unwrap_or_else(|e| panic!("recvmsg: {e}"));
        let mut segments = said.filter_map(|one| match one {
            ControlMessageOwned::UdpGroSegments(segment) => usize::try_from(segment).ok(),
            _ => None,
        });
        let (length, segment) = (message.bytes, segments.next());
        Some(Received { bytes: self.buffer[..length].to_vec(), segment })
    }
}

impl Received {
    /// The datagrams it consists of.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.unwrap_or(self.bytes.len()).max(1))
    }
}

/// A small datagram takes about 800 bytes of it, and one of 1200 bytes takes 2300.
const BUFFER: usize = 128 << 20;

/// After which nothing more is expected: far longer than a router that is busy holds anything back.
const SILENCE: Duration = Duration::from_secs(2);
