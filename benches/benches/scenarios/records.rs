//! `session` and `wire`: records and the window that refuses them a second time.
//!
//! Valgrind does not know AVX-512: under it the crypto library takes its AES-NI code, several times as many instructions
//! as what runs outside on a CPU that has it. The share of these scenarios that is ours does not change by that.

use std::hint::black_box;

use packet::{Joiner, SuperFrame};
use session::{Opener, ReplayWindow};
use wire::{
    Cipher, FRAME_HEADER, Hops, Payload, RECORD_HEADER, RELAY_OVERHEAD, RecordHeader, RelayHeader,
    SLICE_HEADER, TAG_LEN,
};

use super::fixture::{self, BATCH, GSO_SIZE, HEADERS, PAYLOAD, SEGMENTS};
use super::{Entry, Scenario};

/// Counters handled in one run of the replay window.
const COUNTERS: u64 = 1024;
/// Room for the records of one run.
const ROOM: usize = 128 * 1024;

/// Sending first, then receiving.
pub(crate) const ALL: &[Entry] = &[
    Entry { name: "codec/slice", build: codec },
    Entry { name: "seal/64-bytes", build: || seal(64) },
    Entry { name: "seal/1400-bytes", build: || seal(1400) },
    Entry { name: "open/64-bytes", build: || open(64) },
    Entry { name: "open/1400-bytes", build: || open(1400) },
    Entry { name: "cut-and-seal/aes-gcm", build: || cut_and_seal(Cipher::Aes256Gcm) },
    Entry { name: "cut-and-seal/chacha20", build: || cut_and_seal(Cipher::ChaCha20Poly1305) },
    Entry { name: "open-and-join/aes-gcm", build: || open_and_join(Cipher::Aes256Gcm) },
    Entry { name: "open-and-join/chacha20", build: || open_and_join(Cipher::ChaCha20Poly1305) },
    Entry { name: "relay/1400-bytes", build: relay },
    Entry { name: "replay/in-order", build: || replay(|counter| counter) },
    Entry { name: "replay/reordered", build: || replay(|counter| counter ^ 63) },
];

/// Everything clear about a slice's record: encoded, and decoded again.
fn codec() -> Scenario {
    let train = fixture::super_frame().trains(0).into_iter().flatten().next().expect("a train");
    let meta = train.slices(7).next().expect("a slice").meta;
    let header = RecordHeader { cipher: Cipher::Aes256Gcm, index: 7, counter: 9 };
    let mut record = vec![0; RECORD_HEADER + SLICE_HEADER + HEADERS + usize::from(GSO_SIZE) + TAG_LEN];
    Scenario::new("record", BATCH, 0, move || {
        let mut right = 0;
        for _ in 0..BATCH {
            let (clear, sealed) = record.split_at_mut(RECORD_HEADER);
            clear.copy_from_slice(&black_box(&header).encode());
            sealed[..SLICE_HEADER].copy_from_slice(&Payload::slice_header(black_box(&meta)));
            let clear = RecordHeader::decode(black_box(&record));
            let payload = Payload::decode(&black_box(&record)[RECORD_HEADER..]);
            right += usize::from(clear.is_ok() && black_box(payload).is_ok());
        }
        right
    })
}

/// Sealing ordinary frames.
fn seal(len: usize) -> Scenario {
    let frame = fixture::ordinary(len);
    let (sealer, _) = fixture::session(Cipher::Aes256Gcm);
    let mut out = Vec::with_capacity(ROOM);
    Scenario::new("frame", BATCH, BATCH * len, move || {
        out.clear();
        let sealed = (0..BATCH).map(|_| fixture::seal_ordinary(&sealer, black_box(&frame), &mut out)).sum();
        black_box(&out);
        sealed
    })
}

/// Opening records of ordinary frames and taking them apart.
fn open(len: usize) -> Scenario {
    let frame = fixture::ordinary(len);
    let (sealer, mut opener) = fixture::session(Cipher::Aes256Gcm);
    let prepare = move || {
        let mut out = Vec::with_capacity(ROOM);
        (0..BATCH).for_each(|_| _ = fixture::seal_ordinary(&sealer, &frame, &mut out));
        out
    };
    let record = RECORD_HEADER + FRAME_HEADER + len + TAG_LEN;
    Scenario::consuming("frame", BATCH, BATCH * len, prepare, move |records| {
        records
            .chunks_mut(record)
            .filter_map(|datagram| opened(&mut opener, datagram))
            .filter(
                |payload| matches!(payload, Payload::Frame { frame, .. } if black_box(frame).len() == len),
            )
            .count()
    })
}

/// The sender's whole way of a super-frame: checking, cutting, sealing.
fn cut_and_seal(cipher: Cipher) -> Scenario {
    let frame = fixture::super_frame();
    let (hdr, bytes) = (frame.hdr(), frame.frame());
    let (sealer, _) = fixture::session(cipher);
    let mut out = Vec::with_capacity(ROOM);
    Scenario::new("super-frame", 1, PAYLOAD, move || {
        out.clear();
        let Ok(frame) = SuperFrame::checked(black_box(hdr), black_box(bytes)) else { return 0 };
        let records = fixture::seal_slices(&sealer, &frame, &mut out);
        black_box(&out);
        usize::from(records == SEGMENTS)
    })
}

/// The receiver's whole way of a super-frame: opening, joining, checking.
fn open_and_join(cipher: Cipher) -> Scenario {
    let frame = fixture::super_frame();
    let (sealer, mut opener) = fixture::session(cipher);
    let prepare = move || {
        let mut out = Vec::with_capacity(ROOM);
        fixture::seal_slices(&sealer, &frame, &mut out);
        out
    };
    let record = RECORD_HEADER + SLICE_HEADER + HEADERS + usize::from(GSO_SIZE) + TAG_LEN;
    let mut joiner = Joiner::new();
    Scenario::consuming("super-frame", 1, PAYLOAD, prepare, move |records| {
        let mut segments = 0;
        for datagram in records.chunks_mut(record) {
            if let Some(Payload::Slice { meta, headers, payload }) = opened(&mut opener, datagram) {
                let _ = joiner.push(&meta, headers, payload, &mut |tap| {
                    segments += SuperFrame::from_host(black_box(tap)).map_or(0, |frame| frame.segments());
                });
            }
        }
        usize::from(segments == SEGMENTS)
    })
}

/// What a relay does with records of others: the neighbour's tag is checked, and one made for the next neighbour.
fn relay() -> Scenario {
    const RECORD: usize = 1400;
    let (from, mut opener) = fixture::session(Cipher::Aes256Gcm);
    let (to, _) = fixture::session(Cipher::Aes256Gcm);
    let names = [[2; 6]; 2];
    let prepare = move || {
        let mut out = Vec::with_capacity(ROOM);
        let hops = Hops::new(&names).unwrap_or_default();
        (0..BATCH).for_each(|_| _ = from.seal_relay(hops, &[7; RECORD], &mut out));
        out
    };
    let mut out = Vec::with_capacity(ROOM);
    Scenario::consuming("record", BATCH, BATCH * RECORD, prepare, move |records| {
        out.clear();
        let mut pass_on = |datagram: &mut [u8]| {
            let (header, record) = RelayHeader::split(black_box(datagram)).ok()?;
            opener.verify_relay(&header).ok()?;
            let (_, hops) = header.hops.next()?;
            to.seal_relay(black_box(hops), record, &mut out).ok()
        };
        let length = RELAY_OVERHEAD + 12 + RECORD;
        let passed = records.chunks_mut(length).filter(|datagram| datagram.len() == length);
        let passed = passed.filter_map(&mut pass_on).count();
        black_box(&out);
        passed
    })
}

fn opened<'a>(opener: &mut Opener, datagram: &'a mut [u8]) -> Option<Payload<'a>> {
    let header = RecordHeader::decode(datagram).ok()?;
    Payload::decode(opener.open(&header, datagram).ok()?).ok()
}

/// The window alone, for counters that arrive as `order` has them.
fn replay(order: fn(u64) -> u64) -> Scenario {
    let mut window = ReplayWindow::new();
    let mut next = 0;
    Scenario::new("record", COUNTERS as usize, 0, move || {
        let counters = next..next + COUNTERS;
        next += COUNTERS;
        let mut new = 0;
        for counter in counters.map(order).map(black_box) {
            if window.is_new(counter) {
                window.mark(counter);
                new += 1;
            }
        }
        new
    })
}
