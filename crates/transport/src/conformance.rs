//! The suite that every implementation of the contract passes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use packet::checksum::Sum;
use packet::{SuperFrame, VnetHdr};
use wire::{GroupHeader, Hops, PeerName};

use crate::{Batch, Drop, FramePath, FrameSink, Outbox, PathCounters, TapFrame};

mod hops;

pub use hops::{HopEnds, HopHarness, run_hops};

/// How long a frame may take to arrive, before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
const A: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xa]);
const B: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xb]);

/// A connected pair of paths.
pub struct Ends {
    /// From the first peer to the second.
    pub to_b: Arc<dyn FramePath>,
    /// And back.
    pub to_a: Arc<dyn FramePath>,
    /// Closes both.
    pub close: Box<dyn FnOnce()>,
}

/// What an implementation provides.
pub trait Harness {
    /// Connects two new peers of the given names, over a network that loses nothing.
    fn connect(&mut self, a: (PeerName, Arc<dyn FrameSink>), b: (PeerName, Arc<dyn FrameSink>)) -> Ends;
}

/// Runs the whole suite.
///
/// # Panics
/// When the implementation breaks the contract.
pub fn run(harness: &mut dyn Harness) {
    frames_arrive_unchanged_and_name_their_sender(harness);
    one_flow_keeps_its_order(harness);
    super_frames_arrive_whole_or_as_their_segments(harness);
    a_frame_that_is_too_big_is_refused_and_counted(harness);
    sending_never_blocks_and_drops_are_counted(harness);
    a_closed_path_refuses(harness);
}

/// Something that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    /// One segment with its full checksum, and who sent it.
    Frame(PeerName, Vec<u8>),
    /// One segment of a frame for everyone, who passed it on, and the header with the segment's own number.
    Group(PeerName, GroupHeader, Vec<u8>),
    /// Who relayed it, the names, the record.
    Relayed(PeerName, Vec<u8>, Vec<u8>),
}

/// Remembers what arrived.
#[derive(Default)]
struct Arrived(Mutex<Vec<Got>>);

impl Arrived {
    /// What arrived, as soon as it is `n` things.
    fn things(&self, n: usize) -> Vec<Got> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if list.len() >= n || Instant::now() > until {
                return std::mem::take(&mut *list);
            }
            drop(list);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same where nothing but frames can be.
    fn take(&self, n: usize) -> Vec<(PeerName, Vec<u8>)> {
        let frame = |got| match got {
            Got::Frame(peer, bytes) => (peer, bytes),
            other => panic!("{other:?} arrived, which nobody sent"),
        };
        self.things(n).into_iter().map(frame).collect()
    }

    fn add(&self, things: impl Iterator<Item = Got>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(things);
    }
}

impl FrameSink for Arrived {
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
        self.add(segments(frame.frame()).into_iter().map(|s| Got::Frame(peer, s)));
    }

    fn take_group(&self, from: PeerName, group: &GroupHeader, frame: TapFrame<'_>, _: &mut Outbox) -> bool {
        let numbered = (0..).zip(segments(frame.frame()));
        self.add(numbered.map(|(n, s)| Got::Group(from, group.plus(n), s)));
        false
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
        self.add(std::iter::once(Got::Relayed(from, hops.bytes().to_vec(), record.to_vec())));
    }
}

fn frames_arrive_unchanged_and_name_their_sender(harness: &mut dyn Harness) {
    let (ends, at_a, at_b) = connected(harness);
    let mut batch = Batch::new();
    for (path, sink, from) in [(&ends.to_b, &at_b, A), (&ends.to_a, &at_a, B)] {
        for len in [14, 60, 61, 500, 1390] {
            let bytes = plain(len, len as u64);
            send(path, VnetHdr::default(), &bytes, &mut batch).expect("a frame within the limit is taken");
            path.flush(&mut batch);
            assert_eq!(sink.take(1), [(from, bytes)], "C1, C3 at {len} bytes");
        }
        assert!(path.counters().tx_frames.load(std::sync::atomic::Ordering::Relaxed) >= 5);
    }
    let at = std::sync::atomic::Ordering::Relaxed;
    assert!(ends.to_b.counters().rx_frames.load(at) >= 5, "what came back is counted on the same path");
}

fn one_flow_keeps_its_order(harness: &mut dyn Harness) {
    let (ends, _, at_b) = connected(harness);
    let mut batch = Batch::new();
    for round in 0..20 {
        let frames: Vec<_> = (0..50).map(|i| plain(60 + (i * 7) % 300, round * 100 + i as u64)).collect();
        for frame in &frames {
            send(&ends.to_b, VnetHdr::default(), frame, &mut batch).expect("room for fifty frames");
        }
        ends.to_b.flush(&mut batch);
        let arrived: Vec<_> = at_b.take(frames.len()).into_iter().map(|(_, f)| f).collect();
        assert!(arrived == frames, "C2: round {round}, {} of {} frames", arrived.len(), frames.len());
    }
}

fn super_frames_arrive_whole_or_as_their_segments(harness: &mut dyn Harness) {
    let (ends, _, at_b) = connected(harness);
    let mut batch = Batch::new();
    for payload in [1, 1336, 1337, 5000, 40_000, 64_000] {
        let (hdr, bytes) = tcp_super_frame(payload);
        let frame = SuperFrame::checked(hdr, &bytes).expect("a well-formed super-frame");
        let expected = segments(&frame);
        ends.to_b.send(&frame, &mut batch).expect("a super-frame within the limit is taken");
        ends.to_b.flush(&mut batch);
        let arrived: Vec<_> = at_b.take(expected.len()).into_iter().map(|(_, f)| f).collect();
        assert!(
            arrived == expected,
            "C1: super-frame of {payload} bytes: {} of {} segments",
            arrived.len(),
            expected.len()
        );
    }
}

fn a_frame_that_is_too_big_is_refused_and_counted(harness: &mut dyn Harness) {
    let (ends, _, at_b) = connected(harness);
    let max = ends.to_b.max_frame();
    if max >= 65_536 {
        return;
    }
    let mut batch = Batch::new();
    let refused = send(&ends.to_b, VnetHdr::default(), &plain(max + 1, 1), &mut batch);
    assert_eq!(refused, Err(Drop::TooBig), "C5");
    assert_eq!(ends.to_b.counters().drops.get(Drop::TooBig), 1);
    let fits = plain(max, 2);
    send(&ends.to_b, VnetHdr::default(), &fits, &mut batch).expect("exactly the limit");
    ends.to_b.flush(&mut batch);
    assert_eq!(at_b.take(1), [(A, fits)], "the refused frame did not harm the next");
}

/// A sink that takes its time, as a TAP of a busy host does.
struct Slow;

impl FrameSink for Slow {
    fn deliver(&self, _: PeerName, _: TapFrame<'_>) {
        std::thread::sleep(Duration::from_micros(200));
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        std::thread::sleep(Duration::from_micros(200));
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn sending_never_blocks_and_drops_are_counted(harness: &mut dyn Harness) {
    const FRAMES: u64 = 3000;
    let ends = harness.connect((A, Arc::new(Slow)), (B, Arc::new(Slow)));
    let (mut batch, mut taken) = (Batch::new(), 0);
    for i in 0..FRAMES {
        taken += u64::from(send(&ends.to_b, VnetHdr::default(), &plain(1390, i), &mut batch).is_ok());
        if i % 32 == 31 {
            ends.to_b.flush(&mut batch);
        }
    }
    ends.to_b.flush(&mut batch);
    assert_eq!(
        accounted_for(ends.to_b.counters(), FRAMES),
        FRAMES,
        "C4: every frame was sent or counted as dropped"
    );
    assert!(taken > 0 && batch.is_empty());
}

/// How many frames were sent or dropped, once it is as many as there were: what waits goes out in time.
fn accounted_for(counters: &PathCounters, frames: u64) -> u64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let sent = counters.tx_frames.load(std::sync::atomic::Ordering::Relaxed);
        let dropped: u64 = counters.drops.nonzero().map(|(_, n)| n).sum();
        if sent + dropped >= frames || Instant::now() > until {
            return sent + dropped;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn a_closed_path_refuses(harness: &mut dyn Harness) {
    let (ends, ..) = connected(harness);
    (ends.close)();
    let mut batch = Batch::new();
    let until = Instant::now() + PATIENCE;
    while send(&ends.to_b, VnetHdr::default(), &plain(60, 1), &mut batch) != Err(Drop::Closed) {
        assert!(Instant::now() < until, "C6: a closed path goes on taking frames");
        ends.to_b.flush(&mut batch);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connected(harness: &mut dyn Harness) -> (Ends, Arc<Arrived>, Arc<Arrived>) {
    let (at_a, at_b) = (Arc::new(Arrived::default()), Arc::new(Arrived::default()));
    let sink = |s: &Arc<Arrived>| Arc::clone(s) as Arc<dyn FrameSink>;
    (harness.connect((A, sink(&at_a)), (B, sink(&at_b))), at_a, at_b)
}

fn send(path: &Arc<dyn FramePath>, hdr: VnetHdr, bytes: &[u8], batch: &mut Batch) -> Result<(), Drop> {
    path.send(&SuperFrame::checked(hdr, bytes).expect("a well-formed frame"), batch)
}

fn segments(frame: &SuperFrame<'_>) -> Vec<Vec<u8>> {
    (0..frame.segments())
        .map(|i| {
            let mut out = Vec::new();
            frame.segment_into(i, &mut out).expect("its own segment");
            out
        })
        .collect()
}

/// A frame of an experimental EtherType (IEEE 802, 0x88b5) whose content depends on `seed`.
fn plain(len: usize, seed: u64) -> Vec<u8> {
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    b.extend((14..len as u64).map(|i| (i.wrapping_mul(31) ^ seed.wrapping_mul(17)) as u8));
    b
}

/// IPv4 and TCP as the kernel hands a segmentation-offloaded write to a TAP: partial checksum, gso_size 1336.
fn tcp_super_frame(payload: usize) -> (VnetHdr, Vec<u8>) {
    const GSO_SIZE: u16 = 1336;
    let total = u16::try_from(40 + payload).expect("an IPv4 packet");
    let mut b = plain(14, 0);
    (b[12], b[13]) = (0x08, 0x00);
    b.extend_from_slice(&[0x45, 0]);
    b.extend_from_slice(&total.to_be_bytes());
    b.extend_from_slice(&[0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend_from_slice(&[0x30, 0x39, 0, 80, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    let mut pseudo = b[26..34].to_vec();
    pseudo.extend_from_slice(&[0, 6]);
    pseudo.extend_from_slice(&(total - 20).to_be_bytes());
    let sum = Sum::of(&pseudo).fold();
    b[50..52].copy_from_slice(&sum.to_be_bytes());
    b.extend((0..payload).map(|i| (i / 251 + i) as u8));
    let gso = if payload > usize::from(GSO_SIZE) { (1, GSO_SIZE) } else { (0, 0) };
    (VnetHdr { flags: 1, gso_type: gso.0, hdr_len: 54, gso_size: gso.1, csum_start: 34, csum_offset: 16 }, b)
}
