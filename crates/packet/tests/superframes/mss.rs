//! Clamping, compared with SYNs that etherparse builds with the smaller size from the start.

use etherparse::TcpHeader;
use packet::{SuperFrame, VnetHdr, clamp_mss};
use proptest::prelude::*;

use super::packets::{Packet, Transport, options, packet, pattern};

/// Options before the size, the size, options behind it.
#[derive(Debug, Clone)]
struct Syn {
    before: Vec<u8>,
    mss: u16,
    behind: Vec<u8>,
    answer: bool,
    packet: Packet,
}

impl Syn {
    fn with(&self, mss: u16) -> Packet {
        let mut header = TcpHeader::new(4242, 80, 99, 1000);
        header.syn = true;
        header.ack = self.answer;
        let [high, low] = mss.to_be_bytes();
        header.set_options_raw(&[&self.before[..], &[2, 4, high, low], &self.behind].concat()).unwrap();
        Packet { transport: Transport::Tcp(Box::new(header)), ..self.packet.clone() }
    }
}

fn syn() -> impl Strategy<Value = Syn> {
    let before = prop_oneof![
        Just(vec![]),
        Just(vec![1]),
        Just(vec![3, 3, 7]),
        Just(vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        Just(vec![4, 2])
    ];
    let behind =
        prop_oneof![Just(vec![]), Just(vec![0, 2, 4, 0xff, 0xff]), Just(vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8])];
    // Fast open sends data with a SYN.
    let data = prop_oneof![Just(0usize), 1usize..1400];
    let packet = (any::<bool>(), 0u8..3, options(), any::<bool>(), data).prop_map(
        |(v6, tags, options, dont_fragment, data)| Packet {
            v6,
            tags,
            options,
            dont_fragment,
            payload: pattern(data, 3),
            ..Packet::udp(0)
        },
    );
    (before, prop_oneof![any::<u16>(), 1200u16..1500], behind, any::<bool>(), packet)
        .prop_map(|(before, mss, behind, answer, packet)| Syn { before, mss, behind, answer, packet })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_syn_announces_what_fits_and_is_otherwise_the_same(syn in syn(), max_frame in prop_oneof![150usize..1600, 1600usize..70_000], open: bool) {
        let fixed = if syn.packet.v6 { 40 } else { 20 };
        let limit = max_frame.saturating_sub(syn.packet.network() + fixed + 20);
        let expected = if limit < 88 { syn.mss } else { usize::from(syn.mss).min(limit) as u16 };
        let (hdr, mut frame) = syn.with(syn.mss).with_checksum(open);
        prop_assert!(SuperFrame::checked(hdr, &frame).unwrap().may_be_syn());
        prop_assert_eq!(clamp_mss(&hdr, &mut frame, max_frame), expected != syn.mss);
        prop_assert_eq!((hdr, frame), syn.with(expected).with_checksum(open));
    }

    #[test]
    fn nothing_but_a_syn_is_touched(packet in packet(), open: bool, max_frame in 0usize..2000) {
        let (hdr, mut frame) = packet.with_checksum(open);
        let before = frame.clone();
        prop_assert!(!clamp_mss(&hdr, &mut frame, max_frame));
        prop_assert_eq!(frame, before);
    }

    #[test]
    fn what_is_spoilt_is_found_by_the_quick_look_or_not_touched(
        syn in syn(), hits in proptest::collection::vec((0usize..90, any::<u8>()), 0..4), cut_off in 0usize..80, start: u16,
    ) {
        let (mut hdr, mut frame) = syn.with(9000).with_checksum(start % 2 == 0);
        if start % 8 == 0 {
            hdr.csum_start = start;
        }
        for (at, value) in hits {
            let at = at % frame.len();
            frame[at] = value;
        }
        frame.truncate((frame.len() - cut_off.min(frame.len())).max(14));
        let before = frame.clone();
        if clamp_mss(&hdr, &mut frame, 1400) {
            let frame = SuperFrame::checked(VnetHdr::default(), &before).unwrap();
            prop_assert!(frame.may_be_syn());
        } else {
            prop_assert_eq!(frame, before);
        }
    }

    #[test]
    fn any_bytes_can_be_looked_at(mut frame in proptest::collection::vec(any::<u8>(), 0..200), open: bool, start: u16, offset: u16) {
        let hdr = if open { VnetHdr::partial(start, offset) } else { VnetHdr::default() };
        clamp_mss(&hdr, &mut frame, 1400);
        if let Ok(frame) = SuperFrame::checked(VnetHdr::default(), &frame) {
            frame.may_be_syn();
        }
    }
}

fn plain() -> Syn {
    Syn { before: vec![], mss: 1460, behind: vec![], answer: false, packet: Packet::udp(0) }
}

#[test]
fn the_size_is_that_of_the_frame_less_its_plain_headers() {
    let mut frame = plain().with(1460).frame();
    assert!(clamp_mss(&VnetHdr::default(), &mut frame, 1390));
    assert_eq!(frame[54..58], [2, 4, 5, 0x38], "1336");
}

#[test]
fn a_fragment_stays_as_it_is() {
    for place in [0x2000, 0x0001] {
        let mut frame = plain().with(1460).frame();
        frame[20..22].copy_from_slice(&u16::to_be_bytes(place));
        assert!(!clamp_mss(&VnetHdr::default(), &mut frame, 1390));
    }
}

#[test]
fn options_that_lead_nowhere_end_the_search() {
    for options in [[2, 3, 5, 0xb4], [2, 0, 5, 0xb4], [3, 1, 2, 4], [3, 9, 2, 4], [0, 2, 4, 9], [1, 1, 1, 2]]
    {
        let mut frame = plain().with(1460).frame();
        frame[54..58].copy_from_slice(&options);
        assert!(!clamp_mss(&VnetHdr::default(), &mut frame, 1390), "{options:?}");
    }
}

#[test]
fn a_size_that_is_announced_twice_is_lowered_twice() {
    let syn = Syn { behind: vec![1, 2, 4, 0x23, 0x28, 1, 1, 1], ..plain() };
    let mut frame = syn.with(9000).frame();
    assert!(clamp_mss(&VnetHdr::default(), &mut frame, 1390));
    let expected = Syn { behind: vec![1, 2, 4, 5, 0x38, 1, 1, 1], ..plain() };
    assert_eq!(frame, expected.with(1336).frame());
}
