//! From frames to the payloads of records (P4.5).

use std::sync::atomic::{AtomicU16, Ordering};

use packet::{Slice, SuperFrame};
use wire::{GroupHeader, Payload, SLICE_HEADER};

/// Numbers for the trains of one path (P4.7).
#[derive(Debug, Default)]
pub struct TrainNumbers(AtomicU16);

impl TrainNumbers {
    fn next(&self) -> u16 {
        // Relaxed: neighbouring trains of one thread only have to differ.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Calls `record` for each record that `frame` becomes, with the parts of the payload and with the bytes in it that are the frame's.
///
/// A frame for everyone has its `group` header, and its segments are numbered from that on (P7.1). Of any other, TCP fills payloads of
/// up to `longest` bytes, whatever its segments are (P4.7); each has one segment at least.
///
/// # Errors
/// The first of `record`; what is left of the frame is not cut any more.
#[inline]
pub fn for_each_payload<E>(
    frame: &SuperFrame<'_>,
    group: Option<&GroupHeader>,
    longest: usize,
    trains: &TrainNumbers,
    mut record: impl FnMut(&[&[u8]], usize) -> Result<(), E>,
) -> Result<(), E> {
    let around = SLICE_HEADER + frame.headers_len().unwrap_or(0);
    let room = if group.is_none() { longest.saturating_sub(around) } else { 0 };
    let Some(mut cut) = frame.trains(room) else {
        let hdr = frame.hdr();
        let header = Payload::frame_header(hdr.flags, hdr.csum_start, hdr.csum_offset);
        let bytes = frame.frame();
        return match group {
            None => record(&[&header, bytes], bytes.len()),
            Some(group) => record(&[&Payload::group_prefix(group), &header, bytes], bytes.len()),
        };
    };
    let mut segment = 0;
    cut.try_for_each(|train| {
        train.slices(trains.next()).try_for_each(|Slice { meta, payload }| {
            let (header, headers) = (Payload::slice_header(&meta), train.headers());
            let bytes = headers.len() + payload.len();
            match group {
                None => record(&[&header, headers, payload], bytes),
                Some(group) => {
                    let prefix = Payload::group_prefix(&group.plus(segment));
                    segment += 1;
                    record(&[&prefix, &header, headers, payload], bytes)
                }
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{group, plain, tcp};

    fn payloads(frame: &SuperFrame<'_>, group: Option<&GroupHeader>, trains: &TrainNumbers) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        let result = for_each_payload(frame, group, 0, trains, |parts, _| {
            list.push(parts.concat());
            Ok::<_, ()>(())
        });
        assert_eq!(result, Ok(()));
        list
    }

    #[test]
    fn an_ordinary_frame_is_one_payload() {
        let (hdr, bytes) = plain(60, 1);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        let list = payloads(&frame, None, &TrainNumbers::default());
        let expected = Payload::Frame { flags: 0, csum_start: 0, csum_offset: 0, frame: &bytes };
        assert_eq!(list.iter().map(|p| Payload::decode(p).unwrap()).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn each_segment_for_everyone_has_the_next_number() {
        let (hdr, bytes) = tcp(64 * 100 + 150, 100);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        let (first, trains) = (group(9), TrainNumbers::default());
        let list = payloads(&frame, Some(&first), &trains);
        assert_eq!(list.len(), 66);
        let mut numbers = Vec::new();
        for (n, payload) in (0..).zip(&list) {
            let Ok(Payload::Group { group, inner }) = Payload::decode(payload) else { panic!("no group") };
            assert_eq!(group, first.plus(n));
            let Ok(Payload::Slice { meta, .. }) = Payload::decode(inner) else { panic!("no slice") };
            numbers.push((meta.train, meta.number));
        }
        let expected: Vec<_> = (0..64).map(|n| (0, n)).chain([(1, 0), (1, 1)]).collect();
        assert_eq!(numbers, expected, "two trains, each with a number of its own");
    }

    #[test]
    fn a_refusal_ends_it() {
        let (hdr, bytes) = tcp(1000, 100);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        let mut called = 0;
        let result = for_each_payload(&frame, None, 0, &TrainNumbers::default(), |_, _| {
            called += 1;
            if called == 3 { Err("full") } else { Ok(()) }
        });
        assert_eq!((result, called), (Err("full"), 3));
    }
}
