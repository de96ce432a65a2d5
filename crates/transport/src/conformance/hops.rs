//! The second part of the suite: paths to a neighbour, which carry more than frames for it alone (C7 to C9).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use packet::{SuperFrame, VnetHdr};
use wire::{GroupHeader, Hops, PeerName};

use super::{A, Arrived, B, Got, PATIENCE, Slow, accounted_for, plain, segments, tcp_super_frame};
use crate::{Batch, Drop, FrameSink, HopPath};

const SOURCE: PeerName = PeerName::new([2, 0, 0, 0, 0, 0x5]);
/// The largest numbers that a header has room for: nothing may be cut off.
const LAST: u64 = (1 << 48) - 1;
const NAMES: [[u8; 6]; 8] = [[2, 1, 1, 1, 1, 1]; 8];

/// A connected pair of paths between neighbours.
pub struct HopEnds {
    /// From the first peer to the second.
    pub to_b: Arc<dyn HopPath>,
    /// And back.
    pub to_a: Arc<dyn HopPath>,
    /// Closes both.
    pub close: Box<dyn FnOnce()>,
}

/// What an implementation provides.
pub trait HopHarness {
    /// Connects two new peers of the given names, over a network that loses nothing. Relayed records of 600 bytes pass.
    fn connect_hops(
        &mut self,
        a: (PeerName, Arc<dyn FrameSink>),
        b: (PeerName, Arc<dyn FrameSink>),
    ) -> HopEnds;
}

/// Runs the suite for paths to a neighbour.
///
/// # Panics
/// When the implementation breaks the contract.
pub fn run_hops(harness: &mut dyn HopHarness) {
    frames_for_everyone_keep_their_header(harness);
    every_segment_for_everyone_has_its_number(harness);
    relayed_records_keep_their_bytes_and_their_names(harness);
    everything_of_one_thread_keeps_its_order(harness);
    what_is_too_long_is_refused_and_counted(harness);
    what_finds_no_room_is_counted(harness);
    a_closed_path_refuses_both(harness);
}

fn frames_for_everyone_keep_their_header(harness: &mut dyn HopHarness) {
    let (ends, at_a, at_b) = connected(harness);
    let mut batch = Batch::new();
    for (path, sink, from) in [(&ends.to_b, &at_b, A), (&ends.to_a, &at_a, B)] {
        for (len, run, sequence) in [(14, 0, 1), (60, LAST, LAST), (1390, 0x0102_0304_0506, 0x0605_0403_0201)]
        {
            let group = GroupHeader { source: SOURCE, run, sequence };
            let bytes = plain(len, run);
            path.send_group(&group, &frame(&bytes), &mut batch).expect("a frame within the limit is taken");
            path.flush(&mut batch);
            assert_eq!(sink.things(1), [Got::Group(from, group, bytes)], "C7 at {len} bytes");
        }
        assert!(path.counters().tx_frames.load(Relaxed) >= 3, "frames for everyone are counted");
    }
    assert!(ends.to_b.counters().rx_frames.load(Relaxed) >= 3, "also where they arrive");
}

fn every_segment_for_everyone_has_its_number(harness: &mut dyn HopHarness) {
    let (ends, _, at_b) = connected(harness);
    let mut batch = Batch::new();
    let mut group = GroupHeader { source: SOURCE, run: 7, sequence: 1 };
    for payload in [1, 1337, 5000, 40_000, 64_000, 1337] {
        let (hdr, bytes) = tcp_super_frame(payload);
        let frame = SuperFrame::checked(hdr, &bytes).expect("a well-formed super-frame");
        let numbered = (0..).zip(segments(&frame));
        let expected: Vec<_> = numbered.map(|(n, s)| Got::Group(A, group.plus(n), s)).collect();
        ends.to_b.send_group(&group, &frame, &mut batch).expect("a super-frame within the limit is taken");
        ends.to_b.flush(&mut batch);
        let arrived = at_b.things(expected.len());
        let (got, sent) = (arrived.len(), expected.len());
        assert!(arrived == expected, "C7: super-frame of {payload} bytes: {got} of {sent} segments");
        group = group.plus(frame.segments() as u64);
    }
}

fn relayed_records_keep_their_bytes_and_their_names(harness: &mut dyn HopHarness) {
    let (ends, at_a, at_b) = connected(harness);
    let mut batch = Batch::new();
    for (path, sink, from) in [(&ends.to_b, &at_b, A), (&ends.to_a, &at_a, B)] {
        for names in [&NAMES[..0], &NAMES[..1], &NAMES] {
            for len in [30, 31, 600] {
                let record = plain(len, len as u64);
                path.relay(hops(names), &record, &mut batch).expect("a record within the limit is taken");
                path.flush(&mut batch);
                let expected = Got::Relayed(from, names.as_flattened().to_vec(), record);
                assert_eq!(sink.things(1), [expected], "C8 with {} names", names.len());
            }
        }
    }
}

fn everything_of_one_thread_keeps_its_order(harness: &mut dyn HopHarness) {
    let (ends, _, at_b) = connected(harness);
    let (path, mut batch) = (&ends.to_b, Batch::new());
    for round in 0..20 {
        let mut expected = Vec::new();
        for i in 0..60_u64 {
            // Runs of one length and changes of it, as a relay gets them.
            let bytes = plain(60 + (i as usize / 7 * 31) % 300, round * 100 + i);
            let taken = match (i + round) % 6 {
                0 => path.send(&frame(&bytes), &mut batch),
                1 => path.send_group(&numbered(i), &frame(&bytes), &mut batch),
                n => path.relay(hops(&NAMES[..n as usize / 2]), &bytes, &mut batch),
            };
            taken.expect("room for sixty");
            expected.push(match (i + round) % 6 {
                0 => Got::Frame(A, bytes),
                1 => Got::Group(A, numbered(i), bytes),
                n => Got::Relayed(A, NAMES[..n as usize / 2].as_flattened().to_vec(), bytes),
            });
        }
        path.flush(&mut batch);
        let arrived = at_b.things(expected.len());
        assert!(arrived == expected, "C2, C8: round {round}, {} of {}", arrived.len(), expected.len());
    }
}

fn what_is_too_long_is_refused_and_counted(harness: &mut dyn HopHarness) {
    let (ends, _, at_b) = connected(harness);
    let (path, mut batch) = (&ends.to_b, Batch::new());
    for names in [&NAMES[..0], &NAMES[..3]] {
        let max = path.max_relayed() - names.as_flattened().len();
        let before = path.counters().drops.get(Drop::TooBig);
        let refused = path.relay(hops(names), &plain(max + 1, 1), &mut batch);
        assert_eq!(refused, Err(Drop::TooBig), "C9");
        assert_eq!(path.counters().drops.get(Drop::TooBig), before + 1);
        let record = plain(max, 2);
        path.relay(hops(names), &record, &mut batch).expect("exactly the limit");
        path.flush(&mut batch);
        let expected = Got::Relayed(A, names.as_flattened().to_vec(), record);
        assert!(at_b.things(1) == [expected], "C9: the refused record did not harm the next");
    }
    let max = path.max_frame();
    if max < 65_536 {
        let before = path.counters().drops.get(Drop::TooBig);
        let refused = path.send_group(&numbered(1), &frame(&plain(max + 1, 1)), &mut batch);
        assert_eq!(refused, Err(Drop::TooBig), "C5");
        assert_eq!(path.counters().drops.get(Drop::TooBig), before + 1);
        let fits = plain(max, 2);
        path.send_group(&numbered(1), &frame(&fits), &mut batch).expect("exactly the limit");
        path.flush(&mut batch);
        assert_eq!(at_b.things(1), [Got::Group(A, numbered(1), fits)]);
    }
}

fn what_finds_no_room_is_counted(harness: &mut dyn HopHarness) {
    const THINGS: u64 = 3000;
    let ends = harness.connect_hops((A, Arc::new(Slow)), (B, Arc::new(Slow)));
    let (mut batch, mut taken) = (Batch::new(), 0);
    for i in 0..THINGS {
        let done = if i % 3 == 0 {
            ends.to_b.send_group(&numbered(i), &frame(&plain(1390, i)), &mut batch)
        } else {
            ends.to_b.relay(hops(&NAMES[..1]), &plain(600, i), &mut batch)
        };
        taken += u64::from(done.is_ok());
        if i % 32 == 31 {
            ends.to_b.flush(&mut batch);
        }
    }
    ends.to_b.flush(&mut batch);
    assert_eq!(
        accounted_for(ends.to_b.counters(), THINGS),
        THINGS,
        "C4: everything was sent or counted as dropped"
    );
    assert!(taken > 0 && batch.is_empty());
}

fn a_closed_path_refuses_both(harness: &mut dyn HopHarness) {
    let (ends, ..) = connected(harness);
    (ends.close)();
    let (path, mut batch) = (&ends.to_b, Batch::new());
    let until = Instant::now() + PATIENCE;
    while path.send_group(&numbered(1), &frame(&plain(60, 1)), &mut batch) != Err(Drop::Closed)
        || path.relay(hops(&NAMES), &plain(60, 1), &mut batch) != Err(Drop::Closed)
    {
        assert!(Instant::now() < until, "C6: a closed path goes on taking frames or records");
        path.flush(&mut batch);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connected(harness: &mut dyn HopHarness) -> (HopEnds, Arc<Arrived>, Arc<Arrived>) {
    let (at_a, at_b) = (Arc::new(Arrived::default()), Arc::new(Arrived::default()));
    let sink = |s: &Arc<Arrived>| Arc::clone(s) as Arc<dyn FrameSink>;
    (harness.connect_hops((A, sink(&at_a)), (B, sink(&at_b))), at_a, at_b)
}

fn frame(bytes: &[u8]) -> SuperFrame<'_> {
    SuperFrame::checked(VnetHdr::default(), bytes).expect("a well-formed frame")
}

fn hops(names: &[[u8; 6]]) -> Hops<'_> {
    Hops::new(names).expect("no more names than there may be")
}

const fn numbered(sequence: u64) -> GroupHeader {
    GroupHeader { source: SOURCE, run: 3, sequence }
}
