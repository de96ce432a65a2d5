//! A host behind a simulated bridge, with a network stack of its own: smoltcp.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use packet::Mac;

use crate::peer::NEVER;

/// What fits the paths, Ethernet header included.
const MTU: usize = 1414;
/// Room of a socket, each way, in bytes.
const ROOM: usize = 128 * 1024;

/// What a host starts with.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Its address on the bridge.
    pub mac: Mac,
    /// The last byte of its address in 10.9.0.0/24.
    pub number: u8,
}

/// One of them, with one TCP socket.
pub struct Host {
    peer: usize,
    mac: Mac,
    line: Line,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// When it is due, if that is put in the queue.
    due: u64,
}

/// Its port of the bridge.
#[derive(Default)]
struct Line {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Host {
    pub(crate) fn new(peer: usize, config: &HostConfig, now: u64) -> Self {
        let mut line = Line::default();
        let hardware = HardwareAddress::Ethernet(EthernetAddress(config.mac.bytes()));
        let mut stack = Config::new(hardware);
        stack.random_seed = u64::from(config.number);
        let mut interface = Interface::new(stack, &mut line, time(now));
        interface.update_ip_addrs(|addresses| {
            // The list has room for more than one.
            let _ = addresses.push(IpCidr::new(IpAddress::v4(10, 9, 0, config.number), 24));
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; ROOM]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self { peer, mac: config.mac, line, interface, sockets, socket, due: NEVER }
    }

    /// The peer on whose bridge it is.
    pub const fn peer(&self) -> usize {
        self.peer
    }

    /// Its TCP socket.
    pub fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Connects its TCP socket to port 80 of another host.
    ///
    /// # Errors
    /// When the socket is in use.
    pub fn connect(&mut self, to: u8) -> Result<(), tcp::ConnectError> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        socket.connect(self.interface.context(), (IpAddress::v4(10, 9, 0, to), 80), 49_152)
    }

    /// A frame is on the bridge; whether it is one for this host.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> bool {
        let wanted = packet::ethernet::dst(frame).is_some_and(|dst| dst == self.mac || dst.is_multicast());
        if wanted {
            self.line.received.push_back(frame.to_vec());
        }
        wanted
    }

    /// Does what is due, and gives the frames it sends.
    pub(crate) fn poll(&mut self, now: u64) -> Vec<Vec<u8>> {
        if self.due <= now {
            self.due = NEVER;
        }
        self.interface.poll(time(now), &mut self.line, &mut self.sockets);
        std::mem::take(&mut self.line.sent)
    }

    /// When it has to be polled next, unless that is known already.
    pub(crate) fn poll_next(&mut self, now: u64) -> Option<u64> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        // Its clock counts microseconds.
        let at = (u64::try_from(at.total_micros()).unwrap_or(0) * 1000).max(now + 1000);
        (at < self.due).then(|| {
            self.due = at;
            at
        })
    }
}

fn time(now: u64) -> Instant {
    Instant::from_micros(i64::try_from(now / 1000).unwrap_or(i64::MAX))
}

impl Device for Line {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sender<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sender(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        Some(Sender(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A frame that arrived.
pub(crate) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for a frame to send.
pub(crate) struct Sender<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}
