//! Bytes from nowhere, and good super-frames spoilt: nothing panics, nothing unsound comes out.

use packet::{JoinError, Joiner, MAX_SLICES, SliceMeta, SuperFrame, VnetHdr, complete_checksum};
use proptest::prelude::*;

use super::recipe::{Spec, bulk, cut, cut_to, on_tap, segments_of, spec};

/// Whether a joined frame passes the gate, and its ordinary frames can be made.
fn sound(bytes: &[u8]) {
    let frame = SuperFrame::from_host(bytes).unwrap();
    assert_eq!(on_tap(frame.hdr(), frame.frame()), bytes);
    for segment in segments_of(&frame) {
        assert!(segment.len() <= frame.longest_segment());
    }
}

fn vnet_hdr() -> impl Strategy<Value = VnetHdr> {
    let gso_type = prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(0x81), any::<u8>()];
    let small = || prop_oneof![0u16..100, any::<u16>()];
    (0u8..4, gso_type, any::<u16>(), small(), small(), small()).prop_map(
        |(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)| VnetHdr {
            flags,
            gso_type,
            hdr_len,
            gso_size,
            csum_start,
            csum_offset,
        },
    )
}

/// Bytes to be overwritten; most hits fall into the headers.
fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((prop_oneof![4 => 0usize..100, 1 => any::<usize>()], any::<u8>()), 0..4)
}

fn spoil(bytes: &mut [u8], damage: &[(usize, u8)]) {
    for (at, value) in damage {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
}

/// The fields of a slice, one of them replaced.
fn spoil_meta(meta: SliceMeta, field: u8, value: u16) -> SliceMeta {
    let [_, byte] = value.to_be_bytes();
    match field {
        0 => SliceMeta { gso_type: byte, ..meta },
        1 => SliceMeta { slices: byte, ..meta },
        2 => SliceMeta { number: byte, ..meta },
        3 => SliceMeta { csum_start: value, ..meta },
        4 => SliceMeta { gso_size: value, ..meta },
        5 => SliceMeta { train: value, ..meta },
        6 => SliceMeta { headers_len: value, ..meta },
        _ => meta,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_refused_or_can_be_cut(hdr in vnet_hdr(), frame in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = SuperFrame::checked(hdr, &frame) {
            sound(&on_tap(frame.hdr(), frame.frame()));
        }
        let mut frame = frame;
        let _ = complete_checksum(&mut frame, hdr.csum_start, hdr.csum_offset);
    }

    #[test]
    fn a_spoilt_super_frame_is_refused_or_still_sound(spec in spec(), damage in damage(), cut_off in 0usize..200) {
        let mut bytes = on_tap(spec.vnet_hdr(), &spec.super_frame());
        spoil(&mut bytes, &damage);
        bytes.truncate(bytes.len().saturating_sub(cut_off / 2));
        let Ok(frame) = SuperFrame::from_host(&bytes) else { return Ok(()) };
        sound(&on_tap(frame.hdr(), frame.frame()));
        for train in frame.trains(0).into_iter().flatten() {
            let mut joiner = Joiner::new();
            for slice in train.slices(0) {
                joiner.push(&slice.meta, train.headers(), slice.payload, &mut |f| sound(f)).unwrap();
            }
            prop_assert!(joiner.is_empty());
        }
    }

    #[test]
    fn spoilt_slices_never_make_an_unsound_frame(
        spec in spec(),
        room in 0usize..4000,
        events in proptest::collection::vec((0usize..100, 0u8..12, any::<u16>(), damage(), prop_oneof![4 => Just(0usize), 1 => 0usize..3000]), 1..60),
    ) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let trains = cut_to(&frame, room, 0);
        let slices: Vec<_> = trains.iter().flat_map(|(train, slices)| slices.iter().map(move |s| (train, s))).collect();
        let mut joiner = Joiner::new();
        for (i, (jump, field, value, damage, cut_off)) in events.iter().enumerate() {
            let jump = if jump % 5 == 0 { *jump } else { 0 };
            let (train, slice) = slices[(i + jump) % slices.len()];
            let meta = spoil_meta(slice.meta, *field, *value);
            let mut headers = train.headers().to_vec();
            spoil(&mut headers, if *field == 7 { damage } else { &[] });
            headers.truncate(headers.len().saturating_sub(if *field == 8 { *cut_off } else { 0 }));
            let payload = &slice.payload[..slice.payload.len().saturating_sub(if *field == 9 { *cut_off } else { 0 })];
            let _ = joiner.push(&meta, &headers, payload, &mut |f| sound(f));
        }
        joiner.flush(&mut |f| sound(f));
    }

    #[test]
    fn slices_of_any_bytes_never_make_an_unsound_frame(
        meta in (any::<u8>(), 0u8..70, 0u8..70, any::<[u16; 4]>()),
        headers in proptest::collection::vec(any::<u8>(), 0..300),
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let (gso_type, slices, number, [csum_start, gso_size, train, headers_len]) = meta;
        let meta = SliceMeta { gso_type, slices, number, csum_start, gso_size, train, headers_len };
        let mut joiner = Joiner::new();
        let _ = joiner.push(&meta, &headers, &payload, &mut |f| sound(f));
        joiner.flush(&mut |f| sound(f));
    }
}

/// Pushes slice 3 of a bulk transfer after `change`, following slices 0 to 2. Returns the refusal, and the frames that
/// come out with the rest of the train.
fn pushed(
    change: impl FnOnce(&mut SliceMeta, &mut Vec<u8>, &mut Vec<u8>),
) -> (Option<JoinError>, Vec<usize>) {
    let spec = Spec { payload: vec![7; 5500], ..bulk(1000) };
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let trains = cut(&frame, 9);
    let (train, slices) = &trains[0];
    let mut change = Some(change);
    let mut joiner = Joiner::new();
    let (mut error, mut out) = (None, Vec::new());
    for slice in slices {
        let (mut meta, mut headers, mut payload) =
            (slice.meta, train.headers().to_vec(), slice.payload.to_vec());
        if meta.number == 3
            && let Some(change) = change.take()
        {
            change(&mut meta, &mut headers, &mut payload);
        }
        let mut segments = |bytes: &[u8]| {
            sound(bytes);
            out.push(SuperFrame::from_host(bytes).unwrap().segments());
        };
        if let Err(e) = joiner.push(&meta, &headers, &payload, &mut segments) {
            error = Some(e);
        }
    }
    (error, out)
}

#[test]
fn a_slice_that_contradicts_its_train_is_dropped_and_the_train_goes_on_without_it() {
    let check = |change: fn(&mut SliceMeta, &mut Vec<u8>, &mut Vec<u8>), expected| {
        assert_eq!(pushed(change), (Some(expected), vec![3, 2]));
    };
    check(|_, headers, _| headers[0] ^= 2, JoinError::HeadersDiffer { number: 3, train: 9 });
    check(|_, headers, _| headers.truncate(60), JoinError::HeadersDiffer { number: 3, train: 9 });
    check(|_, _, payload| payload.truncate(999), JoinError::Payload { number: 3, len: 999, expected: 1000 });
    check(|_, _, payload| payload.push(0), JoinError::Payload { number: 3, len: 1001, expected: 1000 });
    check(|meta, _, _| meta.number = 6, JoinError::Number { number: 6, slices: 6 });
    check(|meta, _, _| meta.slices = 3, JoinError::Number { number: 3, slices: 3 });
    check(|meta, _, _| meta.slices = 7, JoinError::Count { announced: 7, needed: 6 });
    check(|meta, _, _| meta.slices = MAX_SLICES as u8 + 1, JoinError::Number { number: 3, slices: 65 });
    check(|meta, _, _| meta.slices = 5, JoinError::Count { announced: 5, needed: 6 });
    check(|meta, _, _| meta.headers_len = 65, JoinError::HeadersLen { announced: 65, len: 66, end: 66 });
    check(
        |meta, headers, _| {
            headers.push(0);
            meta.headers_len = 67;
        },
        JoinError::HeadersLen { announced: 67, len: 67, end: 66 },
    );
    let Some(JoinError::Headers(_)) = pushed(|meta, _, _| meta.csum_start = 14).0 else {
        panic!("no IP header")
    };
}

#[test]
fn a_slice_of_another_train_is_a_frame_of_its_own() {
    assert_eq!(pushed(|meta, _, _| meta.train = 10), (None, vec![3, 1, 2]));
    assert_eq!(pushed(|meta, _, _| meta.gso_size = 1001), (None, vec![3, 1, 2]));
    assert_eq!(pushed(|meta, _, _| meta.gso_size = 10), (None, vec![3, 100, 2]));
    assert_eq!(pushed(|_, _, _| {}), (None, vec![6]));
}
