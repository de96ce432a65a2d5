//! A path whose records may be as long as is known to pass, and no longer (P4.11).
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use common::{MAX_FRAME, keys};
use packet::{SuperFrame, VnetHdr};
use transport::{Batch, Drop, FramePath as _, HopPath as _};
use transport_udp::{LEAST_RECORD, Socket, UdpPath};
use wire::{GroupHeader, Hops, PeerName, RELAY_OVERHEAD, UNICAST_OVERHEAD, max_record_overhead};

/// A path to a socket that nobody reads.
fn path() -> (UdpPath, Socket) {
    let [from, to] = [(); 2].map(|()| Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap());
    let address = format!("127.0.0.1:{}", to.port().unwrap()).parse().unwrap();
    let ((sealer, _), _) = keys(1, 2);
    (UdpPath::new(Arc::new(from), sealer, address, MAX_FRAME), to)
}

fn send(path: &UdpPath, len: usize, group: bool) -> Result<(), Drop> {
    let bytes = vec![0; len];
    let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
    let header = GroupHeader { source: PeerName::new([2; 6]), run: 1, sequence: 1 };
    let mut batch = Batch::new();
    let sent =
        if group { path.send_group(&header, &frame, &mut batch) } else { path.send(&frame, &mut batch) };
    path.flush(&mut batch);
    sent
}

#[test]
fn what_does_not_fit_is_refused_and_counted_and_what_fits_is_sent() {
    let (path, _to) = path();
    assert_eq!((path.max_frame(), path.full_record()), (MAX_FRAME, MAX_FRAME + UNICAST_OVERHEAD));
    path.set_longest(path.group_record());
    assert_eq!((send(&path, MAX_FRAME, false), send(&path, MAX_FRAME, true)), (Ok(()), Ok(())));

    path.set_size(1252);
    path.set_longest(1252);
    let (one, all) = (1252 - UNICAST_OVERHEAD, 1252 - max_record_overhead());
    assert_eq!((path.max_frame(), path.max_group_frame()), (one, all));
    assert_eq!((send(&path, one, false), send(&path, one + 1, false)), (Ok(()), Err(Drop::TooBig)));
    assert_eq!((send(&path, all, true), send(&path, all + 1, true)), (Ok(()), Err(Drop::TooBig)));
    assert_eq!(path.max_relayed(), 1252 - RELAY_OVERHEAD);
    let relayed = |len| path.relay(Hops::default(), &vec![0; len], &mut Batch::new());
    assert_eq!(relayed(1252 - RELAY_OVERHEAD), Ok(()));
    assert_eq!(relayed(1253 - RELAY_OVERHEAD), Err(Drop::TooBig));
    assert_eq!(path.counters().drops.get(Drop::TooBig), 3);

    // Never more than the network's frames have.
    path.set_size(9000);
    assert_eq!((path.max_frame(), send(&path, MAX_FRAME + 1, false)), (MAX_FRAME, Err(Drop::TooBig)));
}

#[test]
fn what_the_host_itself_refuses_leaves_what_passes_nearly_everywhere_until_more_is_known() {
    // No datagram over IPv4 has so many bytes, so the kernel refuses it as one that is longer than an MTU.
    const TOO_LONG: usize = 65_480;
    let [from, to] = [(); 2].map(|()| Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap());
    let address = format!("127.0.0.1:{}", to.port().unwrap()).parse().unwrap();
    let ((sealer, _), _) = keys(1, 2);
    let path = UdpPath::new(Arc::new(from), sealer, address, 65_535);
    assert_eq!((send(&path, 1000, false), path.take_too_long()), (Ok(()), None));
    let _ = send(&path, TOO_LONG, false);
    assert_eq!(path.counters().drops.get(Drop::TooBig), 1);
    assert_eq!(path.max_frame(), LEAST_RECORD - UNICAST_OVERHEAD);
    assert!(path.take_too_long().is_some());
    assert_eq!(path.take_too_long(), None, "told once");
    path.set_size(1431);
    assert_eq!(path.max_frame(), 1431 - UNICAST_OVERHEAD);
}

#[test]
fn a_long_record_that_the_host_itself_refuses_says_nothing_about_frames_for_one() {
    // The longest datagram over IPv4 has 65 507 bytes: a frame for one fits it, and for everyone it does not.
    let full = 65_507 - UNICAST_OVERHEAD;
    let [from, to] = [(); 2].map(|()| Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap());
    let address = format!("127.0.0.1:{}", to.port().unwrap()).parse().unwrap();
    let ((sealer, _), _) = keys(1, 2);
    let path = UdpPath::new(Arc::new(from), sealer, address, full);
    path.set_longest(path.group_record());
    let _ = send(&path, full, true);
    assert_eq!(path.counters().drops.get(Drop::TooBig), 1);
    assert!(path.take_too_long().is_some_and(|length| usize::from(length) > path.full_record()));
    assert_eq!((path.max_frame(), send(&path, full, false)), (full, Ok(())));
    assert!(path.max_group_frame() < full);
    assert_eq!(path.counters().drops.get(Drop::TooBig), 1);
}

/// A transfer over IPv4: so many bytes in segments of 1000.
fn tcp(payload: usize) -> (VnetHdr, Vec<u8>) {
    let mut frame = vec![0; 14 + 40 + payload];
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&(40 + payload as u16).to_be_bytes());
    frame[23] = 6;
    frame[46] = 0x50;
    (VnetHdr { gso_type: VnetHdr::GSO_TCPV4, gso_size: 1000, hdr_len: 54, ..VnetHdr::partial(34, 16) }, frame)
}

#[test]
fn tcp_fills_records_up_to_the_longest_that_passes_whatever_its_segments_are() {
    let (path, to) = path();
    let (hdr, bytes) = tcp(10_500);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    // With room for all of the headers and 1000, 1050 and 1500 bytes.
    let records = [(1000, 11), (1050, 10), (1500, 7), (500, 11)];
    let mut before = 0;
    for (room, records) in records {
        path.set_longest(54 + room + UNICAST_OVERHEAD);
        let mut batch = Batch::new();
        path.send(&frame, &mut batch).unwrap();
        assert_eq!(batch.bytes.len(), records * (54 + UNICAST_OVERHEAD) + 10_500, "room for {room}");
        path.flush(&mut batch);
        assert_eq!(path.sent().records - before, records as u64);
        before = path.sent().records;
    }
    let counters = path.counters();
    let [frames, bytes] = [&counters.tx_frames, &counters.tx_bytes].map(|n| n.load(Relaxed));
    assert_eq!((frames, bytes), (4 * 11, 4 * (11 * 54 + 10_500)), "as the segments that they are");
    drop(to);
}
