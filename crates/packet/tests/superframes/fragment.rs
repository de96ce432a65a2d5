//! Fragments, put together again by etherparse.

use etherparse::SlicedPacket;
use etherparse::defrag::IpDefragPool;
use packet::{SuperFrame, VnetHdr, fragment};
use proptest::prelude::*;

use super::packets::{Packet, Transport, packet, pattern};
use super::recipe::{Spec, spec};

/// The fragments of a frame, without the empty header before each; none if it may not be cut.
fn fragments(frame: &SuperFrame<'_>, max_frame: usize) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    let cut = fragment(frame, max_frame, &mut |bytes| {
        let fragment = SuperFrame::from_host(bytes).unwrap();
        assert_eq!(fragment.hdr(), VnetHdr::default());
        out.push(fragment.frame().to_vec());
    });
    assert!(cut || out.is_empty());
    cut.then_some(out)
}

fn ordinary(bytes: &[u8]) -> SuperFrame<'_> {
    SuperFrame::checked(VnetHdr::default(), bytes).unwrap()
}

/// What a host makes of fragments that come in this order.
fn reassembled(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut pool = IpDefragPool::<(), ()>::new();
    let mut whole = None;
    for fragment in fragments {
        assert!(whole.is_none(), "there is more than one datagram");
        let packet = SlicedPacket::from_ethernet(fragment).unwrap();
        let header = packet.net.as_ref().unwrap().ipv4_ref().unwrap().header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        whole = pool.process_sliced_packet(&packet, (), ()).unwrap().map(|done| done.payload);
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn fragments_fit_and_become_the_datagram_again(packet in packet(), room in 68usize..2000, open: bool, seed: u64) {
        let packet = Packet { v6: false, dont_fragment: false, ..packet };
        let max_frame = packet.network() + room;
        let (hdr, bytes) = packet.with_checksum(open);
        let mut parts = fragments(&SuperFrame::checked(hdr, &bytes).unwrap(), max_frame).unwrap();
        let whole = packet.frame();
        if whole.len() <= max_frame {
            prop_assert_eq!(parts, [whole]);
            return Ok(());
        }
        let header = packet.network() + packet.ip_len();
        for part in &parts {
            prop_assert!(part.len() <= max_frame);
            prop_assert_eq!(&part[..packet.network()], &whole[..packet.network()]);
        }
        prop_assert!(parts.len() <= (whole.len() - header).div_ceil((room - packet.ip_len()) / 8 * 8));
        // Any order is as good.
        let turn = seed as usize % parts.len();
        parts.rotate_left(turn);
        let payload = reassembled(&parts);
        prop_assert_eq!(payload.as_deref(), Some(&whole[header..]));
    }

    #[test]
    fn each_datagram_of_a_super_frame_is_fragmented_by_itself(spec in spec(), room in 300usize..1500) {
        let spec = Spec { v6: false, tcp: false, ..spec };
        let mut bytes = spec.super_frame();
        // The recipe's datagrams must not be fragmented.
        allow_fragments(&mut bytes, usize::from(spec.tags));
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let parts = fragments(&frame, room).unwrap();
        let mut expected = spec.segments().into_iter();
        for mut parts in parts.chunk_by(|a, b| identification(a) == identification(b)).map(<[_]>::to_vec) {
            let mut segment = expected.next().unwrap();
            allow_fragments(&mut segment, usize::from(spec.tags));
            if parts.len() == 1 {
                prop_assert_eq!(parts.remove(0), segment);
            } else {
                let whole = reassembled(&parts);
                prop_assert_eq!(whole.as_deref(), Some(&segment[spec.csum_start()..]));
            }
        }
        prop_assert!(expected.next().is_none());
    }

    #[test]
    fn a_fragment_is_cut_again_and_nothing_is_lost(len in 500usize..5000, first in 100usize..1500, second in 82usize..800) {
        let packet = Packet { dont_fragment: false, ..Packet::udp(len) };
        let bytes = packet.frame();
        let parts = fragments(&ordinary(&bytes), first).unwrap();
        let twice: Vec<_> = parts.iter().flat_map(|part| fragments(&ordinary(part), second).unwrap()).collect();
        prop_assert!(twice.iter().all(|part| part.len() <= first.min(second)));
        if let [only] = &twice[..] {
            prop_assert_eq!(only, &bytes);
        } else {
            let whole = reassembled(&twice);
            prop_assert_eq!(whole.as_deref(), Some(&bytes[34..]));
        }
    }

    #[test]
    fn what_is_spoilt_is_refused_or_gives_sound_frames(
        packet in packet(), hits in proptest::collection::vec((14usize..60, any::<u8>()), 1..4), mend: bool, cut_off in 0usize..100, max_frame in 0usize..1500,
    ) {
        let mut bytes = Packet { dont_fragment: false, tags: 0, ..packet }.frame();
        for (at, value) in hits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let header = usize::from(bytes[14] & 15) * 4;
        if mend && (20..=bytes.len() - 14).contains(&header) {
            bytes[24..26].fill(0);
            let sum = packet::checksum::Sum::of(&bytes[14..14 + header]).checksum();
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        bytes.truncate((bytes.len() - cut_off.min(bytes.len())).max(14));
        for part in fragments(&ordinary(&bytes), max_frame).unwrap_or_default() {
            prop_assert!(part.len() <= max_frame);
            let header = usize::from(part[14] & 15) * 4;
            prop_assert_eq!(packet::checksum::Sum::of(&part[14..14 + header]).fold(), 0xffff);
        }
    }
}

fn allow_fragments(frame: &mut [u8], tags: usize) {
    let at = 14 + 4 * tags;
    frame[at + 6] &= !0x40;
    frame[at + 10..at + 12].fill(0);
    let end = at + usize::from(frame[at] & 15) * 4;
    let sum = packet::checksum::Sum::of(&frame[at..end]).checksum();
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

fn identification(frame: &[u8]) -> u16 {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    packet.net.as_ref().unwrap().ipv4_ref().unwrap().header().identification()
}

#[test]
fn what_may_not_be_fragmented_is_refused() {
    let free = Packet { dont_fragment: false, ..Packet::udp(1400) };
    let refused = |bytes: &[u8]| fragments(&ordinary(bytes), 1000).is_none();
    assert!(!refused(&free.frame()));
    assert!(refused(&Packet { dont_fragment: true, ..free.clone() }.frame()));
    assert!(refused(&Packet { v6: true, ..free.clone() }.frame()));
    let mut wrong = free.frame();
    wrong[24] ^= 1;
    assert!(refused(&wrong), "a checksum that is wrong would become right");
    assert_eq!(fragments(&ordinary(&free.frame()), 81), None, "no path for IPv4 has so little room");
    let mut arp = free.frame();
    arp[13] = 6;
    assert!(refused(&arp));
}

#[test]
fn a_datagram_that_would_end_beyond_64_kib_is_refused() {
    let packet = Packet { dont_fragment: false, transport: Transport::Other(132), ..Packet::udp(3000) };
    let at = |place: u16| {
        let mut bytes = packet.frame();
        bytes[20..22].copy_from_slice(&place.to_be_bytes());
        bytes[24..26].fill(0);
        let sum = packet::checksum::Sum::of(&bytes[14..34]).checksum();
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    assert_eq!(fragments(&ordinary(&at(7814)), 1500).unwrap().len(), 3, "it ends at byte 65 532");
    assert_eq!(fragments(&ordinary(&at(7815)), 1500), None);
}

#[test]
fn only_options_marked_so_are_in_all_fragments() {
    let options = vec![1, 7, 7, 4, 0, 0, 0, 0, 0x83, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    let packet =
        Packet { dont_fragment: false, options: options.clone(), payload: pattern(100, 1), ..Packet::udp(0) };
    let parts = fragments(&ordinary(&packet.frame()), 90).unwrap();
    assert_eq!(parts[0][34..54], options);
    for part in &parts[1..] {
        assert_eq!(part[14], 0x48);
        assert_eq!(part[34..46], [0x83, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    }
}

#[test]
fn padding_behind_a_datagram_is_left_out() {
    let packet = Packet { dont_fragment: false, ..Packet::udp(200) };
    let bytes = packet.frame();
    let padded = [&bytes[..], &[0; 50]].concat();
    assert_eq!(fragments(&ordinary(&padded), bytes.len()), Some(vec![bytes]));
    let empty = Packet { dont_fragment: false, transport: Transport::Other(132), ..Packet::udp(0) }.frame();
    let padded = [&empty[..], &[0; 70]].concat();
    assert_eq!(fragments(&ordinary(&padded), 90), Some(vec![empty]));
}
