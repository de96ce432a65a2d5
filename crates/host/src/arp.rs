//! Telling neighbours about an address that is new on an interface.
//!
//! Who talked to the address before remembers the MAC address of whoever had it, for up to a minute. The kernel's own
//! setting `arp_notify` speaks up when an interface comes up or changes its MAC address, but not when it gets a further
//! address. Hence the announcement of RFC 5227 section 3 from here: a broadcast ARP request in which sender and target
//! are the new address. For IPv6 the kernel does it at the end of duplicate address detection (`ndisc_notify`).

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::netlink::Link;
use crate::sys::packet;

const ETHERTYPE_ARP: u16 = 0x0806;

/// Length of an Ethernet header and an ARP message for IPv4 (RFC 826).
const LEN: usize = 14 + 28;

/// Announces the IPv4 addresses among `addresses` on an interface of the calling thread's network namespace.
pub(crate) fn announce(link: &Link, addresses: &[IpNetwork]) -> io::Result<()> {
    let mut ips = addresses.iter().filter_map(|address| match address.ip() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let Some(first) = ips.next() else {
        return Ok(());
    };
    let socket = packet::socket(link.index, ETHERTYPE_ARP)?;
    for ip in std::iter::once(first).chain(ips) {
        socket.send(&announcement(link.mac, ip))?;
    }
    Ok(())
}

fn announcement(mac: [u8; 6], ip: Ipv4Addr) -> [u8; LEN] {
    const BROADCAST: [u8; 6] = [0xff; 6];
    // Ethernet hardware, IPv4 protocol, their address lengths, operation 1 (request).
    const HEAD: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
    let mut frame = [0; LEN];
    let parts: [&[u8]; 8] = [
        &BROADCAST,
        &mac,
        &ETHERTYPE_ARP.to_be_bytes(),
        &HEAD,
        &mac,
        &ip.octets(),
        // The hardware address asked for is not known by definition.
        &[0; 6],
        &ip.octets(),
    ];
    for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_broadcast_request_for_the_senders_own_address() {
        let mac = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
        let frame = announcement(mac, Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], mac);
        assert_eq!(frame[12..22], [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..28], mac);
        assert_eq!(frame[28..32], [10, 1, 2, 3]);
        assert_eq!(frame[32..38], [0; 6]);
        assert_eq!(frame[38..], [10, 1, 2, 3]);
    }
}
