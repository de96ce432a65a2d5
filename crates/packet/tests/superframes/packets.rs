//! Ordinary packets made by etherparse.

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder, TcpHeader, VlanId,
};
use packet::VnetHdr;
use proptest::prelude::*;

use super::recipe::{DST4, DST6, SRC4, SRC6};

pub(crate) const DST: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const SRC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A recipe for a packet.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) v6: bool,
    pub(crate) tags: u8,
    /// Options of IPv4, a multiple of 4 bytes; any stand for a hop-by-hop header of IPv6.
    pub(crate) options: Vec<u8>,
    pub(crate) dont_fragment: bool,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Tcp(Box<TcpHeader>),
    Udp,
    /// What the payload is.
    Other(u8),
}

impl Packet {
    /// A datagram over IPv4 that must not be fragmented.
    pub(crate) fn udp(payload: usize) -> Self {
        Self {
            v6: false,
            tags: 0,
            options: vec![],
            dont_fragment: true,
            transport: Transport::Udp,
            payload: pattern(payload, 7),
        }
    }

    /// The frame with complete checksums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2(SRC, DST);
        let builder = match self.tags {
            0 => ethernet.ip(self.ip()),
            1 => ethernet.single_vlan(VlanId::try_new(7).unwrap()).ip(self.ip()),
            _ => ethernet.double_vlan(VlanId::try_new(9).unwrap(), VlanId::try_new(7).unwrap()).ip(self.ip()),
        };
        match &self.transport {
            Transport::Tcp(tcp) => builder.tcp_header(*tcp.clone()).write(&mut frame, &self.payload).unwrap(),
            Transport::Udp => builder.udp(4242, 5353).write(&mut frame, &self.payload).unwrap(),
            Transport::Other(number) => {
                builder.write(&mut frame, IpNumber(*number), &self.payload).unwrap();
            }
        }
        frame
    }

    /// The frame with its checksum open, and the virtio-net header that says so.
    pub(crate) fn open(&self) -> (VnetHdr, Vec<u8>) {
        let mut frame = self.frame();
        let (protocol, offset) = match self.transport {
            Transport::Tcp(_) => (6, 16),
            Transport::Udp => (17, 6),
            Transport::Other(_) => return (VnetHdr::default(), frame),
        };
        let start = self.network() + self.ip_len();
        let addresses = if self.v6 { [SRC6, DST6].concat() } else { [SRC4, DST4].concat() };
        let words = addresses.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum = words.sum::<u32>() + protocol + (frame.len() - start) as u32;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        frame[start + offset..start + offset + 2].copy_from_slice(&(sum as u16).to_be_bytes());
        (VnetHdr::partial(start as u16, offset as u16), frame)
    }

    /// Either of these.
    pub(crate) fn with_checksum(&self, open: bool) -> (VnetHdr, Vec<u8>) {
        if open { self.open() } else { (VnetHdr::default(), self.frame()) }
    }

    /// Where the IP header begins.
    pub(crate) fn network(&self) -> usize {
        14 + 4 * usize::from(self.tags)
    }

    pub(crate) fn ip_len(&self) -> usize {
        match (self.v6, self.options.is_empty()) {
            (true, true) => 40,
            (true, false) => 48,
            (false, _) => 20 + self.options.len(),
        }
    }

    fn ip(&self) -> IpHeaders {
        // The builder puts the numbers in.
        let any = IpNumber::UDP;
        if self.v6 {
            let header =
                Ipv6Header { hop_limit: 64, source: SRC6, destination: DST6, ..Ipv6Header::default() };
            let pad = Ipv6RawExtHeader::new_raw(any, &[1, 4, 0, 0, 0, 0]).unwrap();
            let hop_by_hop_options = (!self.options.is_empty()).then_some(pad);
            IpHeaders::Ipv6(header, Ipv6Extensions { hop_by_hop_options, ..Ipv6Extensions::default() })
        } else {
            let mut header = Ipv4Header::new(0, 64, any, SRC4, DST4).unwrap();
            header.identification = 0x1234;
            header.dont_fragment = self.dont_fragment;
            header.options = Ipv4Options::try_from(&self.options[..]).unwrap();
            IpHeaders::Ipv4(header, Default::default())
        }
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|n| ((n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Options of IPv4: none, or a record of the route (not repeated in fragments) and a source route (repeated).
pub(crate) fn options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![7, 7, 4, 0, 0, 0, 0, 0]),
        Just(vec![1, 0x83, 7, 4, 9, 9, 9, 9]),
        Just(vec![1, 7, 7, 4, 0, 0, 0, 0, 0x83, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
    ]
}

/// Datagrams of every kind.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let transport = prop_oneof![
        2 => Just(Transport::Udp),
        2 => any::<u32>().prop_map(|n| Transport::Tcp(Box::new(TcpHeader::new(4242, 80, n, 1000)))),
        1 => Just(Transport::Other(132)),
    ];
    let len = prop_oneof![0usize..100, 100usize..3000, 3000usize..20_000];
    (any::<bool>(), 0u8..3, options(), any::<bool>(), transport, len, any::<u64>()).prop_map(
        |(v6, tags, options, dont_fragment, transport, len, seed)| Packet {
            v6,
            tags,
            options,
            dont_fragment,
            transport,
            payload: pattern(len, seed),
        },
    )
}
