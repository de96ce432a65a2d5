//! Super-frames through cutting, a network that loses and reorders, and joining.

use packet::{Joiner, MAX_SLICES, SuperFrame};
use proptest::prelude::*;

use super::recipe::{Spec, assert_checksums, bulk, cut, on_tap, segments_of, spec};

/// Delivers slices to a joiner; each step names one of them, or a flush. Returns what came out.
fn deliver(spec: &Spec, frame: &SuperFrame<'_>, steps: &[Option<usize>]) -> (Vec<Vec<u8>>, Vec<usize>) {
    let trains = cut(frame, u16::MAX);
    let slices: Vec<_> =
        trains.iter().flat_map(|(train, slices)| slices.iter().map(move |s| (train, s))).collect();
    let mut joiner = Joiner::new();
    let mut out = Vec::new();
    let mut delivered = Vec::new();
    for step in steps {
        match step {
            Some(index) => {
                let index = index % slices.len();
                let (train, slice) = slices[index];
                joiner
                    .push(&slice.meta, train.headers(), slice.payload, &mut |f| out.push(f.to_vec()))
                    .unwrap();
                delivered.push(index);
            }
            None => joiner.flush(&mut |f| out.push(f.to_vec())),
        }
    }
    joiner.flush(&mut |f| out.push(f.to_vec()));
    assert!(joiner.is_empty());
    assert_eq!(slices.len(), spec.segments().len());
    (out, delivered)
}

/// The ordinary frames that joined frames stand for. Each joined frame must pass the gate just as it is.
fn ordinary(joined: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for bytes in joined {
        let frame = SuperFrame::from_host(bytes).unwrap();
        assert_eq!(&on_tap(frame.hdr(), frame.frame()), bytes, "the header is canonical");
        frames.extend(segments_of(&frame));
    }
    frames
}

/// Orders in which slices may arrive: mostly forward, with gaps, jumps back, repetitions and flushes.
fn steps() -> impl Strategy<Value = Vec<Option<usize>>> {
    let hops = prop_oneof![8 => Just(Some(1)), 2 => (2usize..5).prop_map(Some), 1 => any::<usize>().prop_map(Some), 1 => Just(None)];
    (0usize..300, proptest::collection::vec(hops, 1..250)).prop_map(|(start, hops)| {
        let mut at = start;
        hops.into_iter()
            .map(|hop| {
                at = at.wrapping_add(hop?);
                Some(at)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_are_the_frames_that_etherparse_builds(spec in spec()) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let expected = spec.segments();
        prop_assert_eq!(frame.segments(), expected.len());
        prop_assert_eq!(frame.headers_len(), Some(spec.headers_len()));
        prop_assert_eq!(frame.longest_segment(), expected[0].len());
        let segments = segments_of(&frame);
        for segment in &segments {
            assert_checksums(segment);
        }
        prop_assert_eq!(segments, expected);
    }

    #[test]
    fn slices_in_order_become_the_same_super_frame(spec in spec()) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        prop_assert_eq!(frame.hdr(), spec.vnet_hdr());
        let count = frame.segments();
        let (joined, _) = deliver(&spec, &frame, &(0..count).map(Some).collect::<Vec<_>>());
        prop_assert_eq!(joined.len(), count.div_ceil(MAX_SLICES));
        if count <= MAX_SLICES {
            prop_assert_eq!(&joined[0], &on_tap(spec.vnet_hdr(), &bytes));
        }
        prop_assert_eq!(ordinary(&joined), spec.segments());
    }

    #[test]
    fn whatever_arrives_in_whatever_order_comes_out_as_true_segments(spec in spec(), steps in steps()) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let (joined, delivered) = deliver(&spec, &frame, &steps);
        let segments = spec.segments();
        let expected: Vec<_> = delivered.iter().map(|index| segments[*index].clone()).collect();
        prop_assert_eq!(ordinary(&joined), expected);
    }

    #[test]
    fn every_train_is_a_smaller_super_frame(spec in spec()) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let trains = frame.trains(0).unwrap();
        prop_assert_eq!(trains.len(), frame.segments().div_ceil(MAX_SLICES));
        for (train, slices) in cut(&frame, 5) {
            prop_assert!((1..=MAX_SLICES).contains(&slices.len()));
            prop_assert_eq!(train.slices(5).len(), slices.len());
            prop_assert_eq!(train.headers().len(), spec.headers_len());
            for (i, slice) in slices.iter().enumerate() {
                prop_assert_eq!(usize::from(slice.meta.number), i);
                prop_assert_eq!(usize::from(slice.meta.slices), slices.len());
                prop_assert_eq!(slice.payload.len() == usize::from(spec.gso_size) || i + 1 == slices.len(), true);
            }
        }
    }

    #[test]
    fn two_trains_that_interleave_do_not_mix(first in spec(), second in spec(), turns: Vec<bool>) {
        let bytes = [first.super_frame(), second.super_frame()];
        let frames = [
            SuperFrame::checked(first.vnet_hdr(), &bytes[0]).unwrap(),
            SuperFrame::checked(second.vnet_hdr(), &bytes[1]).unwrap(),
        ];
        let cuts = [cut(&frames[0], 0), cut(&frames[1], 2000)];
        let mut queues = cuts.each_ref().map(|trains| {
            trains.iter().flat_map(|(train, slices)| slices.iter().map(move |slice| (train, slice))).peekable()
        });
        let mut joiner = Joiner::new();
        let mut out = Vec::new();
        let turns = turns.into_iter().chain([false; 1000]).chain([true; 1000]);
        for (train, slice) in turns.filter_map(|second| queues[usize::from(second)].next()) {
            joiner.push(&slice.meta, train.headers(), slice.payload, &mut |f| out.push(f.to_vec())).unwrap();
        }
        joiner.flush(&mut |f| out.push(f.to_vec()));
        let mut got = ordinary(&out);
        let mut expected = [first.segments(), second.segments()].concat();
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn a_bulk_transfer_needs_one_train_and_comes_back_in_one_piece() {
    let spec = bulk(1336);
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let trains = cut(&frame, 0);
    assert_eq!(trains.len(), 1);
    assert_eq!(trains[0].1.len(), 49);
    let (joined, _) = deliver(&spec, &frame, &(0..49).map(Some).collect::<Vec<_>>());
    assert_eq!(joined, [on_tap(spec.vnet_hdr(), &bytes)]);
}

#[test]
fn a_small_segment_size_makes_several_trains() {
    let spec = bulk(536);
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let lens: Vec<_> = cut(&frame, 0).iter().map(|(_, slices)| slices.len()).collect();
    assert_eq!(lens, [64, 58]);
}

#[test]
fn a_lost_slice_costs_one_segment() {
    let spec = bulk(1336);
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let steps: Vec<_> = (0..49).filter(|n| *n != 20).map(Some).collect();
    let (joined, _) = deliver(&spec, &frame, &steps);
    let runs: Vec<_> = joined.iter().map(|bytes| SuperFrame::from_host(bytes).unwrap().segments()).collect();
    assert_eq!(runs, [20, 28]);
    let mut expected = spec.segments();
    expected.remove(20);
    assert_eq!(ordinary(&joined), expected);
}
