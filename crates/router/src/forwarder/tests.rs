use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use packet::VnetHdr;
use transport::memory::MemoryPath;
use transport::{FramePath, HopPath};

use super::*;
use crate::{MacTable, PeerEntry, PeerPaths};

const ME: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);
const Q: PeerName = PeerName::new([2, 0, 0, 0, 0, 3]);
/// A peer that is no neighbour; a path leads to it.
const FAR: PeerName = PeerName::new([2, 0, 0, 0, 0, 4]);
/// One that nobody here knows.
const STRANGER: PeerName = PeerName::new([2, 0, 0, 0, 0, 5]);
/// The longest record that the small path to P takes behind two names, with these.
const LONGEST: usize = 100 + wire::UNICAST_OVERHEAD + 2 * PeerName::LEN;
const RUN: u64 = 0x0002_0000_0000_0009;

/// What arrived at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Frame(usize),
    Group(GroupHeader),
    Relayed(Vec<u8>, Vec<u8>),
    Record(Option<SocketAddr>, Vec<u8>),
}

#[derive(Default)]
struct Heard(Mutex<Vec<Got>>);

impl Heard {
    fn add(&self, got: Got) {
        self.0.lock().unwrap().push(got);
    }

    fn take(&self) -> Vec<Got> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl FrameSink for Heard {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        self.add(Got::Frame(frame.frame().frame().len()));
    }

    fn take_group(&self, from: PeerName, group: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        assert_eq!(from, ME);
        self.add(Got::Group(*group));
        false
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
        assert_eq!(from, ME);
        self.add(Got::Relayed(hops.bytes().to_vec(), record.to_vec()));
    }
}

struct Bridge(Arc<Heard>);

impl TapWriter for Bridge {
    fn write(&self, frame: &TapFrame<'_>) -> bool {
        self.0.deliver(ME, *frame);
        true
    }

    fn takes_udp_trains(&self) -> bool {
        true
    }
}

/// Takes the records of one session, whose index is 7.
struct Records(Arc<Heard>);

impl RecordSink for Records {
    fn record(&self, from: Option<SocketAddr>, record: &mut [u8], _: &mut Outbox) -> Result<(), Drop> {
        if record.first() != Some(&7) {
            return Err(Drop::UnknownSession);
        }
        self.0.add(Got::Record(from, record.to_vec()));
        Ok(())
    }
}

/// A forwarder with three peers, and what is heard where.
struct Rig {
    forwarder: Arc<Forwarder>,
    notices: Receiver<Notice>,
    /// P's small path, and its big one.
    p: [Arc<Heard>; 2],
    q: Arc<Heard>,
    far: Arc<Heard>,
    tap: Arc<Heard>,
    records: Arc<Heard>,
}

fn path(to: PeerName, sink: &Arc<Heard>, max: usize) -> Arc<MemoryPath> {
    let nowhere = Arc::new(Heard::default());
    let sink = Arc::clone(sink) as Arc<dyn FrameSink>;
    let path = MemoryPath::pair((ME, nowhere), (to, sink), max, 1 << 20).0;
    path.set_max_relayed(LONGEST - 100 + max);
    path
}

/// P and Q are neighbours, FAR is not; what lives at FAR has address 3, what lives at P has 2. `trees` beside the own one, which
/// leads to P alone if there are any.
fn rig(trees: Vec<(PeerName, Vec<PeerName>)>) -> Rig {
    let (notice, notices) = sync_channel(16);
    let [p0, p1, q, far, tap, records]: [Arc<Heard>; 6] = std::array::from_fn(|_| Arc::default());
    let forwarder = Forwarder::new(
        ME,
        RUN,
        Arc::new(Records(Arc::clone(&records))),
        Box::new(move |l| notice.try_send(l).unwrap()),
        Box::new(Bridge(Arc::clone(&tap))),
    );
    let mut table = MacTable::default();
    table.learn(mac(2), Place::Peer(P), 0);
    table.learn(mac(3), Place::Peer(FAR), 0);
    table.learn(mac(4), Place::Peer(STRANGER), 0);
    let (small, big, to_q) = (path(P, &p0, 100), path(P, &p1, 2000), path(Q, &q, 2000));
    let paths = |primary: &Arc<MemoryPath>, fallback: Option<&Arc<MemoryPath>>| PeerPaths {
        primary: Some(Arc::clone(primary) as Arc<dyn FramePath>),
        fallback: fallback.map(|path| Arc::clone(path) as Arc<dyn FramePath>),
    };
    let hop = |primary: &Arc<MemoryPath>, fallback: Option<&Arc<MemoryPath>>| HopPaths {
        primary: Arc::clone(primary) as Arc<dyn HopPath>,
        fallback: fallback.map(|path| Arc::clone(path) as Arc<dyn HopPath>),
    };
    let peers = vec![
        PeerEntry { name: P, paths: paths(&small, Some(&big)), hop: Some(hop(&small, Some(&big))) },
        PeerEntry { name: Q, paths: paths(&to_q, None), hop: Some(hop(&to_q, None)) },
        PeerEntry { name: FAR, paths: paths(&path(FAR, &far, 2000), None), hop: None },
    ];
    forwarder.publish(table.snapshot(ME, peers, trees));
    Rig { forwarder, notices, p: [p0, p1], q, far, tap, records }
}

impl Rig {
    /// What was heard since the last time: P's two paths, Q, FAR, the TAP.
    fn heard(&self) -> [Vec<Got>; 5] {
        [&self.p[0], &self.p[1], &self.q, &self.far, &self.tap].map(|h| h.take())
    }

    fn send(&self, dst: Mac, len: usize) -> [Vec<Got>; 5] {
        let bytes = bytes(dst, mac(1), len);
        let mut outbox = Outbox::new();
        let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
        self.forwarder.outgoing(&mut outbox).forward(&frame);
        self.heard()
    }

    fn group(&self, from: PeerName, group: &GroupHeader, frame: &[u8]) -> [Vec<Got>; 5] {
        let bytes = [&[0; VnetHdr::LEN][..], frame].concat();
        let mut out = Outbox::new();
        self.forwarder.deliver_group(from, group, TapFrame::checked(&bytes).unwrap(), &mut out);
        out.flush();
        self.heard()
    }

    fn relay(&self, from: PeerName, names: &[PeerName], record: &[u8]) -> [Vec<Got>; 5] {
        let names: Vec<_> = names.iter().map(PeerName::bytes).collect();
        let (mut record, mut out) = (record.to_vec(), Outbox::new());
        self.forwarder.relay(from, Hops::new(&names).unwrap(), &mut record, &mut out);
        out.flush();
        self.heard()
    }

    fn dropped(&self) -> Vec<(Drop, u64)> {
        self.forwarder.drops().nonzero().collect()
    }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, n])
}

fn bytes(dst: Mac, src: Mac, len: usize) -> Vec<u8> {
    let mut bytes = [&dst.bytes()[..], &src.bytes(), &[0x88, 0xb5]].concat();
    bytes.resize(len, 0);
    bytes
}

fn from(source: PeerName, sequence: u64) -> GroupHeader {
    GroupHeader { source, run: 1, sequence }
}

#[test]
fn a_snapshot_that_a_batch_reads_is_freed_by_who_replaced_it() {
    let rig = rig(vec![]);
    let old = Arc::downgrade(&rig.forwarder.fib.load_full());
    let mut outbox = Outbox::new();
    let outgoing = rig.forwarder.outgoing(&mut outbox);
    rig.forwarder.publish(Fib::default());
    drop(outgoing);
    assert!(old.upgrade().is_some(), "the batch would have freed it");
    rig.forwarder.set_now(1);
    assert!(old.upgrade().is_none());
    rig.forwarder.publish(Fib::default());
    assert!(rig.forwarder.retired.lock().unwrap().is_empty(), "nobody read the second");
}

#[test]
fn unicast_reaches_its_peer_and_nobody_else() {
    let rig = rig(vec![]);
    assert_eq!(rig.send(mac(2), 60), [vec![Got::Frame(60)], vec![], vec![], vec![], vec![]]);
    assert_eq!(rig.send(mac(3), 60), [vec![], vec![], vec![], vec![Got::Frame(60)], vec![]], "no neighbour");
    let learned = Notice::Learned(Learned { mac: mac(1), place: Place::Local });
    assert_eq!(rig.notices.try_recv(), Ok(learned));
}

#[test]
fn a_frame_too_big_for_the_first_path_takes_the_second() {
    let rig = rig(vec![]);
    assert_eq!(rig.send(mac(2), 500), [vec![], vec![Got::Frame(500)], vec![], vec![], vec![]]);
    let group = GroupHeader { source: ME, run: 0x0000_0000_0009, sequence: 1 };
    let got = vec![Got::Group(group)];
    assert_eq!(
        rig.send(Mac::BROADCAST, 500),
        [vec![], got.clone(), got, vec![], vec![]],
        "also one for everyone"
    );
}

#[test]
fn a_frame_for_everyone_goes_to_the_own_tree_with_the_next_number() {
    let rig = rig(vec![(ME, vec![Q, FAR, STRANGER, Q])]);
    for (sequence, dst) in [(1, Mac::BROADCAST), (2, mac(0x77))] {
        let group = GroupHeader { source: ME, run: RUN & LOW_48, sequence };
        let expected = [vec![], vec![], vec![Got::Group(group)], vec![], vec![]];
        assert_eq!(rig.send(dst, 60), expected, "to Q alone, once: the others are no neighbours");
    }
}

#[test]
fn a_super_frame_takes_a_number_for_each_of_its_segments() {
    let rig = rig(vec![]);
    let (hdr, bytes) = tcp(3000);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    assert_eq!(frame.segments(), 3);
    let mut outbox = Outbox::new();
    let mut outgoing = rig.forwarder.outgoing(&mut outbox);
    outgoing.forward(&frame);
    outgoing.forward(&frame);
    drop(outgoing);
    let numbers = |got: Vec<Got>| -> Vec<u64> {
        let number = |got| if let Got::Group(g) = got { g.sequence } else { 0 };
        got.into_iter().map(number).collect()
    };
    assert_eq!(numbers(rig.q.take()), [1, 4]);
    // Cut into bytes it would be more segments than anyone could tell apart.
    let frame = SuperFrame::checked(VnetHdr { gso_size: 1, ..hdr }, &bytes).unwrap();
    rig.forwarder.outgoing(&mut outbox).forward(&frame);
    assert!(rig.heard().iter().skip(2).all(Vec::is_empty));
    assert_eq!(rig.dropped(), [(Drop::TooBig, 3000)]);
}

#[test]
fn a_frame_for_everyone_is_delivered_once_and_passed_on_along_its_tree() {
    let rig = rig(vec![(FAR, vec![Q]), (ME, vec![P])]);
    let frame = bytes(Mac::BROADCAST, mac(9), 60);
    let group = from(FAR, 1);
    let expected = [vec![], vec![], vec![Got::Group(group)], vec![], vec![Got::Frame(60)]];
    assert_eq!(rig.group(P, &group, &frame), expected);
    let learned = Notice::Learned(Learned { mac: mac(9), place: Place::Peer(FAR) });
    assert_eq!(rig.notices.try_recv(), Ok(learned), "it lives at the source, not at who passed it on");
    assert!(rig.notices.try_recv().is_err(), "the tree is known");
    for neighbour in [P, Q] {
        assert!(rig.group(neighbour, &group, &frame).iter().all(Vec::is_empty));
    }
    assert_eq!(rig.dropped(), [(Drop::Duplicate, 2)]);
    assert!(rig.group(Q, &from(FAR, 2), &frame)[2].is_empty(), "never back to where it came from");
}

#[test]
fn a_frame_of_an_unknown_source_goes_to_all_neighbours_but_one_and_its_tree_is_asked_for() {
    let rig = rig(vec![(ME, vec![P])]);
    let frame = bytes(Mac::BROADCAST, mac(9), 60);
    for sequence in 1..4 {
        let group = from(STRANGER, sequence);
        let expected = [vec![Got::Group(group)], vec![], vec![], vec![], vec![Got::Frame(60)]];
        assert_eq!(rig.group(Q, &group, &frame), expected);
    }
    let wanted = rig.notices.try_iter().filter(|n| *n == Notice::TreeWanted(STRANGER));
    assert_eq!(wanted.count(), 1, "not for each frame");
    rig.forwarder.set_now(1);
    rig.group(Q, &from(STRANGER, 4), &frame);
    assert!(rig.notices.try_iter().any(|n| n == Notice::TreeWanted(STRANGER)), "it may have been lost");
}

#[test]
fn our_own_frame_and_one_that_may_not_travel_go_nowhere() {
    let rig = rig(vec![]);
    let frame = bytes(Mac::BROADCAST, mac(9), 60);
    assert!(rig.group(P, &from(ME, 1), &frame).iter().all(Vec::is_empty));
    assert_eq!(rig.dropped(), [(Drop::Loop, 1)]);
    let bpdu = bytes(Mac([1, 0x80, 0xc2, 0, 0, 0]), mac(9), 60);
    assert!(rig.group(P, &from(FAR, 1), &bpdu).iter().all(Vec::is_empty));
    assert_eq!(rig.dropped(), [(Drop::Filtered, 1), (Drop::Loop, 1)]);
}

#[test]
fn what_our_bridge_has_just_sent_is_kept_from_it_and_passed_on() {
    let rig = rig(vec![(FAR, vec![Q])]);
    let mut table = MacTable::default();
    table.learn(mac(9), Place::Local, 0);
    let peers = rig.forwarder.fib.load().peers.clone();
    rig.forwarder.publish(table.snapshot(ME, peers, vec![(FAR, vec![Q])]));
    let group = from(FAR, 1);
    let heard = rig.group(P, &group, &bytes(Mac::BROADCAST, mac(9), 60));
    assert_eq!(heard, [vec![], vec![], vec![Got::Group(group)], vec![], vec![]]);
    assert_eq!(rig.dropped(), [(Drop::Loop, 1)]);
}

#[test]
fn a_peers_frame_goes_to_the_tap_and_is_learned() {
    let rig = rig(vec![]);
    let bytes = [&[0; VnetHdr::LEN][..], &bytes(mac(1), mac(7), 70)].concat();
    rig.forwarder.deliver(Q, TapFrame::checked(&bytes).unwrap());
    assert_eq!(rig.heard(), [vec![], vec![], vec![], vec![], vec![Got::Frame(70)]]);
    let learned = Notice::Learned(Learned { mac: mac(7), place: Place::Peer(Q) });
    assert_eq!(rig.notices.try_recv(), Ok(learned));
}

#[test]
fn a_record_goes_to_the_next_neighbour_with_the_names_behind_it() {
    let rig = rig(vec![]);
    let got = Got::Relayed([FAR, STRANGER].map(|n| n.bytes()).as_flattened().to_vec(), vec![9; 50]);
    assert_eq!(rig.relay(Q, &[P, FAR, STRANGER], &[9; 50]), [vec![got], vec![], vec![], vec![], vec![]]);
    let last = Got::Relayed(vec![], vec![9; LONGEST + 1]);
    assert_eq!(
        rig.relay(Q, &[P], &[9; LONGEST + 1]),
        [vec![], vec![last], vec![], vec![], vec![]],
        "too long for the first"
    );
    let names = Got::Relayed([FAR, STRANGER, Q].map(|n| n.bytes()).as_flattened().to_vec(), vec![9; 50]);
    let heard = rig.relay(Q, &[P, FAR, STRANGER, Q], &[9; 50]);
    assert_eq!(
        heard,
        [vec![], vec![names], vec![], vec![], vec![]],
        "longer ones would not fit behind these names"
    );
    assert!(rig.dropped().is_empty());
}

#[test]
fn a_record_goes_neither_back_nor_where_no_neighbour_is() {
    let rig = rig(vec![]);
    assert!(rig.relay(P, &[P, Q], &[9; 50]).iter().all(Vec::is_empty));
    for next in [FAR, STRANGER, ME] {
        assert!(rig.relay(P, &[next, Q], &[9; 50]).iter().all(Vec::is_empty));
    }
    assert_eq!(rig.dropped(), [(Drop::Loop, 1), (Drop::NoRoute, 3)]);
}

#[test]
fn a_record_for_this_host_goes_to_its_sessions() {
    let rig = rig(vec![]);
    rig.relay(P, &[], &[7; 40]);
    assert_eq!(rig.records.take(), [Got::Record(None, vec![7; 40])]);
    rig.relay(P, &[], &[8; 40]);
    assert_eq!(rig.dropped(), [(Drop::UnknownSession, 1)]);
    let (address, mut out) = (SocketAddr::from(([10, 0, 0, 1], 6783)), Outbox::new());
    assert_eq!(rig.forwarder.record(address, &mut [7; 40], &mut out), Ok(()));
    assert_eq!(rig.records.take(), [Got::Record(Some(address), vec![7; 40])]);
    assert_eq!(rig.forwarder.record(address, &mut [8; 40], &mut out), Err(Drop::UnknownSession));
    assert_eq!(rig.dropped(), [(Drop::UnknownSession, 1)], "who received it counts it");
}

#[test]
fn threads_that_get_the_same_frames_deliver_each_of_them_once() {
    const FRAMES: u64 = 3000;
    let (frame, rig) = (bytes(Mac::BROADCAST, mac(9), 60), rig(vec![(FAR, vec![P, Q])]));
    let bytes = [&[0; VnetHdr::LEN][..], &frame].concat();
    let forwarder = &rig.forwarder;
    // The address is known, so that nothing is told to the control side.
    let mut table = MacTable::default();
    table.learn(mac(9), Place::Peer(FAR), 0);
    forwarder.publish(table.snapshot(ME, forwarder.fib.load().peers.clone(), vec![(FAR, vec![P, Q])]));
    std::thread::scope(|scope| {
        for neighbour in [P, Q] {
            let bytes = &bytes;
            scope.spawn(move || {
                let mut out = Outbox::new();
                for sequence in 1..=FRAMES {
                    let frame = TapFrame::checked(bytes).unwrap();
                    forwarder.deliver_group(neighbour, &from(FAR, sequence), frame, &mut out);
                }
                out.flush();
            });
        }
    });
    let [p, _, q, _, tap] = rig.heard();
    assert_eq!((tap.len(), p.len() + q.len()), (FRAMES as usize, FRAMES as usize));
    assert_eq!(rig.dropped(), [(Drop::Duplicate, FRAMES)]);
}

/// TCP over IPv4 to the broadcast address, in segments of 1310 bytes.
fn tcp(payload: usize) -> (VnetHdr, Vec<u8>) {
    let mut frame = [&Mac::BROADCAST.bytes()[..], &mac(1).bytes(), &[8, 0]].concat();
    let [high, low] = (payload as u16 + 40).to_be_bytes();
    frame.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
    frame.resize(54 + payload, 7);
    let hdr =
        VnetHdr { hdr_len: 54, gso_type: VnetHdr::GSO_TCPV4, gso_size: 1310, ..VnetHdr::partial(34, 16) };
    (hdr, frame)
}
