//! [`Flow`]: what has to keep its order.

use crate::bytes::u16_at;
use crate::ethernet;
use crate::layout::{FRAGMENTED, ICMPV6, IPV4_MIN, IPV6_FIXED, TCP, UDP};

/// What a frame's headers say about the flow it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow<'a> {
    /// Both Ethernet addresses; `None` in what is too short for them.
    stations: Option<&'a [u8; 12]>,
    network: Network<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network<'a> {
    /// Both addresses, the protocol if it is known for certain, and both ports.
    Ip { addresses: &'a [u8], protocol: Option<u8>, ports: Option<&'a [u8; 4]> },
    /// Another ethertype.
    Other(u16),
    /// The headers do not say.
    Unknown,
}

impl<'a> Flow<'a> {
    /// Reads the headers of an Ethernet frame.
    #[inline]
    pub fn of(frame: &'a [u8]) -> Self {
        Self { stations: frame.first_chunk(), network: Network::of(frame).unwrap_or(Network::Unknown) }
    }

    /// Whether both may be of one flow, which nothing may put in another order. In doubt they are.
    #[inline]
    pub fn may_be(&self, other: &Self) -> bool {
        if let (Some(ours), Some(theirs)) = (self.stations, other.stations)
            && ours != theirs
        {
            return false;
        }
        match (&self.network, &other.network) {
            (Network::Unknown, _) | (_, Network::Unknown) => true,
            (Network::Other(ours), Network::Other(theirs)) => ours == theirs,
            (Network::Other(_), Network::Ip { .. }) | (Network::Ip { .. }, Network::Other(_)) => false,
            (
                Network::Ip { addresses: our_addresses, protocol: ours, ports: our_ports },
                Network::Ip { addresses: their_addresses, protocol: theirs, ports: their_ports },
            ) => {
                our_addresses == their_addresses
                    && same_or_unknown(*ours, *theirs)
                    && same_or_unknown(*our_ports, *their_ports)
            }
        }
    }
}

fn same_or_unknown<T: PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    }
}

impl<'a> Network<'a> {
    #[inline]
    fn of(frame: &'a [u8]) -> Option<Self> {
        let content = ethernet::ethertype(frame)?;
        let packet = frame.get(content.offset..)?;
        match content.ethertype {
            ethernet::IPV4 => Self::ipv4(packet),
            ethernet::IPV6 => Self::ipv6(packet),
            // Who knows what is behind a third tag.
            ethernet::VLAN | ethernet::SERVICE_VLAN => None,
            other => Some(Self::Other(other)),
        }
    }

    fn ipv4(packet: &'a [u8]) -> Option<Self> {
        let protocol = *packet.get(9)?;
        let header = usize::from(packet.first()? & 0x0f) * 4;
        // Only the first fragment has ports, and the others must not pass it.
        let whole = u16_at(packet, 6)? & FRAGMENTED == 0;
        let ports = ports(packet, header, protocol).filter(|_| whole && header >= IPV4_MIN);
        Some(Self::Ip { addresses: packet.get(12..20)?, protocol: Some(protocol), ports })
    }

    fn ipv6(packet: &'a [u8]) -> Option<Self> {
        // What is behind an extension header, a fragment's for one, is not looked for.
        let protocol = packet.get(6).copied().filter(|next| matches!(*next, TCP | UDP | ICMPV6));
        let ports = protocol.and_then(|protocol| ports(packet, IPV6_FIXED, protocol));
        Some(Self::Ip { addresses: packet.get(8..40)?, protocol, ports })
    }
}

/// Source and destination.
fn ports(packet: &[u8], header: usize, protocol: u8) -> Option<&[u8; 4]> {
    if !matches!(protocol, TCP | UDP) {
        return None;
    }
    packet.get(header..)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::ICMP;

    const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn ipv4(protocol: u8, to: u8, fragment: u16, ports: [u16; 2]) -> Vec<u8> {
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[9] = protocol;
        ip[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, to]);
        [&STATIONS[..], &[8, 0], &ip, &ports.map(u16::to_be_bytes).concat(), &[0; 16]].concat()
    }

    fn ipv6(next: u8, to: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut ip = [0; 40];
        (ip[0], ip[6], ip[39]) = (0x60, next, to);
        [&STATIONS[..], &[0x86, 0xdd], &ip, &ports.map(u16::to_be_bytes).concat(), &[0; 16]].concat()
    }

    fn arp() -> Vec<u8> {
        [&STATIONS[..], &[8, 6], &[0; 28]].concat()
    }

    fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
        [&frame[..12], &[0x81, 0, 0, 7].repeat(tags), &frame[12..]].concat()
    }

    fn may_be(a: &[u8], b: &[u8]) -> bool {
        let (a, b) = (Flow::of(a), Flow::of(b));
        assert_eq!(a.may_be(&b), b.may_be(&a));
        a.may_be(&b)
    }

    #[test]
    fn what_differs_in_an_address_a_protocol_or_a_port_is_of_another_flow() {
        let flow = ipv4(TCP, 2, 0, [5201, 80]);
        assert!(may_be(&flow, &ipv4(TCP, 2, 0, [5201, 80])));
        for other in [
            ipv4(TCP, 3, 0, [5201, 80]),
            ipv4(TCP, 2, 0, [5202, 80]),
            ipv4(TCP, 2, 0, [5201, 81]),
            ipv4(UDP, 2, 0, [5201, 80]),
            ipv4(ICMP, 2, 0, [5201, 80]),
            ipv6(TCP, 2, [5201, 80]),
            arp(),
        ] {
            assert!(!may_be(&flow, &other), "{other:?}");
        }
        let mut elsewhere = flow.clone();
        elsewhere[5] = 9;
        assert!(!may_be(&flow, &elsewhere));
        assert!(!may_be(&ipv6(TCP, 2, [1, 2]), &ipv6(ICMPV6, 2, [1, 2])));
        assert!(!may_be(&ipv6(UDP, 2, [1, 2]), &ipv6(UDP, 2, [1, 3])));
        assert!(!may_be(&ipv6(UDP, 2, [1, 2]), &ipv6(UDP, 3, [1, 2])));
    }

    #[test]
    fn what_hides_its_ports_may_be_of_any_flow_between_the_two() {
        let datagram = ipv4(UDP, 2, 0, [7, 8]);
        for fragment in [0x2000, 0x00b9, 0x2001] {
            assert!(may_be(&datagram, &ipv4(UDP, 2, fragment, [0, 0])), "{fragment:#06x}");
            assert!(!may_be(&datagram, &ipv4(TCP, 2, fragment, [0, 0])));
            assert!(!may_be(&datagram, &ipv4(UDP, 3, fragment, [0, 0])));
        }
        assert!(may_be(&ipv4(ICMP, 2, 0, [1, 2]), &ipv4(ICMP, 2, 0, [3, 4])), "all between two hosts");
        // Behind a fragment header (44, RFC 8200 section 4.5) may be anything.
        assert!(may_be(&ipv6(UDP, 2, [7, 8]), &ipv6(44, 2, [0, 0])));
        assert!(!may_be(&ipv6(UDP, 2, [7, 8]), &ipv6(44, 3, [0, 0])));
    }

    #[test]
    fn tags_are_looked_behind_and_what_cannot_be_read_may_be_anything() {
        let (one, other) = (ipv4(UDP, 2, 0, [7, 8]), ipv4(UDP, 2, 0, [7, 9]));
        assert!(!may_be(&tagged(&one, 1), &tagged(&other, 1)));
        assert!(may_be(&tagged(&one, 1), &tagged(&one, 2)));
        assert!(may_be(&tagged(&one, 3), &other));
        for length in [0, 11, 12, 14, 20, 33] {
            assert!(may_be(&one[..length], &other), "{length}");
        }
        assert!(may_be(&one[..36], &other), "cut off within the ports");
    }

    proptest! {
        #[test]
        fn every_frame_is_of_its_own_flow(frame: Vec<u8>, ethertype: u16, other: Vec<u8>) {
            let framed = [&STATIONS[..], &ethertype.to_be_bytes(), &frame].concat();
            for bytes in [&frame, &framed] {
                prop_assert!(may_be(bytes, bytes));
                may_be(bytes, &other);
            }
        }
    }
}
