//! [`Hop`]: the way to one neighbour, which ends in the world.

use std::sync::PoisonError;

use mesh::LinkId;
use packet::{SuperFrame, VnetHdr};
use transport::{Batch, Drop, FramePath, HopPath, PathCounters, PathKind};
use wire::{GroupHeader, Hops};

use super::{Carried, MAX_FRAME, Shared};

/// Names and inner record, at most.
const MAX_RELAYED: usize = 1600;

pub(super) struct Hop {
    link: LinkId,
    output: Shared,
    counters: PathCounters,
}

impl Hop {
    pub(super) fn new(link: LinkId, output: Shared) -> Self {
        Self { link, output, counters: PathCounters::default() }
    }

    fn put(&self, carried: Carried) {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).sent.push((self.link, carried));
    }

    fn put_frame(&self, frame: &SuperFrame<'_>, make: impl FnOnce(Vec<u8>) -> Carried) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if frame.longest_segment() > MAX_FRAME {
            return Err(self.counters.dropped(Drop::TooBig, frames));
        }
        let mut bytes = vec![0; VnetHdr::LEN];
        if let Some(hdr) = bytes.first_chunk_mut() {
            frame.hdr().write_host(hdr);
        }
        bytes.extend_from_slice(frame.frame());
        self.counters.sent(frames, frame.frame().len() as u64);
        self.put(make(bytes));
        Ok(())
    }
}

impl FramePath for Hop {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        MAX_FRAME
    }

    fn send(&self, frame: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        self.put_frame(frame, Carried::Frame)
    }

    fn flush(&self, batch: &mut Batch) {
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl HopPath for Hop {
    fn send_group(&self, group: &GroupHeader, frame: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        self.put_frame(frame, |bytes| Carried::Group(*group, bytes))
    }

    fn max_relayed(&self) -> usize {
        MAX_RELAYED
    }

    fn relay(&self, hops: Hops<'_>, record: &[u8], _: &mut Batch) -> Result<(), Drop> {
        if hops.bytes().len() + record.len() > MAX_RELAYED {
            return Err(self.counters.dropped(Drop::TooBig, 1));
        }
        let names = hops.bytes().as_chunks().0.to_vec();
        self.counters.sent(1, record.len() as u64);
        self.put(Carried::Relayed(names, record.to_vec()));
        Ok(())
    }
}
