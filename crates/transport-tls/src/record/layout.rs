//! Content laid out with gaps for headers and tags, so that records are sealed where they lie.
//!
//! All records but the last are full, so a position in the content and one in the bytes follow from each other.

use std::ops::Range;

use super::{APPLICATION_DATA, HEADER, MAX_CONTENT, TRAILER};

/// A full record, in bytes.
pub(crate) const FULL: usize = HEADER + MAX_CONTENT + TRAILER;

/// Appends content to records that begin at `base` and were not closed yet.
pub(crate) fn append(records: &mut Vec<u8>, base: usize, mut content: &[u8]) {
    while !content.is_empty() {
        let mut filled = (records.len() - base) % FULL;
        if filled == 0 {
            records.extend_from_slice(&header(MAX_CONTENT));
            filled = HEADER;
        }
        let room = HEADER + MAX_CONTENT - filled;
        let (now, rest) = content.split_at(room.min(content.len()));
        records.extend_from_slice(now);
        if now.len() == room {
            records.extend_from_slice(&trailer(APPLICATION_DATA));
        }
        content = rest;
    }
}

/// Ends the last of the records that begin at `base`. Others may follow, with a base of their own.
pub(crate) fn close(records: &mut Vec<u8>, base: usize) {
    let filled = (records.len() - base) % FULL;
    if filled == 0 {
        return;
    }
    let start = records.len() - filled;
    if let Some(room) = records.get_mut(start..start + HEADER) {
        room.copy_from_slice(&header(filled - HEADER));
    }
    records.extend_from_slice(&trailer(APPLICATION_DATA));
}

/// How much content unclosed records hold.
pub(crate) const fn content_len(records: usize) -> usize {
    let filled = records % FULL;
    records / FULL * MAX_CONTENT + if filled == 0 { 0 } else { filled - HEADER }
}

/// Appends part of the content of unclosed records to `to`.
pub(crate) fn extract(from: &[u8], range: Range<usize>, to: &mut Vec<u8>) {
    let mut at = range.start;
    while at < range.end {
        let (record, offset) = (at / MAX_CONTENT, at % MAX_CONTENT);
        let len = (MAX_CONTENT - offset).min(range.end - at);
        let start = record * FULL + HEADER + offset;
        let Some(part) = from.get(start..start + len) else { return };
        to.extend_from_slice(part);
        at += len;
    }
}

/// Header of a record whose content has this length and is not padded.
pub(super) fn header(content: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(content + TRAILER).unwrap_or(u16::MAX).to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

/// Content type, and room for the tag.
pub(super) const fn trailer(kind: u8) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    out[0] = kind;
    out
}
