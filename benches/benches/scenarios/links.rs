//! `wire` on the link: what TLS carries before each super-frame (P2.7, P4.6).

use std::hint::black_box;

use packet::SuperFrame;
use wire::{decode_frame, encode_frame_header};

use super::fixture::{self, BATCH};
use super::{Entry, Scenario};

/// There and back.
pub(crate) const ALL: &[Entry] = &[
    Entry { name: "link/encode-header", build: encode },
    Entry { name: "link/decode-frame", build: decode },
];

/// The bytes before a super-frame.
fn encode() -> Scenario {
    let frame = fixture::super_frame();
    Scenario::new("super-frame", BATCH, 0, move || {
        let header = || encode_frame_header(&black_box(&frame).hdr(), black_box(frame.frame().len()));
        (0..BATCH).filter(|_| black_box(header())[0] == 0).count()
    })
}

/// A message with a super-frame taken apart, and checked.
fn decode() -> Scenario {
    let frame = fixture::super_frame();
    let mut message = encode_frame_header(&frame.hdr(), frame.frame().len()).to_vec();
    message.extend_from_slice(frame.frame());
    Scenario::new("super-frame", BATCH, 0, move || {
        let frame = || decode_frame(&black_box(&message)[4..]);
        (0..BATCH).filter_map(|_| frame()).filter(|(h, b)| SuperFrame::checked(*h, b).is_ok()).count()
    })
}
