//! Joining slices that arrive (P4.7), and mending what arrives incomplete.
//!
//! Slices of one train that come in order are appended to a *run*. A run that is the whole train becomes the
//! super-frame that was cut, byte for byte. Any other run is mended: its headers are rewritten to those of a smaller
//! super-frame, or of an ordinary frame if it is a single slice. A receiver thus never waits: whatever interrupts a run
//! (a gap, another train, the end of a batch) sends it off as it is.

use crate::layout::{Layout, Piece};
use crate::superframe::{FrameError, MAX_FRAME};
use crate::train::{MAX_SLICES, SliceMeta};
use crate::vnet::VnetHdr;

/// Joins the slices of one session.
///
/// Frames are given out as one contiguous piece, virtio-net header in host order first, ready for a single `write` to
/// a TAP. They pass [`SuperFrame::from_host`](crate::SuperFrame::from_host).
#[derive(Default)]
pub struct Joiner {
    /// Virtio-net header, headers, payload so far. Room for the longest frame is taken when the first slice arrives,
    /// so a session that never sees one costs nothing.
    buf: Vec<u8>,
    run: Option<Run>,
}

/// Consecutive slices of one train, waiting in the buffer.
#[derive(Clone, Copy)]
struct Run {
    layout: Layout,
    /// Payload bytes of the train before the first slice.
    offset: usize,
    /// Payload bytes of each slice but the last.
    share: usize,
    /// What the slice that continues the run says about itself.
    next: SliceMeta,
}

/// Why a slice was dropped. Its sender contradicts itself or the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Trains have 1 to 64 slices, numbered from zero.
    #[error("slice {number} of {slices}: a train has 1 to 64 slices, numbered from zero")]
    Number {
        /// The slice's number.
        number: u8,
        /// Slices in the train, as it says.
        slices: u8,
    },
    /// The headers are not those of a super-frame.
    #[error("headers of a slice are not those of a super-frame")]
    Headers(#[source] FrameError),
    /// The headers end before or after their announced end, or the real end of TCP or UDP.
    #[error("slice announces headers of {announced} bytes and has {len}, but TCP or UDP ends at byte {end}")]
    HeadersLen {
        /// What the slice says.
        announced: u16,
        /// What it has.
        len: usize,
        /// Where the transport header ends.
        end: usize,
    },
    /// The lengths in the headers make another number of slices.
    #[error(
        "slice announces a train of {announced}, but with its payload the super-frame in its headers makes {needed}"
    )]
    Count {
        /// What the slice says.
        announced: u8,
        /// What its headers and its length say.
        needed: usize,
    },
    /// A slice has more or less payload than its place in the train demands.
    #[error("slice {number} has {len} bytes of payload where its headers announce {expected}")]
    Payload {
        /// The slice's number.
        number: u8,
        /// What it has.
        len: usize,
        /// What it should have.
        expected: usize,
    },
    /// Two slices of one train with different headers.
    #[error("slice {number} of train {train} has other headers than the slice before it")]
    HeadersDiffer {
        /// The slice's number.
        number: u8,
        /// Number of its train.
        train: u16,
    },
}

impl Joiner {
    /// A joiner that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a slice. Calls `out` with the frames that this completes or interrupts: none, one or two.
    ///
    /// # Errors
    /// A slice that contradicts itself or its train is dropped; what has been gathered stays.
    #[inline]
    pub fn push(
        &mut self,
        meta: &SliceMeta,
        headers: &[u8],
        payload: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) -> Result<(), JoinError> {
        match &mut self.run {
            Some(run) if run.next == *meta => {
                let &SliceMeta { number, train, .. } = meta;
                if self.buf.get(VnetHdr::LEN..VnetHdr::LEN + run.layout.headers()) != Some(headers) {
                    return Err(JoinError::HeadersDiffer { number, train });
                }
                let expected = run.layout.part_len(number, run.share);
                if payload.len() != expected {
                    return Err(JoinError::Payload { number, len: payload.len(), expected });
                }
                self.buf.extend_from_slice(payload);
                run.next.number += 1;
            }
            _ => {
                let (layout, share) = check(meta, headers, payload)?;
                self.flush(out);
                self.start(layout, share, meta, headers, payload);
            }
        }
        if meta.number + 1 == meta.slices {
            self.flush(out);
        }
        Ok(())
    }

    /// Gives out what has been gathered. Due before anything else of this session goes to the TAP, and at the end of a
    /// batch: a run never waits for the network.
    #[inline]
    pub fn flush(&mut self, out: &mut impl FnMut(&[u8])) {
        let Some(Run { layout, offset, next, .. }) = self.run.take() else { return };
        let end = VnetHdr::LEN + layout.headers();
        let payload = self.buf.len().saturating_sub(end);
        let piece = Piece { offset, payload, last: next.number == next.slices };
        let whole = offset == 0 && piece.last;
        if !whole && let Some(headers) = self.buf.get_mut(VnetHdr::LEN..end) {
            layout.rewrite(headers, piece);
        }
        if let Some(hdr) = self.buf.first_chunk_mut() {
            layout.vnet_hdr(piece).write_host(hdr);
        }
        out(&self.buf);
    }

    /// Whether there is nothing to flush.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.run.is_none()
    }

    fn start(&mut self, layout: Layout, share: usize, meta: &SliceMeta, headers: &[u8], payload: &[u8]) {
        self.buf.clear();
        self.buf.reserve_exact(VnetHdr::LEN + MAX_FRAME);
        self.buf.extend_from_slice(&[0; VnetHdr::LEN]);
        self.buf.extend_from_slice(headers);
        self.buf.extend_from_slice(payload);
        let next = SliceMeta { number: meta.number + 1, ..*meta };
        let offset = share * usize::from(meta.number);
        self.run = Some(Run { layout, offset, share, next });
    }
}

/// Checks a slice by itself; gives the payload bytes of each slice of its train but the last. The lengths in its headers and its own
/// determine all the rest, so that slices which pass and have the same headers fit together.
fn check(meta: &SliceMeta, headers: &[u8], payload: &[u8]) -> Result<(Layout, usize), JoinError> {
    let &SliceMeta { gso_type, slices, number, csum_start, gso_size, headers_len, .. } = meta;
    if number >= slices || usize::from(slices) > MAX_SLICES {
        return Err(JoinError::Number { number, slices });
    }
    let layout = Layout::of(gso_type, gso_size, csum_start, headers).map_err(JoinError::Headers)?;
    let (len, end) = (headers.len(), layout.headers());
    if len != end || usize::from(headers_len) != end {
        return Err(JoinError::HeadersLen { announced: headers_len, len, end });
    }
    let share = share(&layout, meta, payload.len())?;
    let needed = layout.payload().div_ceil(share);
    if needed != usize::from(slices) {
        return Err(JoinError::Count { announced: slices, needed });
    }
    Ok((layout, share))
}

/// Payload bytes of each slice but the last, more than none: of UDP a datagram's, of TCP what this one has, or what is left for each
/// of the others where this is the last.
fn share(layout: &Layout, meta: &SliceMeta, len: usize) -> Result<usize, JoinError> {
    let &SliceMeta { slices, number, .. } = meta;
    let is_last = number + 1 == slices;
    let share = match (layout.is_tcp(), is_last) {
        (false, _) => layout.gso_size(),
        (true, false) => len,
        (true, true) => layout.payload().saturating_sub(len).checked_div(number.into()).unwrap_or(len),
    };
    let expected = layout.part_len(number, share);
    if len == 0 || len != expected {
        return Err(JoinError::Payload { number, len, expected });
    }
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_taken_once_and_reused() {
        let mut headers = [0; 14 + 40];
        headers[12..20].copy_from_slice(&[0x08, 0x00, 0x45, 0, 0x7f, 0xff, 0, 0]);
        headers[23] = 6;
        headers[46] = 0x50;
        let payload = [0; 1400];
        let meta = SliceMeta {
            gso_type: VnetHdr::GSO_TCPV4,
            slices: 24,
            number: 0,
            csum_start: 34,
            gso_size: 1400,
            train: 0,
            headers_len: 54,
        };
        let mut joiner = Joiner::new();
        assert_eq!(joiner.buf.capacity(), 0);
        joiner.push(&meta, &headers, &payload, &mut |_| ()).unwrap();
        let room = joiner.buf.capacity();
        for train in 1..100 {
            for number in 0..23 {
                let meta = SliceMeta { train, number, ..meta };
                joiner.push(&meta, &headers, &payload, &mut |_| ()).unwrap();
            }
        }
        assert_eq!(joiner.buf.capacity(), room);
    }
}
