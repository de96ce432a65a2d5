use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use packet::checksum::Sum;
use packet::{Mac, SuperFrame};
use proptest::prelude::*;
use transport::{Batch, FrameSink as _, PathCounters, PathKind, RecordSink, TapFrame};
use wire::{GroupHeader, PeerName};

use super::*;
use crate::{MacTable, PeerEntry, Place, TOLD_PER_SECOND, TapWriter};

const ME: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);
const Q: PeerName = PeerName::new([2, 0, 0, 0, 0, 3]);
const HERE: Mac = Mac([2, 0, 0, 0, 1, 1]);
const AT_P: Mac = Mac([2, 0, 0, 0, 1, 2]);
/// Room of the first path: an MTU of 1376.
const ROOM: usize = 1390;
/// What segments over IPv4 have at most then.
const MSS: u16 = 1336;

type Frames = Mutex<Vec<(VnetHdr, Vec<u8>)>>;

/// A path that keeps what it is given.
struct Keeping {
    max_frame: AtomicUsize,
    kept: Frames,
    counters: PathCounters,
}

impl FramePath for Keeping {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        self.max_frame.load(Relaxed)
    }

    fn send(&self, frame: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        if frame.longest_segment() > self.max_frame() {
            return Err(self.counters.dropped(Drop::TooBig, frame.segments() as u64));
        }
        self.kept.lock().unwrap().push((frame.hdr(), frame.frame().to_vec()));
        Ok(())
    }

    fn flush(&self, _: &mut Batch) {}

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

#[derive(Default)]
struct Tap {
    kept: Frames,
    full: AtomicBool,
}

struct Writer(Arc<Tap>);

impl TapWriter for Writer {
    fn write(&self, frame: &TapFrame<'_>) -> bool {
        self.0.kept.lock().unwrap().push((frame.frame().hdr(), frame.frame().frame().to_vec()));
        !self.0.full.load(Relaxed)
    }

    fn takes_udp_trains(&self) -> bool {
        true
    }
}

struct NoSessions;

impl RecordSink for NoSessions {
    fn record(&self, _: Option<SocketAddr>, _: &mut [u8], _: &mut Outbox) -> Result<(), Drop> {
        Err(Drop::UnknownSession)
    }
}

struct Rig {
    forwarder: Arc<Forwarder>,
    first: Arc<Keeping>,
    second: Arc<Keeping>,
    tap: Arc<Tap>,
}

/// A peer P with a path of [`ROOM`], and another one of so many bytes.
fn rig(second: Option<usize>) -> Rig {
    let path = |max_frame| {
        let max_frame = AtomicUsize::new(max_frame);
        Arc::new(Keeping { max_frame, kept: Mutex::default(), counters: PathCounters::default() })
    };
    let (to, other, tap) = (path(ROOM), path(second.unwrap_or(0)), Arc::new(Tap::default()));
    let forwarder =
        Forwarder::new(ME, 1, Arc::new(NoSessions), Box::new(|_| ()), Box::new(Writer(Arc::clone(&tap))));
    let mut table = MacTable::default();
    table.learn(HERE, Place::Local, 0);
    table.learn(AT_P, Place::Peer(P), 0);
    let paths = PeerPaths {
        primary: Some(Arc::clone(&to) as Arc<dyn FramePath>),
        fallback: second.map(|_| Arc::clone(&other) as Arc<dyn FramePath>),
    };
    forwarder.publish(table.snapshot(ME, vec![PeerEntry { name: P, paths, hop: None }], vec![]));
    Rig { forwarder, first: to, second: other, tap }
}

impl Rig {
    /// What the first path, the second and the TAP were given.
    fn send(&self, hdr: VnetHdr, bytes: &[u8]) -> [Vec<(VnetHdr, Vec<u8>)>; 3] {
        let mut outbox = Outbox::new();
        self.forwarder.outgoing(&mut outbox).forward(&SuperFrame::checked(hdr, bytes).unwrap());
        self.kept()
    }

    fn kept(&self) -> [Vec<(VnetHdr, Vec<u8>)>; 3] {
        [&self.first.kept, &self.second.kept, &self.tap.kept].map(|k| std::mem::take(&mut *k.lock().unwrap()))
    }

    /// In the order of the fields.
    fn acted(&self) -> [u64; 4] {
        let acted = self.forwarder.acted();
        [&acted.mss_clamped, &acted.too_big_told, &acted.fragmented, &acted.resegmented]
            .map(|n| n.load(Relaxed))
    }

    fn too_big(&self) -> u64 {
        self.first.counters.drops.get(Drop::TooBig)
    }
}

/// IPv4 from HERE to P's container, its checksum right.
fn ipv4(dont_fragment: bool, protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut b = [&AT_P.bytes()[..], &HERE.bytes(), &[8, 0, 0x45, 0]].concat();
    b.extend((20 + content.len() as u16).to_be_bytes());
    b.extend([0, 1, if dont_fragment { 0x40 } else { 0 }, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend_from_slice(content);
    b
}

fn udp(dont_fragment: bool, payload: usize) -> Vec<u8> {
    let [high, low] = (payload as u16 + 8).to_be_bytes();
    ipv4(dont_fragment, 17, &[&[1, 1, 2, 2, high, low, 0, 0][..], &vec![7; payload]].concat())
}

fn tcp(flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let words = (5 + options.len() / 4) as u8;
    let header = [1, 1, 2, 2, 0, 0, 0, 9, 0, 0, 0, 0, words << 4, flags, 1, 1, 0, 0, 0, 0];
    ipv4(true, 6, &[&header[..], options, &vec![7; payload]].concat())
}

fn syn(mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    tcp(0x02, &[2, 4, high, low], 0)
}

const OPEN: VnetHdr = VnetHdr::partial(34, 16);

fn other_protocol(len: usize) -> Vec<u8> {
    let mut bytes = [&AT_P.bytes()[..], &HERE.bytes(), &[0x88, 0xb5]].concat();
    bytes.resize(len, 0);
    bytes
}

#[test]
fn what_fits_goes_the_first_way_untouched() {
    let rig = rig(Some(2000));
    for bytes in [udp(true, 1348), tcp(0x10, &[], 1336), other_protocol(ROOM), syn(MSS), tcp(2, &[], 0)] {
        let hdr = if bytes[23] == 6 { OPEN } else { VnetHdr::default() };
        assert_eq!(rig.send(hdr, &bytes), [vec![(hdr, bytes)], vec![], vec![]]);
    }
    assert_eq!(rig.acted(), [0; 4]);
}

#[test]
fn a_syn_to_a_peer_announces_what_fits_the_first_path() {
    let rig = rig(Some(65_000));
    assert_eq!(rig.send(OPEN, &syn(8960)), [vec![(OPEN, syn(MSS))], vec![], vec![]]);
    assert_eq!(rig.acted(), [1, 0, 0, 0]);
}

#[test]
fn a_syn_that_is_too_long_all_the_same_goes_the_other_way_clamped() {
    let rig = rig(Some(2000));
    let syn = |mss: [u8; 2]| tcp(0x02, &[2, 4, mss[0], mss[1]], 1400);
    let [first, second, _] = rig.send(OPEN, &syn([0x23, 0]));
    assert_eq!((first, second), (vec![], vec![(OPEN, syn(MSS.to_be_bytes()))]));
    assert_eq!(rig.acted(), [1, 1, 0, 0]);
}

#[test]
fn a_syn_from_a_peer_announces_what_fits_the_path_back() {
    let rig = rig(None);
    let back = |mss: u16| {
        let mut bytes = syn(mss);
        bytes[..12].rotate_left(6);
        bytes
    };
    let tap_bytes = |mss: u16| {
        let mut hdr = [0; VnetHdr::LEN];
        OPEN.write_host(&mut hdr);
        [&hdr[..], &back(mss)].concat()
    };
    let (sent, lower) = (tap_bytes(8960), tap_bytes(500));
    rig.forwarder.deliver(P, TapFrame::checked(&sent).unwrap());
    rig.forwarder.deliver(P, TapFrame::checked(&lower).unwrap());
    assert_eq!(rig.kept()[2], [(OPEN, back(MSS)), (OPEN, back(500))]);
    // One that went to everyone because nobody knew where the address lives.
    let group = GroupHeader { source: P, run: 1, sequence: 1 };
    rig.forwarder.deliver_group(P, &group, TapFrame::checked(&sent).unwrap(), &mut Outbox::new());
    assert_eq!(rig.kept()[2], [(OPEN, back(MSS))]);
    rig.forwarder.deliver(Q, TapFrame::checked(&sent).unwrap());
    assert_eq!(rig.kept()[2], [(OPEN, back(8960))], "nothing is known of a path to Q");
    assert_eq!(rig.acted(), [2, 0, 0, 0]);
}

#[test]
fn an_old_connection_is_cut_into_segments_that_fit() {
    let bytes = tcp(0x18, &[], 30_000);
    let of = |gso_size| VnetHdr { gso_type: VnetHdr::GSO_TCPV4, gso_size, hdr_len: 54, ..OPEN };
    for second in [None, Some(65_000)] {
        let rig = rig(second);
        assert_eq!(rig.send(of(8960), &bytes), [vec![(of(MSS), bytes.clone())], vec![], vec![]]);
        let one = tcp(0x18, &[], 8960);
        assert_eq!(rig.send(OPEN, &one), [vec![(of(MSS), one)], vec![], vec![]], "also a single segment");
        assert_eq!(rig.acted(), [0, 0, 0, 2]);
        assert_eq!(rig.too_big(), 0);
    }
}

#[test]
fn what_may_be_fragmented_is_whether_there_is_another_way_or_not() {
    for second in [None, Some(65_000)] {
        let rig = rig(second);
        let [first, second, tap] = rig.send(VnetHdr::default(), &udp(false, 3000));
        let lens: Vec<_> = first.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lens, [34 + 1352, 34 + 1352, 34 + 304], "3008 bytes in multiples of 8");
        assert!(second.is_empty() && tap.is_empty());
        assert_eq!(rig.acted(), [0, 0, 1, 0]);
    }
}

#[test]
fn what_may_not_goes_the_other_way_and_its_sender_is_told() {
    let rig = rig(Some(2000));
    let bytes = udp(true, 1400);
    let [first, second, tap] = rig.send(VnetHdr::default(), &bytes);
    assert_eq!((first, second), (vec![], vec![(VnetHdr::default(), bytes)]));
    let (_, answer) = &tap[0];
    assert_eq!(answer[..12], [HERE.bytes(), AT_P.bytes()].concat());
    assert_eq!(answer[34..36], [3, 4], "fragmentation needed");
    assert_eq!(answer[40..42], (ROOM as u16 - 14).to_be_bytes());
    assert_eq!((tap.len(), rig.acted(), rig.too_big()), (1, [0, 1, 0, 0], 0));
}

#[test]
fn without_another_way_that_it_fits_it_is_dropped_and_its_sender_told() {
    for second in [None, Some(1400)] {
        let rig = rig(second);
        let [first, second, tap] = rig.send(VnetHdr::default(), &udp(true, 1400));
        assert_eq!((first.len(), second.len(), tap.len()), (0, 0, 1));
        assert_eq!((rig.acted(), rig.too_big()), ([0, 1, 0, 0], 1));
    }
}

#[test]
fn a_sender_is_told_so_often_in_a_second_and_loses_nothing_by_it() {
    let rig = rig(Some(2000));
    let often = TOLD_PER_SECOND as usize;
    for second in 0..3 {
        rig.forwarder.set_now(second);
        let heard: Vec<_> = (0..often + 5).map(|_| rig.send(VnetHdr::default(), &udp(true, 1400))).collect();
        assert_eq!(heard.iter().filter(|[_, carried, _]| carried.len() == 1).count(), often + 5);
        assert_eq!(heard.iter().filter(|[_, _, told]| told.len() == 1).count(), often);
    }
    assert_eq!(rig.acted(), [0, 3 * u64::from(TOLD_PER_SECOND), 0, 0]);
}

#[test]
fn an_answer_that_the_tap_does_not_take_does_not_count() {
    let rig = rig(Some(2000));
    rig.tap.full.store(true, Relaxed);
    rig.send(VnetHdr::default(), &udp(true, 1400));
    assert_eq!(rig.acted(), [0; 4]);
    assert_eq!(rig.forwarder.drops().get(Drop::TapFull), 1);
}

#[test]
fn what_is_not_ip_goes_the_other_way_or_is_dropped() {
    let bytes = other_protocol(1500);
    let with = rig(Some(2000));
    let expected = [vec![], vec![(VnetHdr::default(), bytes.clone())], vec![]];
    assert_eq!(with.send(VnetHdr::default(), &bytes), expected);
    let without = rig(None);
    assert_eq!(without.send(VnetHdr::default(), &bytes), [vec![], vec![], vec![]]);
    assert_eq!((with.acted(), without.acted(), without.too_big()), ([0; 4], [0; 4], 1));
}

#[test]
fn the_only_way_is_taken_and_none_is_counted() {
    let rig = rig(Some(2000));
    let peers = |primary: bool, fallback: bool| {
        let path = |there: bool| there.then(|| Arc::clone(&rig.second) as Arc<dyn FramePath>);
        let paths = PeerPaths { primary: path(primary), fallback: path(fallback) };
        let mut table = MacTable::default();
        table.learn(AT_P, Place::Peer(P), 0);
        rig.forwarder.publish(table.snapshot(ME, vec![PeerEntry { name: P, paths, hop: None }], vec![]));
    };
    peers(false, true);
    assert_eq!(rig.send(OPEN, &syn(8960))[1], [(OPEN, syn(1946))]);
    assert_eq!(rig.send(VnetHdr::default(), &udp(true, 1400))[1].len(), 1);
    peers(false, false);
    rig.send(VnetHdr::default(), &udp(true, 1400));
    assert_eq!(rig.forwarder.drops().get(Drop::NoPath), 1);
}

/// IPv6 from HERE to P's container, of some protocol that nobody looks into.
fn ipv6(payload: usize) -> Vec<u8> {
    let mut b = [&AT_P.bytes()[..], &HERE.bytes(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    b.extend((payload as u16).to_be_bytes());
    b.extend([99, 64]);
    b.extend([[0xfd; 16], [0xfc; 16]].concat());
    b.resize(54 + payload, 7);
    b
}

#[test]
fn when_the_first_path_becomes_narrow_what_was_made_for_it_before_is_made_to_fit() {
    let rig = rig(Some(65_000));
    let gso = |gso_size| VnetHdr { gso_type: VnetHdr::GSO_TCPV4, gso_size, hdr_len: 54, ..OPEN };
    let (stream, segment) = (tcp(0x18, &[], 30_000), tcp(0x18, &[], MSS.into()));
    let plain = VnetHdr::default();
    for (hdr, bytes) in [(gso(MSS), &stream), (OPEN, &segment), (plain, &udp(true, 1348))] {
        assert_eq!(rig.send(hdr, bytes), [vec![(hdr, bytes.clone())], vec![], vec![]]);
    }
    // Records of up to 1252 bytes pass: an underlay of 1280.
    const NARROW: usize = 1252 - 41;
    const LESS: u16 = (NARROW - 54) as u16;
    rig.first.max_frame.store(NARROW, Relaxed);

    assert_eq!(rig.send(gso(MSS), &stream), [vec![(gso(LESS), stream.clone())], vec![], vec![]]);
    assert_eq!(rig.send(OPEN, &segment), [vec![(gso(LESS), segment)], vec![], vec![]]);
    assert_eq!(rig.send(OPEN, &syn(MSS))[0], [(OPEN, syn(LESS))]);
    let [first, second, told] = rig.send(plain, &udp(false, 1348));
    assert!(first.len() == 2 && first.iter().all(|(_, bytes)| bytes.len() <= NARROW));
    assert_eq!((second.len(), told.len()), (0, 0));
    // The link has no such limit. IPv4 is told the truth, IPv6 the least there is.
    for (bytes, mtu) in [(udp(true, 1348), NARROW - 14), (ipv6(1300), 1280)] {
        let [first, second, told] = rig.send(plain, &bytes);
        assert_eq!((first, second), (vec![], vec![(plain, bytes)]));
        let (at, answer) = (if mtu == 1280 { 60 } else { 40 }, &told[0].1);
        assert_eq!(answer[at..at + 2], (mtu as u16).to_be_bytes());
    }
    // What has the least that IPv6 may have takes the link too, and there is nothing to tell.
    for bytes in [ipv6(1240), other_protocol(ROOM)] {
        assert_eq!(rig.send(plain, &bytes), [vec![], vec![(plain, bytes)], vec![]]);
    }
    assert_eq!((rig.acted(), rig.too_big()), ([1, 2, 1, 2], 0));

    rig.first.max_frame.store(ROOM, Relaxed);
    assert_eq!(rig.send(gso(MSS), &stream), [vec![(gso(MSS), stream)], vec![], vec![]]);
}

proptest! {
    #[test]
    fn whatever_the_room_nothing_longer_goes_there_and_nothing_is_lost(
        room in 600..1500_usize, kind in 0..6_u8, payload in 1..9000_usize, gso_size in 100..9000_u16,
    ) {
        let rig = rig(Some(65_000));
        rig.first.max_frame.store(room, Relaxed);
        let of = |gso_size| VnetHdr { gso_type: VnetHdr::GSO_TCPV4, gso_size, hdr_len: 54, ..OPEN };
        let (hdr, bytes) = match kind {
            0 => (VnetHdr::default(), udp(true, payload)),
            1 => (VnetHdr::default(), udp(false, payload)),
            2 => (OPEN, tcp(0x18, &[], payload)),
            3 if payload > usize::from(gso_size) => (of(gso_size), tcp(0x18, &[], payload)),
            4 => (VnetHdr::default(), ipv6(payload)),
            _ => (VnetHdr::default(), other_protocol(14 + payload)),
        };
        let [first, second, _] = rig.send(hdr, &bytes);
        for (hdr, bytes) in &first {
            prop_assert!(SuperFrame::checked(*hdr, bytes).unwrap().longest_segment() <= room);
        }
        prop_assert!(!first.is_empty() || second == [(hdr, bytes)]);
        prop_assert_eq!(rig.too_big(), 0);
    }
}
