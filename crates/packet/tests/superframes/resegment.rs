//! Streams cut smaller, compared with segments that etherparse builds in the smaller size.

use packet::{Joiner, SuperFrame, VnetHdr};
use proptest::prelude::*;

use super::packets::{Packet, packet};
use super::recipe::{Spec, assert_checksums, bulk, cut, segments_of, spec};

/// What comes out at the far end of a path, and what should.
fn check(frame: &SuperFrame<'_>, spec: &Spec, max_frame: usize) {
    let Some(smaller) = frame.resegmented(max_frame) else {
        assert!(max_frame < spec.headers_len() + 88);
        return;
    };
    assert_eq!(smaller.frame(), frame.frame(), "not a byte changes");
    assert!(smaller.longest_segment() <= max_frame);
    let gso_size = (max_frame - spec.headers_len()).min(spec.gso_size.into()) as u16;
    let expected = Spec { gso_size, ..spec.clone() }.segments();
    let segments = segments_of(&smaller);
    segments.iter().for_each(|segment| assert_checksums(segment));
    assert_eq!(segments, expected);
    if smaller.segments() == 1 {
        return;
    }
    // Through a network that loses nothing, a train is again one frame.
    let (mut joiner, mut joined) = (Joiner::new(), Vec::new());
    let trains = cut(&smaller, 0);
    for (train, slices) in &trains {
        for slice in slices {
            joiner
                .push(&slice.meta, train.headers(), slice.payload, &mut |f| {
                    joined.extend(segments_of(&SuperFrame::from_host(f).unwrap()));
                })
                .unwrap();
        }
    }
    assert!(joiner.is_empty());
    assert_eq!(joined, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_super_frame_becomes_the_segments_of_a_smaller_size(spec in spec(), max_frame in prop_oneof![100usize..400, 400usize..3000]) {
        let spec = Spec { tcp: true, ..spec };
        let bytes = spec.super_frame();
        check(&SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap(), &spec, max_frame);
    }

    #[test]
    fn an_ordinary_segment_becomes_smaller_ones(spec in spec(), max_frame in prop_oneof![100usize..400, 400usize..3000]) {
        let mut spec = Spec { tcp: true, ..spec };
        spec.payload.truncate(9000);
        spec.gso_size = spec.payload.len() as u16;
        let bytes = spec.super_frame();
        let hdr = VnetHdr::partial(spec.csum_start() as u16, 16);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        prop_assert_eq!(frame.segments(), 1);
        check(&frame, &spec, max_frame);
        let smaller = frame.resegmented(max_frame).filter(|frame| frame.segments() > 1);
        if let Some(smaller) = smaller {
            prop_assert_eq!(smaller.hdr().gso_type & VnetHdr::ECN != 0, spec.cwr);
        }
    }

    #[test]
    fn what_is_not_tcp_or_has_a_complete_checksum_is_left_alone(packet in packet(), max_frame in 0usize..3000) {
        let bytes = packet.frame();
        prop_assert!(SuperFrame::checked(VnetHdr::default(), &bytes).unwrap().resegmented(max_frame).is_none());
        let (hdr, bytes) = Packet { transport: super::packets::Transport::Udp, ..packet }.open();
        prop_assert!(SuperFrame::checked(hdr, &bytes).unwrap().resegmented(max_frame).is_none());
    }

    #[test]
    fn a_super_frame_of_datagrams_is_left_alone(spec in spec()) {
        let spec = Spec { tcp: false, ..spec };
        let bytes = spec.super_frame();
        prop_assert!(SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap().resegmented(200).is_none());
    }

    #[test]
    fn any_bytes_can_be_tried(bytes in proptest::collection::vec(any::<u8>(), 14..300), start: u16, offset in 0u16..40, max_frame in 0usize..400) {
        if let Ok(frame) = SuperFrame::checked(VnetHdr::partial(start, offset), &bytes)
            && let Some(smaller) = frame.resegmented(max_frame)
        {
            prop_assert!(smaller.longest_segment() <= max_frame);
        }
    }
}

#[test]
fn flags_that_concern_a_whole_segment_keep_it_whole() {
    let spec = Spec { payload: vec![5; 3000], gso_size: 3000, ..bulk(0) };
    let hdr = VnetHdr::partial(34, 16);
    for (flags, whole) in [(0x10, false), (0x19, false), (0x12, true), (0x14, true), (0x30, true)] {
        let mut bytes = spec.super_frame();
        bytes[47] = flags;
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        assert_eq!(frame.resegmented(1400).is_none(), whole, "{flags:#x}");
    }
    let mut bytes = spec.super_frame();
    bytes[20] = 0x20;
    assert!(SuperFrame::checked(hdr, &bytes).unwrap().resegmented(1400).is_none(), "a fragment");
}

#[test]
fn a_bulk_transfer_made_for_jumbo_frames_fits_an_ordinary_path() {
    let spec = bulk(8948);
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let smaller = frame.resegmented(1390).unwrap();
    assert_eq!((frame.segments(), smaller.segments()), (8, 50));
    check(&frame, &spec, 1390);
}
