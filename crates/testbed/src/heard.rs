//! What is sent to everybody, and who has heard it how often.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::Host;

/// A container on each of several hosts that listens to a group, or to a broadcast address, of IPv4.
pub struct Listeners {
    sockets: Vec<UdpSocket>,
    group: Ipv4Addr,
}

/// Where what everybody shall hear is sent to.
const PORT: u16 = 5000;

/// After which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(700);

impl Listeners {
    /// Has the container of this name listen on all of these hosts; see [`Host::overlay`] for its address.
    pub fn on(hosts: &[Host], container: &str, group: &str) -> Self {
        let group: Ipv4Addr = group.parse().unwrap_or_else(|e| panic!("{group}: {e}"));
        let sockets = hosts.iter().map(|host| {
            let socket = host.network_of(container).udp((Ipv4Addr::UNSPECIFIED, PORT).into());
            let here = address_of(host);
            if group.is_multicast() {
                socket.join_multicast_v4(&group, &here).unwrap_or_else(|e| panic!("{host}, {group}: {e}"));
            }
            socket.set_read_timeout(Some(SILENCE)).unwrap_or_else(|e| panic!("{e}"));
            socket
        });
        Self { sockets: sockets.collect(), group }
    }

    /// Has the container of a host send `count` numbered datagrams to them, a tenth of a second apart; gives for each
    /// listener what it has heard by the time that all have been silent for a while.
    pub fn heard_from(&self, host: &Host, container: &str, count: u8) -> Vec<Vec<u8>> {
        let sender = host.network_of(container).udp((address_of(host), 0).into());
        sender.set_broadcast(true).unwrap_or_else(|e| panic!("{e}"));
        thread::scope(|scope| {
            let sending = Duration::from_millis(100) * u32::from(count);
            let listeners = self.sockets.iter().map(|socket| {
                scope.spawn(move || {
                    let (mut heard, mut buffer, start) = (Vec::new(), [0; 16], Instant::now());
                    loop {
                        match socket.recv(&mut buffer) {
                            Ok(_) => heard.push(buffer[0]),
                            Err(_) if start.elapsed() > sending + SILENCE => return heard,
                            Err(_) => {}
                        }
                    }
                })
            });
            let listeners: Vec<_> = listeners.collect();
            for number in 0..count {
                let sent = sender.send_to(&[number], (self.group, PORT));
                sent.unwrap_or_else(|e| panic!("{host} to {}: {e}", self.group));
                thread::sleep(Duration::from_millis(100));
            }
            let joined = listeners.into_iter().map(|one| one.join());
            joined.map(|heard| heard.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

fn address_of(host: &Host) -> Ipv4Addr {
    host.overlay().parse().unwrap_or_else(|e| panic!("{}: {e}", host.overlay()))
}
