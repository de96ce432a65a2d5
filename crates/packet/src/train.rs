//! Cutting a super-frame into slices for datagrams (P4.7).

use crate::layout::{Layout, MAX_HEADERS, Piece};
use crate::superframe::SuperFrame;

/// Slices in one train at most (P4.7): what one send with UDP_SEGMENT takes on every kernel that has it
/// (`UDP_MAX_SEGMENTS`).
pub const MAX_SLICES: usize = 64;

/// Everything a slice says about itself beside headers and payload, in the order of P4.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceMeta {
    /// Kind of segmentation, as in [`VnetHdr::gso_type`](crate::VnetHdr::gso_type).
    pub gso_type: u8,
    /// Slices in the train.
    pub slices: u8,
    /// This slice's number, from zero.
    pub number: u8,
    /// Where the TCP or UDP header begins, from the start of the Ethernet header.
    pub csum_start: u16,
    /// Payload bytes of each segment of the super-frame but the last.
    pub gso_size: u16,
    /// Tells the trains of a session apart; counts up and wraps.
    pub train: u16,
    /// Length of the headers.
    pub headers_len: u16,
}

/// One record's worth of a train. The headers are the train's.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// What it says about itself.
    pub meta: SliceMeta,
    /// Its share of the payload.
    pub payload: &'a [u8],
}

/// A super-frame of at most [`MAX_SLICES`] slices, ready to be cut.
#[derive(Debug, Clone)]
pub struct Train<'a> {
    meta: SliceMeta,
    share: usize,
    /// A copy, because all but the only train of a super-frame have headers of their own.
    headers: [u8; MAX_HEADERS],
    payload: &'a [u8],
}

/// The trains of one super-frame, in order. Nearly always there is just one.
#[derive(Debug, Clone)]
pub struct Trains<'a> {
    layout: Layout,
    headers: &'a [u8],
    payload: &'a [u8],
    offset: usize,
    share: usize,
}

/// The slices of one train, in order.
#[derive(Debug, Clone)]
pub struct Slices<'a> {
    next: SliceMeta,
    share: usize,
    payload: &'a [u8],
}

impl<'a> SuperFrame<'a> {
    /// Cuts the frame for records; `None` for an ordinary frame, which needs no cutting.
    ///
    /// A slice has the payload of one segment, or `room` bytes of it if that is more and it is TCP's: a stream may be cut anywhere,
    /// datagrams stay what they are.
    #[inline]
    pub fn trains(&self, room: usize) -> Option<Trains<'a>> {
        let layout = *self.layout()?;
        let share = if layout.is_tcp() { room.max(layout.gso_size()) } else { layout.gso_size() };
        Some(Trains { layout, headers: self.headers(), payload: self.payload(), offset: 0, share })
    }
}

impl<'a> Iterator for Trains<'a> {
    type Item = Train<'a>;

    fn next(&mut self) -> Option<Train<'a>> {
        let (layout, share) = (&self.layout, self.share);
        let slices = self.payload.len().div_ceil(share).min(MAX_SLICES);
        if slices == 0 {
            return None;
        }
        let (payload, rest) = self.payload.split_at_checked(slices * share).unwrap_or((self.payload, &[]));
        let piece = Piece { offset: self.offset, payload: payload.len(), last: rest.is_empty() };
        let meta = SliceMeta {
            gso_type: layout.gso_type(piece),
            // At most 64 slices; start and headers are below MAX_HEADERS.
            slices: slices as u8,
            number: 0,
            csum_start: layout.start() as u16,
            gso_size: layout.gso_size() as u16,
            train: 0,
            headers_len: layout.headers() as u16,
        };
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..self.headers.len())?.copy_from_slice(self.headers);
        if piece.payload < layout.payload() {
            layout.rewrite(&mut headers, piece);
        }
        self.offset += payload.len();
        self.payload = rest;
        Some(Train { meta, share, headers, payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let trains = self.payload.len().div_ceil(self.share).div_ceil(MAX_SLICES);
        (trains, Some(trains))
    }
}

impl ExactSizeIterator for Trains<'_> {}

impl<'a> Train<'a> {
    /// The headers that go into each slice.
    #[inline]
    pub fn headers(&self) -> &[u8] {
        self.headers.get(..self.meta.headers_len.into()).unwrap_or_default()
    }

    /// The slices, marked with the number of the train.
    #[inline]
    pub fn slices(&self, train: u16) -> Slices<'a> {
        Slices { next: SliceMeta { train, ..self.meta }, share: self.share, payload: self.payload }
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = Slice<'a>;

    #[inline]
    fn next(&mut self) -> Option<Slice<'a>> {
        if self.payload.is_empty() {
            return None;
        }
        let (payload, rest) = self.payload.split_at_checked(self.share).unwrap_or((self.payload, &[]));
        let slice = Slice { meta: self.next, payload };
        self.next.number += 1;
        self.payload = rest;
        Some(slice)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let slices = usize::from(self.next.slices.saturating_sub(self.next.number));
        (slices, Some(slices))
    }
}

impl ExactSizeIterator for Slices<'_> {}
