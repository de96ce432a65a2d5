use super::*;
use proptest::prelude::*;

#[test]
fn a_record_header_is_laid_out_as_p4_3_says() {
    let h = RecordHeader { cipher: Cipher::Aes256Gcm, index: 0x0102_0304, counter: 5 };
    let mut datagram = h.encode().to_vec();
    assert_eq!(datagram, [1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(RecordHeader::decode(&datagram), Err(RecordError::Short));
    datagram.resize(RECORD_HEADER + 1 + TAG_LEN, 0);
    assert_eq!(RecordHeader::decode(&datagram), Ok(h));
    datagram[0] = 9;
    assert_eq!(RecordHeader::decode(&datagram), Err(RecordError::Type));
}

#[test]
fn a_probe_has_the_size_that_is_probed() {
    let mut b = Vec::new();
    Payload::encode_probe(77, 1300, &mut b);
    assert_eq!(b.len(), 1300);
    assert_eq!(Payload::decode(&b), Ok(Payload::Probe { token: 77 }));
}

#[test]
fn an_answer_carries_back_the_address_seen_for_both_families() {
    for seen in ["10.1.2.3:6783", "[2001:db8::1]:9"] {
        let seen = seen.parse().unwrap();
        let mut b = Vec::new();
        let arrived = Arrived { opened: 1 << 40, forged: 3 };
        Payload::encode_answer(1, 1400, seen, arrived, &mut b);
        assert_eq!(RECORD_HEADER + b.len() + TAG_LEN, ANSWER_RECORD);
        let answer = |arrived| Ok(Payload::Answer { token: 1, length: 1400, seen, arrived });
        assert_eq!(Payload::decode(&b), answer(Some(arrived)));
        b.push(7);
        assert_eq!(Payload::decode(&b), answer(Some(arrived)), "what a later program may add");
        b.truncate(ANSWER_LEN);
        assert_eq!(Payload::decode(&b), answer(None), "from a program that does not count");
    }
}

#[test]
fn a_slice_whose_headers_are_longer_than_the_record_is_refused() {
    let meta = SliceMeta {
        gso_type: 1,
        slices: 3,
        number: 1,
        csum_start: 34,
        gso_size: 1300,
        train: 9,
        headers_len: 54,
    };
    let mut b = Payload::slice_header(&meta).to_vec();
    b.extend_from_slice(&[5; 53]);
    assert_eq!(Payload::decode(&b), Err(RecordError::Lengths));
    b.extend_from_slice(&[5, 7, 7]);
    assert_eq!(Payload::decode(&b), Ok(Payload::Slice { meta, headers: &[5; 54], payload: &[7; 2] }));
}

#[test]
fn a_group_payload_holds_one_of_kind_0_or_1_and_nothing_else() {
    let group = GroupHeader { source: crate::PeerName::new([2; 6]), run: 7, sequence: 9 };
    let inner = |kind: u8| [&Payload::group_prefix(&group)[..], &[kind; 40]].concat();
    for kind in [KIND_FRAME, KIND_SLICE] {
        assert_eq!(Payload::decode(&inner(kind)), Ok(Payload::Group { group, inner: &[kind; 40] }));
    }
    for kind in [KIND_PROBE, KIND_ANSWER, KIND_GROUP, 5] {
        assert_eq!(Payload::decode(&inner(kind)), Err(RecordError::Kind), "kind {kind}");
    }
    assert_eq!(Payload::decode(&Payload::group_prefix(&group)), Err(RecordError::Short));
    assert_eq!(Payload::decode(&Payload::group_prefix(&group)[..18]), Err(RecordError::Short));
}

#[test]
fn the_largest_frame_for_everyone_fits_an_mtu_of_1500() {
    assert_eq!(1376 + 14 + max_record_overhead(), 1450);
    assert_eq!(max_record_overhead() - UNICAST_OVERHEAD, 19);
}

proptest! {
    #[test]
    fn a_group_payload_survives(source: [u8; 6], run in 0u64..1 << 48, sequence in 0u64..1 << 48, flags: u8, frame: Vec<u8>) {
        let group = GroupHeader { source: crate::PeerName::new(source), run, sequence };
        let inner = [&Payload::frame_header(flags, 34, 16)[..], &frame].concat();
        let bytes = [&Payload::group_prefix(&group)[..], &inner].concat();
        prop_assert_eq!(Payload::decode(&bytes), Ok(Payload::Group { group, inner: &inner }));
        let expected = Payload::Frame { flags, csum_start: 34, csum_offset: 16, frame: &frame };
        prop_assert_eq!(Payload::decode(&inner), Ok(expected));
    }

    #[test]
    fn no_payload_makes_the_decoder_panic(b in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Payload::decode(&b);
        let _ = RecordHeader::decode(&b);
    }
}
