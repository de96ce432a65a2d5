//! `packet`: the gate, cutting, joining, mending, segmenting, summing.

use std::hint::black_box;

use packet::checksum::Sum;
use packet::{Joiner, SliceMeta, SuperFrame};

use super::fixture::{self, BATCH, HEADERS, PAYLOAD, SEGMENTS};
use super::{Entry, Scenario};

/// In the order of a frame's way.
pub(crate) const ALL: &[Entry] = &[
    Entry { name: "check/ordinary", build: check_ordinary },
    Entry { name: "check/super-frame", build: check_super_frame },
    Entry { name: "cut/super-frame", build: cut },
    Entry { name: "join/whole", build: join_whole },
    Entry { name: "join/one-lost", build: join_one_lost },
    Entry { name: "segment/super-frame", build: segment },
    Entry { name: "checksum/1400-bytes", build: checksum },
];

/// The gate for ordinary frames.
fn check_ordinary() -> Scenario {
    check("frame", fixture::ordinary(1400))
}

/// The gate for super-frames.
fn check_super_frame() -> Scenario {
    check("super-frame", fixture::super_frame())
}

fn check(per: &'static str, frame: SuperFrame<'static>) -> Scenario {
    let (hdr, bytes) = (frame.hdr(), frame.frame());
    Scenario::new(per, BATCH, 0, move || {
        (0..BATCH).filter(|_| SuperFrame::checked(black_box(hdr), black_box(bytes)).is_ok()).count()
    })
}

/// Cutting a super-frame, without doing anything with its slices.
fn cut() -> Scenario {
    let frame = fixture::super_frame();
    Scenario::new("super-frame", 1, 0, move || {
        let mut slices = 0;
        for train in black_box(&frame).trains(0).into_iter().flatten() {
            slices += train.slices(7).map(|slice| black_box(slice).payload.len().min(1)).sum::<usize>();
        }
        usize::from(slices == SEGMENTS)
    })
}

/// Joining all slices of a super-frame: one frame comes out.
fn join_whole() -> Scenario {
    join(None, [HEADERS + PAYLOAD, 0])
}

/// Joining them with one lost in the middle: two mended frames come out.
fn join_one_lost() -> Scenario {
    let size = usize::from(fixture::GSO_SIZE);
    join(Some(20), [HEADERS + 20 * size, HEADERS + PAYLOAD - 21 * size])
}

/// Joins all slices but `lost`; frames of the lengths `expected` come out, where zero stands for none.
fn join(lost: Option<usize>, expected: [usize; 2]) -> Scenario {
    let mut slices = slices();
    if let Some(lost) = lost {
        slices.remove(lost);
    }
    let headers = &fixture::super_frame().frame()[..HEADERS];
    let mut joiner = Joiner::new();
    Scenario::new("super-frame", 1, PAYLOAD, move || {
        let (mut lengths, mut frames) = ([0; 2], 0);
        let mut out = |tap: &[u8]| {
            if let Some(len) = lengths.get_mut(frames) {
                *len = black_box(tap).len() - packet::VnetHdr::LEN;
            }
            frames += 1;
        };
        for (meta, payload) in &slices {
            let _ = joiner.push(meta, headers, payload, &mut out);
        }
        usize::from(lengths == expected)
    })
}

fn slices() -> Vec<(SliceMeta, &'static [u8])> {
    let trains = fixture::super_frame().trains(0).into_iter().flatten();
    trains.flat_map(|train| train.slices(7)).map(|slice| (slice.meta, slice.payload)).collect()
}

/// Making ordinary frames with complete checksums of a super-frame.
fn segment() -> Scenario {
    let frame = fixture::super_frame();
    let mut buf = Vec::with_capacity(2048);
    Scenario::new("super-frame", 1, PAYLOAD, move || {
        let mut bytes = 0;
        for index in 0..frame.segments() {
            if frame.segment_into(index, &mut buf).is_ok() {
                bytes += black_box(&buf).len();
            }
        }
        usize::from(bytes == SEGMENTS * HEADERS + PAYLOAD)
    })
}

/// The Internet checksum of a frame's worth of bytes.
fn checksum() -> Scenario {
    let bytes = fixture::ordinary(1400).frame();
    let right = Sum::of(bytes).fold();
    Scenario::new("frame", BATCH, BATCH * bytes.len(), move || {
        (0..BATCH).filter(|_| Sum::of(black_box(bytes)).fold() == right).count()
    })
}
