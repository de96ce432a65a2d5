//! TCP in slices that are longer than its segments: whatever arrives is the same stream, in segments that fit.

use etherparse::{SlicedPacket, TransportSlice};
use packet::{Joiner, MAX_SLICES, SuperFrame};
use proptest::prelude::*;

use super::recipe::{Spec, assert_checksums, bulk, cut_to, on_tap, segments_of, spec};

/// Bytes of the stream, and where they begin.
type Run = (usize, Vec<u8>);

/// One run of each stretch that has no gap.
fn merged(runs: impl IntoIterator<Item = Run>) -> Vec<Run> {
    let mut list: Vec<Run> = Vec::new();
    for (at, bytes) in runs {
        match list.last_mut() {
            Some((first, before)) if *first + before.len() == at => before.extend(bytes),
            _ => list.push((at, bytes)),
        }
    }
    list
}

/// What one segment carries. Its flags must be those of its place in the stream.
fn carried(spec: &Spec, segment: &[u8]) -> Run {
    let packet = SlicedPacket::from_ethernet(segment).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    let at = tcp.sequence_number().wrapping_sub(spec.sequence) as usize;
    let end = at + tcp.payload().len();
    assert!(tcp.payload().len() <= spec.gso_size.into(), "longer than a segment");
    assert_eq!(
        (tcp.fin(), tcp.psh()),
        (spec.fin && end == spec.payload.len(), spec.psh && end == spec.payload.len())
    );
    assert_eq!(tcp.cwr(), spec.cwr && at == 0);
    (at, tcp.payload().to_vec())
}

fn tcp() -> impl Strategy<Value = Spec> {
    spec().prop_map(|spec| Spec { tcp: true, ..spec })
}

/// From one byte more than a segment to many times as much.
fn rooms() -> impl Strategy<Value = f64> {
    prop_oneof![3 => 1.0..1.2, 1 => 1.0..5.0, 1 => Just(1000.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_arrives_in_whatever_order_is_what_was_sent(
        spec in tcp(),
        room in rooms(),
        steps in proptest::collection::vec(prop_oneof![9 => Just(Some(1)), 1 => any::<usize>().prop_map(Some), 1 => Just(None)], 1..120),
    ) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let trains = cut_to(&frame, (f64::from(spec.gso_size) * room) as usize, 7);
        let mut slices = Vec::new();
        let mut at = 0;
        for (train, of_train) in &trains {
            for slice in of_train {
                slices.push((train, slice, at));
                at += slice.payload.len();
            }
        }
        prop_assert_eq!(at, spec.payload.len());
        let (mut joiner, mut out, mut sent) = (Joiner::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for step in steps {
            let Some(hop) = step else {
                joiner.flush(&mut |f| out.push(f.to_vec()));
                continue;
            };
            let (train, slice, at) = slices[next % slices.len()];
            next = next.wrapping_add(hop);
            joiner.push(&slice.meta, train.headers(), slice.payload, &mut |f| out.push(f.to_vec())).unwrap();
            sent.push((at, slice.payload.to_vec()));
        }
        joiner.flush(&mut |f| out.push(f.to_vec()));
        let mut arrived = Vec::new();
        for bytes in &out {
            let frame = SuperFrame::from_host(bytes).unwrap();
            prop_assert_eq!(&on_tap(frame.hdr(), frame.frame()), bytes);
            for segment in segments_of(&frame) {
                assert_checksums(&segment);
                arrived.push(carried(&spec, &segment));
            }
        }
        prop_assert_eq!(merged(arrived), merged(sent));
    }

    #[test]
    fn in_order_it_is_the_same_super_frame_in_fewer_slices(spec in tcp(), room in rooms()) {
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let room = (f64::from(spec.gso_size) * room) as usize;
        let trains = cut_to(&frame, room, 0);
        let slices: usize = trains.iter().map(|(_, slices)| slices.len()).sum();
        prop_assert_eq!(slices, spec.payload.len().div_ceil(room.max(spec.gso_size.into())));
        prop_assert_eq!(trains.len(), slices.div_ceil(MAX_SLICES));
        let (mut joiner, mut out) = (Joiner::new(), Vec::new());
        for (train, slices) in &trains {
            prop_assert_eq!(train.slices(0).len(), slices.len());
            for slice in slices {
                joiner.push(&slice.meta, train.headers(), slice.payload, &mut |f| out.push(f.to_vec())).unwrap();
            }
        }
        prop_assert!(joiner.is_empty());
        if trains.len() == 1 {
            prop_assert_eq!(out, [on_tap(spec.vnet_hdr(), &bytes)]);
        }
    }

    #[test]
    fn datagrams_stay_what_they_are(spec in spec(), room in any::<u16>()) {
        let spec = Spec { tcp: false, ..spec };
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        let lens = |room| -> Vec<_> {
            cut_to(&frame, room, 0).iter().flat_map(|(_, slices)| slices.iter().map(|s| s.payload.len())).collect()
        };
        prop_assert_eq!(lens(room.into()), lens(0));
    }
}

#[test]
fn a_lost_slice_costs_its_bytes_and_no_others() {
    let spec = bulk(1324);
    let bytes = spec.super_frame();
    let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
    let trains = cut_to(&frame, 1365, 0);
    assert_eq!((trains.len(), trains[0].1.len(), spec.segments().len()), (1, 48, 50));
    let (train, slices) = &trains[0];
    let (mut joiner, mut out) = (Joiner::new(), Vec::new());
    for slice in slices.iter().filter(|slice| slice.meta.number != 20) {
        joiner.push(&slice.meta, train.headers(), slice.payload, &mut |f| out.push(f.to_vec())).unwrap();
    }
    let frames: Vec<_> = out.iter().map(|bytes| SuperFrame::from_host(bytes).unwrap()).collect();
    let arrived = merged(frames.iter().flat_map(segments_of).map(|segment| carried(&spec, &segment)));
    let lens: Vec<_> = arrived.iter().map(|(at, bytes)| (*at, bytes.len())).collect();
    assert_eq!(lens, [(0, 20 * 1365), (21 * 1365, 65_000 - 21 * 1365)]);
    assert!(frames.iter().all(|frame| frame.hdr().gso_size == 1324), "as the container's segments had");
}
