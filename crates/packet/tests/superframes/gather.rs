//! Datagrams through gathering: what comes out stands for what went in, in the same order.

use packet::{Gatherer, MAX_SLICES, SuperFrame, VnetHdr, complete_checksum};
use proptest::prelude::*;

use super::recipe::{Spec, bulk, on_tap, segments_of, spec};

/// The datagrams that a super-frame stands for, as a container sends them one by one: checksum open.
fn datagrams(spec: &Spec) -> Vec<Vec<u8>> {
    let start = spec.csum_start();
    let mut frames = spec.segments();
    for frame in &mut frames {
        let sum = spec.pseudo_header_sum(frame.len() - start);
        frame[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
    }
    frames
}

fn udp(spec: Spec) -> Spec {
    Spec { tcp: false, ..spec }
}

/// `len` bytes in datagrams of `size` bytes of payload each.
fn flow(len: usize, size: u16) -> Spec {
    let spec = bulk(size);
    udp(Spec { payload: spec.payload[..len].to_vec(), ..spec })
}

fn hdr(spec: &Spec) -> VnetHdr {
    VnetHdr::partial(spec.csum_start() as u16, 6)
}

/// Everything that comes out for these frames, those not taken included.
fn gather<'a>(frames: impl IntoIterator<Item = (VnetHdr, &'a [u8])>) -> Vec<Vec<u8>> {
    let mut gatherer = Gatherer::new();
    let mut out = Vec::new();
    for (hdr, frame) in frames {
        if !gatherer.push(&hdr, frame, &mut |f| out.push(f.to_vec())) {
            assert!(gatherer.is_empty());
            out.push(on_tap(hdr, frame));
        }
    }
    gatherer.flush(&mut |f| out.push(f.to_vec()));
    assert!(gatherer.is_empty());
    out
}

fn ordinary(out: &[Vec<u8>]) -> Vec<Vec<u8>> {
    out.iter().flat_map(|bytes| segments_of(&SuperFrame::from_host(bytes).unwrap())).collect()
}

fn completed(hdr: VnetHdr, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    complete_checksum(&mut frame, hdr.csum_start, hdr.csum_offset).unwrap();
    frame
}

#[test]
fn a_flow_becomes_super_frames_of_at_most_64_datagrams() {
    let spec = flow(90 * 700 + 5, 700);
    let frames = datagrams(&spec);
    let out = gather(frames.iter().map(|f| (hdr(&spec), &f[..])));
    let sizes: Vec<_> = out.iter().map(|b| SuperFrame::from_host(b).unwrap().segments()).collect();
    assert_eq!(sizes, [MAX_SLICES, 27]);
    assert_eq!(ordinary(&out), spec.segments());
}

#[test]
fn a_longer_datagram_begins_a_new_super_frame_and_a_shorter_one_ends_it() {
    let spec = flow(3 * 100, 100);
    let (short, long) = (flow(50, 50), flow(200, 200));
    let mut frames: Vec<_> = datagrams(&spec);
    for (i, other) in [&short, &long].into_iter().enumerate() {
        let mut next =
            datagrams(&Spec { identification: spec.identification + 3 + i as u16, ..other.clone() });
        frames.append(&mut next);
    }
    let out = gather(frames.iter().map(|f| (hdr(&spec), &f[..])));
    let sizes: Vec<_> = out.iter().map(|b| SuperFrame::from_host(b).unwrap().segments()).collect();
    assert_eq!(sizes, [4, 1]);
    assert_eq!(ordinary(&out), frames.iter().map(|f| completed(hdr(&spec), f)).collect::<Vec<_>>());
}

#[test]
fn what_is_not_exactly_the_next_datagram_of_the_flow_is_not_gathered_with_it() {
    for v6 in [false, true] {
        let spec = Spec { v6, ..flow(3 * 100, 100) };
        let frames = datagrams(&spec);
        let start = spec.csum_start();
        let network = if v6 { start - 40 } else { start - 20 };
        // Ethernet addresses, TOS or traffic class, TTL or hop limit, addresses, ports, the sum.
        let ttl = network + if v6 { 7 } else { 8 };
        for at in [0, 11, network + 1, ttl, start - 1, start - 20, start, start + 3, start + 6] {
            let mut other = frames[1].clone();
            other[at] ^= 1;
            if !v6 && at >= network && at < start {
                // The IPv4 header's own checksum is right for what it says.
                other[network + 10..network + 12].fill(0);
                let sum = packet::checksum::Sum::of(&other[network..start]).checksum();
                other[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
            }
            let out = gather([(hdr(&spec), &frames[0][..]), (hdr(&spec), &other), (hdr(&spec), &frames[2])]);
            assert_eq!(out[0], on_tap(hdr(&spec), &frames[0]), "byte {at}");
            assert_eq!(out[1], on_tap(hdr(&spec), &other), "byte {at}");
        }
    }
}

#[test]
fn dhcp_stays_as_it_is() {
    for (at, port) in [(34, 67), (36, 68), (34, 546), (36, 547)] {
        let spec = flow(3 * 100, 100);
        let mut frames = datagrams(&spec);
        frames.iter_mut().for_each(|f| f[at..at + 2].copy_from_slice(&u16::to_be_bytes(port)));
        let out = gather(frames.iter().map(|f| (hdr(&spec), &f[..])));
        assert_eq!(out, frames.iter().map(|f| on_tap(hdr(&spec), f)).collect::<Vec<_>>());
    }
}

#[test]
fn a_wrong_ip_checksum_is_not_repaired() {
    let spec = flow(3 * 100, 100);
    let mut frames = datagrams(&spec);
    frames.iter_mut().for_each(|f| f[24] ^= 1);
    let out = gather(frames.iter().map(|f| (hdr(&spec), &f[..])));
    assert_eq!(out, frames.iter().map(|f| on_tap(hdr(&spec), f)).collect::<Vec<_>>());
}

#[test]
fn datagrams_that_all_have_one_number_are_gathered_if_they_must_not_be_fragmented() {
    for (dont_fragment, pieces) in [(true, 1), (false, 3)] {
        let spec = flow(3 * 100, 100);
        let mut frames = datagrams(&spec);
        for f in &mut frames {
            f[18..22].copy_from_slice(&[0, 0, if dont_fragment { 0x40 } else { 0 }, 0]);
            f[24..26].fill(0);
            let sum = packet::checksum::Sum::of(&f[14..34]).checksum();
            f[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(gather(frames.iter().map(|f| (hdr(&spec), &f[..]))).len(), pieces);
    }
}

proptest! {
    /// Two flows, mixed and with frames left out: the same frames come out, in the same order.
    #[test]
    fn nothing_changes_but_the_packing(
        (a, b) in (spec(), spec()),
        picks in proptest::collection::vec(prop_oneof![6 => Just(0usize), 1 => Just(1), 1 => Just(2)], 1..150),
    ) {
        let specs = [udp(a), udp(b)];
        let all = specs.each_ref().map(datagrams);
        let mut at = [0, 0];
        let mut frames = Vec::new();
        let mut current = 0;
        for pick in picks {
            // 1: change the flow; 2: leave one out.
            current = if pick == 1 { 1 - current } else { current };
            at[current] += usize::from(pick == 2);
            if let Some(frame) = all[current].get(at[current]) {
                frames.push((hdr(&specs[current]), &frame[..]));
                at[current] += 1;
            }
        }
        let out = gather(frames.iter().copied());
        let expected: Vec<_> = frames.iter().map(|(hdr, f)| completed(*hdr, f)).collect();
        prop_assert_eq!(ordinary(&out), expected);
    }

    /// Whatever the bytes are, they come out as they went in, or as a super-frame that passes the gate.
    #[test]
    fn no_frame_makes_it_panic(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..8), start in 0u16..60) {
        let hdr = VnetHdr::partial(start, 6);
        for out in gather(frames.iter().map(|f| (hdr, &f[..]))) {
            prop_assert!(frames.iter().any(|f| out.len() == f.len() + VnetHdr::LEN) || SuperFrame::from_host(&out).is_ok());
        }
    }
}
