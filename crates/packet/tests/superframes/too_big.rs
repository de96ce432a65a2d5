//! The answers to what does not fit, read by etherparse.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use packet::{SuperFrame, VnetHdr, too_big};
use proptest::prelude::*;

use super::packets::{DST, Packet, SRC, Transport, packet, pattern};
use super::recipe::{DST4, DST6, SRC4, SRC6, spec};

/// The answer without the empty header before it.
fn answer(frame: &SuperFrame<'_>, max_frame: usize) -> Option<Vec<u8>> {
    let bytes = too_big(frame, max_frame)?;
    let answer = SuperFrame::from_host(&bytes).unwrap();
    assert_eq!(answer.hdr(), VnetHdr::default());
    Some(answer.frame().to_vec())
}

fn plain(bytes: &[u8], max_frame: usize) -> Option<Vec<u8>> {
    answer(&SuperFrame::checked(VnetHdr::default(), bytes).unwrap(), max_frame)
}

/// Checks all of an answer to `packet`, whose IP header is at `network`; gives back the MTU it tells.
fn read(answer: &[u8], packet: &[u8], network: usize) -> usize {
    assert_eq!((&answer[..6], &answer[6..12]), (&SRC[..], &DST[..]), "back to the sender");
    assert_eq!(answer[12..network], packet[12..network], "in the same network");
    let read = SlicedPacket::from_ethernet(answer).unwrap();
    let (mtu, quote, most) = match (read.net.unwrap(), read.transport.unwrap()) {
        (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
            let header = ip.header().to_header();
            assert_eq!((header.source, header.destination), (DST4, SRC4));
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let kind = icmp.icmp_type();
            assert_eq!(icmp.checksum(), Icmpv4Header::with_checksum(kind.clone(), icmp.payload()).checksum);
            let Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
                next_hop_mtu,
            }) = kind
            else {
                panic!("{kind:?}")
            };
            (usize::from(next_hop_mtu), icmp.payload(), 576 - 28)
        }
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let header = ip.header();
            assert_eq!((header.source(), header.destination()), (DST6, SRC6));
            assert!(icmp.is_checksum_valid(DST6, SRC6));
            let Icmpv6Type::PacketTooBig { mtu } = icmp.icmp_type() else { panic!("{icmp:?}") };
            (mtu as usize, icmp.payload(), 1280 - 48)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(quote, &packet[network..packet.len().min(network + most)]);
    mtu
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_sender_hears_what_fits_and_which_packet_did_not(packet in packet(), open: bool, mtu in 0usize..20_000) {
        let packet = Packet { dont_fragment: true, ..packet };
        let (hdr, bytes) = packet.with_checksum(open);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        let least = if packet.v6 { 1280 } else { 68 };
        let told = if packet.v6 { mtu.max(least) } else { mtu };
        let len = bytes.len() - packet.network();
        match answer(&frame, packet.network() + mtu) {
            Some(answer) => {
                prop_assert!(len > told && told >= least);
                prop_assert_eq!(read(&answer, &packet.frame(), packet.network()), told);
            }
            None => prop_assert!(len <= told || told < least, "{} {}", len, told),
        }
    }

    #[test]
    fn a_super_frame_is_answered_as_its_first_datagram(spec in spec(), mtu in 68usize..4000) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let network = 14 + 4 * usize::from(spec.tags);
        let first = spec.segments().remove(0);
        let told = if spec.v6 { mtu.max(1280) } else { mtu };
        let answer = answer(&frame, network + mtu);
        prop_assert_eq!(answer.is_some(), first.len() - network > told);
        if let Some(answer) = answer {
            prop_assert_eq!(read(&answer, &first, network), told);
        }
    }

    #[test]
    fn any_bytes_can_be_answered(
        packet in packet(), hits in proptest::collection::vec((0usize..80, any::<u8>()), 0..6), cut_off in 0usize..100, max_frame in 0usize..2000,
    ) {
        let mut bytes = packet.frame();
        for (at, value) in hits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate((bytes.len() - cut_off.min(bytes.len())).max(14));
        if let Some(answer) = plain(&bytes, max_frame) {
            prop_assert!(answer.len() <= 22 + 1280);
            prop_assert!(SlicedPacket::from_ethernet(&answer).is_ok());
        }
    }
}

/// A packet of ICMP, or of what it is called with IPv6.
fn icmp(v6: bool, kind: u8) -> Vec<u8> {
    let mut payload = pattern(1600, 5);
    payload[0] = kind;
    Packet { v6, transport: Transport::Other(if v6 { 58 } else { 1 }), payload, ..Packet::udp(0) }.frame()
}

#[test]
fn errors_of_icmp_are_not_answered_and_other_messages_are() {
    for kind in 0..=255 {
        assert_eq!(plain(&icmp(false, kind), 1400).is_none(), matches!(kind, 3 | 4 | 5 | 11 | 12), "{kind}");
        assert_eq!(plain(&icmp(true, kind), 1400).is_none(), kind < 128 || kind == 137, "{kind} of IPv6");
    }
}

#[test]
fn groups_and_addresses_of_nobody_are_not_answered() {
    let spoilt = |v6: bool, at: usize, with: &[u8]| {
        let mut bytes = Packet { v6, ..Packet::udp(1600) }.frame();
        bytes[at..at + with.len()].copy_from_slice(with);
        plain(&bytes, 1400)
    };
    for v6 in [false, true] {
        assert!(spoilt(v6, 0, &[]).is_some());
        for at in [0, 6] {
            assert_eq!(spoilt(v6, at, &[1, 0, 0x5e]), None, "multicast on Ethernet");
            assert_eq!(spoilt(v6, at, &[0xff; 6]), None, "broadcast on Ethernet");
        }
    }
    for at in [26, 30] {
        for address in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
            assert_eq!(spoilt(false, at, &address), None, "{address:?}");
        }
    }
    for at in [22, 38] {
        assert_eq!(spoilt(true, at, &[0xff, 2]), None);
        assert_eq!(spoilt(true, at, &[0; 16]), None);
    }
}

#[test]
fn of_the_fragments_of_a_datagram_the_first_is_answered() {
    let v4 = |place: u16| {
        let mut bytes = Packet { transport: Transport::Other(132), ..Packet::udp(1600) }.frame();
        bytes[20..22].copy_from_slice(&place.to_be_bytes());
        plain(&bytes, 1400).is_some()
    };
    assert_eq!([0x4000, 0x6000, 0x4001, 0x0000].map(v4), [true, true, false, false]);
    let v6 = |place: u16| {
        let [high, low] = place.to_be_bytes();
        let payload = [&[17, 0, high, low, 0, 0, 0, 9][..], &pattern(1600, 2)].concat();
        let packet = Packet { v6: true, transport: Transport::Other(44), payload, ..Packet::udp(0) };
        plain(&packet.frame(), 1400).is_some()
    };
    assert_eq!([0, 1, 8, 0x100].map(v6), [true, true, false, false]);
}

#[test]
fn an_error_is_found_behind_extension_headers() {
    let chain = |last: u8| {
        let destination = [51, 0, 1, 4, 0, 0, 0, 0];
        let authentication = [58, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        let payload = [&destination[..], &authentication, &[last], &pattern(1600, 2)].concat();
        let packet = Packet { v6: true, transport: Transport::Other(60), payload, ..Packet::udp(0) };
        plain(&packet.frame(), 1400).is_some()
    };
    assert_eq!([128, 1].map(chain), [true, false]);
}

#[test]
fn what_is_not_ip_is_not_answered() {
    let mut bytes = Packet::udp(1600).frame();
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    assert_eq!(plain(&bytes, 1400), None);
}
