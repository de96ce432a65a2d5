//! What the gate lets through, and with which reason it refuses the rest.

use packet::{FrameError, MAX_FRAME, MAX_HEADERS, SuperFrame, VnetHdr};

use super::recipe::{Spec, bulk};

const PLAIN: VnetHdr =
    VnetHdr { flags: 0, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

fn refused(hdr: VnetHdr, frame: &[u8]) -> FrameError {
    SuperFrame::checked(hdr, frame).expect_err("refused")
}

/// The error after `change` was done to a good super-frame or its header.
fn spoilt(spec: &Spec, change: impl FnOnce(&mut VnetHdr, &mut Vec<u8>)) -> FrameError {
    let (mut hdr, mut frame) = (spec.vnet_hdr(), spec.super_frame());
    assert!(SuperFrame::checked(hdr, &frame).is_ok());
    change(&mut hdr, &mut frame);
    refused(hdr, &frame)
}

fn tcp() -> Spec {
    Spec { payload: vec![7; 3000], ..bulk(1000) }
}

fn tcp6() -> Spec {
    Spec { v6: true, ..tcp() }
}

fn udp() -> Spec {
    Spec { tcp: false, ..tcp() }
}

#[test]
fn any_frame_of_a_fitting_length_passes_as_it_is() {
    for len in [14, 15, 60, MAX_FRAME] {
        let bytes = vec![0xaa; len];
        let frame = SuperFrame::checked(PLAIN, &bytes).unwrap();
        assert_eq!((frame.hdr(), frame.frame(), frame.segments()), (PLAIN, &bytes[..], 1));
        assert_eq!((frame.headers_len(), frame.longest_segment()), (None, len));
        assert!(frame.trains(0).is_none());
    }
    assert_eq!(refused(PLAIN, &[0; 13]), FrameError::Short { len: 13 });
    assert_eq!(refused(PLAIN, &vec![0; MAX_FRAME + 1]), FrameError::Long { len: MAX_FRAME + 1 });
}

#[test]
fn fields_without_meaning_are_cleared() {
    let hdr = VnetHdr {
        flags: VnetHdr::DATA_VALID,
        hdr_len: 1,
        gso_size: 2,
        csum_start: 3,
        csum_offset: 4,
        ..PLAIN
    };
    let frame = SuperFrame::checked(hdr, &[0; 14]).unwrap();
    assert_eq!(frame.hdr(), VnetHdr { flags: VnetHdr::DATA_VALID, ..PLAIN });
}

#[test]
fn an_open_checksum_must_lie_in_the_frame() {
    let frame = [0; 60];
    assert_eq!(
        SuperFrame::checked(VnetHdr::partial(34, 24), &frame).unwrap().hdr(),
        VnetHdr::partial(34, 24)
    );
    for (start, offset) in [(34, 25), (13, 6), (60, 0), (u16::MAX, u16::MAX)] {
        assert_eq!(
            refused(VnetHdr::partial(start, offset), &frame),
            FrameError::Checksum { start, offset, len: 60 }
        );
    }
}

#[test]
fn a_wrong_header_length_is_corrected() {
    let (hdr, bytes) = (tcp().vnet_hdr(), tcp().super_frame());
    for hdr_len in [0, 20, u16::MAX] {
        assert_eq!(SuperFrame::checked(VnetHdr { hdr_len, ..hdr }, &bytes).unwrap().hdr(), hdr);
    }
}

#[test]
fn a_frame_of_one_segment_is_an_ordinary_one() {
    for payload in [0, 1, 1000] {
        let spec = Spec { payload: vec![7; payload], ..tcp() };
        let bytes = spec.super_frame();
        let frame = SuperFrame::checked(spec.vnet_hdr(), &bytes).unwrap();
        assert_eq!(frame.hdr(), VnetHdr::partial(34, 16));
        assert_eq!(frame.segments(), 1);
        assert!(frame.trains(0).is_none());
    }
}

#[test]
fn unknown_flags_and_kinds_are_refused() {
    assert_eq!(refused(VnetHdr { flags: 4, ..PLAIN }, &[0; 14]), FrameError::Flags(4));
    for gso_type in [2, VnetHdr::GSO_UDP, 6, VnetHdr::ECN, 0x40] {
        assert_eq!(spoilt(&tcp(), |hdr, _| hdr.gso_type = gso_type), FrameError::GsoType(gso_type));
    }
    let udp_with_ecn = VnetHdr::GSO_UDP_L4 | VnetHdr::ECN;
    assert_eq!(spoilt(&udp(), |hdr, _| hdr.gso_type = udp_with_ecn), FrameError::GsoType(udp_with_ecn));
}

#[test]
fn sizes_that_are_none_are_refused() {
    for size in [0, 0xffff] {
        assert_eq!(spoilt(&tcp(), |hdr, _| hdr.gso_size = size), FrameError::GsoSize(size));
    }
}

#[test]
fn segments_want_a_checksum_at_its_protocols_place() {
    assert_eq!(spoilt(&tcp(), |hdr, _| hdr.flags = 0), FrameError::GsoWithoutChecksum);
    let Err(FrameError::Checksum { start: 34, offset: 6, .. }) =
        Err::<(), _>(spoilt(&tcp(), |hdr, _| hdr.csum_offset = 6))
    else {
        panic!("TCP with the offset of UDP")
    };
}

#[test]
fn kind_and_content_must_agree() {
    assert_eq!(
        spoilt(&tcp(), |hdr, _| hdr.gso_type = VnetHdr::GSO_TCPV6),
        FrameError::Ethertype { gso_type: VnetHdr::GSO_TCPV6, ethertype: 0x0800 }
    );
    assert_eq!(
        spoilt(&tcp6(), |hdr, _| hdr.gso_type = VnetHdr::GSO_TCPV4),
        FrameError::Ethertype { gso_type: VnetHdr::GSO_TCPV4, ethertype: 0x86dd }
    );
    assert_eq!(
        spoilt(&udp(), |_, frame| frame[13] = 0x06),
        FrameError::Ethertype { gso_type: VnetHdr::GSO_UDP_L4, ethertype: 0x0806 }
    );
    assert_eq!(
        spoilt(&udp(), |hdr, _| hdr.gso_type = VnetHdr::GSO_TCPV4),
        FrameError::Protocol { protocol: 17, found: 34, start: 34 }
    );
    assert_eq!(
        spoilt(&tcp6(), |hdr, _| hdr.gso_type = VnetHdr::GSO_UDP_L4),
        FrameError::Protocol { protocol: 6, found: 54, start: 54 }
    );
}

#[test]
fn the_transport_header_must_be_where_the_ip_header_ends() {
    assert_eq!(
        spoilt(&tcp(), |hdr, _| hdr.csum_start = 38),
        FrameError::Protocol { protocol: 6, found: 34, start: 38 }
    );
    let with_extension = Spec { ip_options: true, ..tcp6() };
    assert_eq!(
        spoilt(&with_extension, |hdr, _| hdr.csum_start = 54),
        FrameError::Protocol { protocol: 6, found: 62, start: 54 }
    );
    // An authentication header is none of those that segmentation reaches behind.
    assert_eq!(
        spoilt(&with_extension, |_, frame| frame[20] = 51),
        FrameError::Protocol { protocol: 51, found: 54, start: 62 }
    );
}

#[test]
fn broken_ip_headers_are_refused() {
    assert_eq!(spoilt(&tcp(), |_, frame| frame[14] = 0x65), FrameError::NetworkHeader);
    assert_eq!(spoilt(&tcp(), |_, frame| frame[14] = 0x44), FrameError::NetworkHeader);
    assert_eq!(spoilt(&tcp(), |_, frame| frame.truncate(33)), FrameError::NetworkHeader);
    assert_eq!(spoilt(&tcp6(), |_, frame| frame[14] = 0x45), FrameError::NetworkHeader);
    assert_eq!(spoilt(&tcp6(), |_, frame| frame.truncate(53)), FrameError::NetworkHeader);
}

#[test]
fn fragments_are_refused() {
    assert_eq!(spoilt(&tcp(), |_, frame| frame[20] = 0x20), FrameError::Fragment);
    assert_eq!(spoilt(&tcp(), |_, frame| frame[21] = 0x01), FrameError::Fragment);
    assert_eq!(spoilt(&tcp6(), |_, frame| frame[20] = 44), FrameError::Fragment);
}

#[test]
fn broken_transport_headers_are_refused() {
    assert_eq!(spoilt(&tcp(), |_, frame| frame[46] = 0x40), FrameError::TransportHeader);
    assert_eq!(spoilt(&tcp(), |_, frame| frame.truncate(50)), FrameError::TransportHeader);
    assert_eq!(spoilt(&udp(), |_, frame| frame[39] ^= 1), FrameError::UdpLength);
}

#[test]
fn headers_that_disagree_with_the_frame_about_its_end_are_refused() {
    let len = tcp().super_frame().len();
    assert_eq!(spoilt(&tcp(), |_, frame| frame.push(0)), FrameError::Length { announced: len, len: len + 1 });
    let lengths = spoilt(&tcp(), |_, frame| frame[16..18].copy_from_slice(&[0, 40]));
    assert_eq!(lengths, FrameError::Length { announced: 54, len: 66 });
    let long = spoilt(&tcp6(), |_, frame| frame[18..20].copy_from_slice(&[0xff, 0xff]));
    assert_eq!(long, FrameError::Long { len: 54 + 65_535 });
}

#[test]
fn headers_too_long_for_every_slice_are_refused() {
    let hdr = VnetHdr { csum_start: 54 + 208, gso_type: VnetHdr::GSO_TCPV6, ..tcp6().vnet_hdr() };
    let mut frame = tcp6().super_frame();
    let mut extension = vec![0; 208];
    extension[..2].copy_from_slice(&[6, 208 / 8 - 1]);
    frame.splice(54..54, extension);
    frame[20] = 60;
    let payload = frame.len() - 54;
    frame[18..20].copy_from_slice(&(payload as u16).to_be_bytes());
    let len = 54 + 208 + 32;
    assert!(len > MAX_HEADERS);
    assert_eq!(refused(hdr, &frame), FrameError::Headers { len });
}

#[test]
fn nine_bytes_are_no_frame_on_a_tap_or_a_link() {
    assert_eq!(SuperFrame::from_host(&[0; 9]).unwrap_err(), FrameError::NoVnetHdr { len: 9 });
    assert_eq!(SuperFrame::from_le(&[0; 10]).unwrap_err(), FrameError::Short { len: 0 });
    let mut link = vec![0; 10 + 60];
    link[..10].copy_from_slice(&[1, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
    assert_eq!(SuperFrame::from_le(&link).unwrap().hdr(), VnetHdr::partial(34, 16));
}
