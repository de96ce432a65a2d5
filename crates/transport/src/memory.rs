//! The in-memory implementation: the model that the others are held against, and what simulations use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use packet::{SuperFrame, VnetHdr};
use wire::{GroupHeader, Hops, PeerName};

use crate::{Batch, Drop, FramePath, FrameSink, HopPath, Inbox, Outbox, PathCounters, PathKind};

/// The longest relayed record, unless a test says otherwise: no record is longer.
const MAX_RELAYED: usize = u16::MAX as usize;

/// What a batch holds: each piece is its kind, the length of the rest, and the rest.
const FRAME: u8 = 0;
const GROUP: u8 = 1;
const RELAYED: u8 = 2;
const PIECE_HEADER: usize = 5;

/// One direction between two peers of one process. Everything arrives when the sender flushes.
pub struct MemoryPath {
    from: PeerName,
    sink: Arc<dyn FrameSink>,
    max_frame: usize,
    max_relayed: AtomicUsize,
    /// Bytes that may wait in a batch before the newest are dropped.
    room: usize,
    closed: AtomicBool,
    counters: PathCounters,
    peer: Mutex<Option<Arc<Self>>>,
}

impl MemoryPath {
    /// Two paths, from `a` to the sink of `b` and back.
    pub fn pair(
        (a, sink_a): (PeerName, Arc<dyn FrameSink>),
        (b, sink_b): (PeerName, Arc<dyn FrameSink>),
        max_frame: usize,
        room: usize,
    ) -> (Arc<Self>, Arc<Self>) {
        let path = |from, sink| {
            Arc::new(Self {
                from,
                sink,
                max_frame,
                max_relayed: AtomicUsize::new(MAX_RELAYED),
                room,
                closed: AtomicBool::new(false),
                counters: PathCounters::default(),
                peer: Mutex::new(None),
            })
        };
        let (to_b, to_a) = (path(a, sink_b), path(b, sink_a));
        *to_b.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&to_a));
        *to_a.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&to_b));
        (to_b, to_a)
    }

    /// Has this direction refuse relayed records that are longer.
    pub fn set_max_relayed(&self, len: usize) {
        self.max_relayed.store(len, Ordering::Release);
    }

    /// Closes both directions.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Taken out first: the other end closes this one in turn, and must find the lock free.
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(peer) = peer {
            peer.close();
        }
    }

    /// Lays a piece into the batch, if it may go there.
    fn put(&self, batch: &mut Batch, piece: &Piece<'_>) -> Result<(), Drop> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, piece.frames));
        }
        if piece.too_big {
            return Err(self.counters.dropped(Drop::TooBig, piece.frames));
        }
        let len = piece.before.iter().map(|b| b.len()).sum::<usize>() + piece.bytes.len();
        if batch.bytes.len() + PIECE_HEADER + len > self.room {
            return Err(self.counters.dropped(Drop::QueueFull, piece.frames));
        }
        batch.bytes.push(piece.kind);
        batch.bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        piece.before.iter().for_each(|b| batch.bytes.extend_from_slice(b));
        batch.bytes.extend_from_slice(piece.bytes);
        batch.frames += piece.frames;
        batch.frame_bytes += piece.bytes.len() as u64;
        Ok(())
    }

    fn put_frame(
        &self,
        group: Option<&GroupHeader>,
        frame: &SuperFrame<'_>,
        batch: &mut Batch,
    ) -> Result<(), Drop> {
        let mut hdr = [0; VnetHdr::LEN];
        frame.hdr().write_host(&mut hdr);
        let group = group.map(GroupHeader::encode);
        self.put(
            batch,
            &Piece {
                kind: if group.is_some() { GROUP } else { FRAME },
                before: [group.as_ref().map_or(&[], |g| &g[..]), &hdr],
                bytes: frame.frame(),
                frames: frame.segments() as u64,
                too_big: frame.longest_segment() > self.max_frame,
            },
        )
    }
}

/// What is laid into a batch.
struct Piece<'a> {
    kind: u8,
    before: [&'a [u8]; 2],
    bytes: &'a [u8],
    frames: u64,
    too_big: bool,
}

impl FramePath for MemoryPath {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        self.put_frame(None, frame, batch)
    }

    fn flush(&self, batch: &mut Batch) {
        self.counters.sent(batch.frames, batch.frame_bytes);
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What arrives is counted by the path that leads back.
        let nobody = PathCounters::default();
        let counters = peer.as_ref().map_or(&nobody, |peer| &peer.counters);
        let (mut inbox, mut out) = (Inbox::new(self.from, Arc::clone(&self.sink)), Outbox::new());
        let mut rest = &mut batch.bytes[..];
        while let Some((&mut [kind, a, b, c, d], tail)) = rest.split_first_chunk_mut() {
            let Some((piece, tail)) = tail.split_at_mut_checked(u32::from_be_bytes([a, b, c, d]) as usize)
            else {
                break;
            };
            rest = tail;
            match kind {
                FRAME => inbox.frame(piece, counters),
                GROUP => {
                    if let Some((group, frame)) = GroupHeader::split(piece) {
                        inbox.group_frame(&group, frame, counters, &mut out);
                    }
                }
                _ => {
                    let Some((&mut count, piece)) = piece.split_first_mut() else { continue };
                    let names = usize::from(count) * PeerName::LEN;
                    let Some((names, record)) = piece.split_at_mut_checked(names) else { continue };
                    if let Some((hops, _)) = Hops::split(count, names) {
                        inbox.relay(hops, record, counters, &mut out);
                    }
                }
            }
        }
        inbox.flush(counters);
        out.flush();
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl HopPath for MemoryPath {
    fn send_group(&self, group: &GroupHeader, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        self.put_frame(Some(group), frame, batch)
    }

    fn max_relayed(&self) -> usize {
        self.max_relayed.load(Ordering::Acquire)
    }

    fn relay(&self, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        self.put(
            batch,
            &Piece {
                kind: RELAYED,
                before: [&[hops.count()], hops.bytes()],
                bytes: record,
                frames: 1,
                too_big: hops.bytes().len() + record.len() > self.max_relayed(),
            },
        )
    }
}

#[cfg(test)]
mod tests;
