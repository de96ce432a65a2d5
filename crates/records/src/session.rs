//! [`Session`]: from the records of one peer to frames.

use std::net::SocketAddr;

use packet::{Joiner, VnetHdr};
use session::{OpenError, Opener};
use transport::{Drop, Inbox, Outbox, PathCounters};
use wire::{
    Arrived, FRAME_HEADER, GROUP_PREFIX, GroupHeader, Payload, PeerName, RECORD_HEADER, RecordHeader,
    RelayHeader,
};

/// What an authentic record held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A frame, or a part of one. It has been seen to.
    Frame,
    /// A question whether the way it came by works (P4.9).
    Probe {
        /// To come back in the answer.
        token: u64,
    },
    /// The answer to one.
    Answer {
        /// The probe's token.
        token: u64,
        /// Length of the record that arrived there.
        length: u16,
        /// Where it came from, as the peer saw it.
        seen: SocketAddr,
        /// What had arrived there, if the peer counts.
        arrived: Option<Arrived>,
    },
    /// Nothing that is understood; it has been counted.
    Malformed,
}

/// The receiving end of one epoch with one peer.
///
/// It holds back what may still grow into a larger super-frame: [`flush`](Self::flush) is due at the end of each batch.
pub struct Session {
    opener: Opener,
    joiner: Joiner,
    /// The header of the first slice that the joiner holds, and the one that continues it; none for a frame to this host alone.
    group: Option<(GroupHeader, GroupHeader)>,
    inbox: Inbox,
    takes_groups: bool,
}

impl Session {
    /// With a neighbour, who passes on frames for everyone.
    pub fn with_neighbour(opener: Opener, inbox: Inbox) -> Self {
        Self { opener, joiner: Joiner::new(), group: None, inbox, takes_groups: true }
    }

    /// With a peer that is no neighbour: frames for everyone do not come that way (P7.1).
    pub fn with_distant_peer(opener: Opener, inbox: Inbox) -> Self {
        Self { takes_groups: false, ..Self::with_neighbour(opener, inbox) }
    }

    /// Whose.
    pub const fn peer(&self) -> PeerName {
        self.inbox.peer()
    }

    /// Opens a record where it lies, and hands on the frame in it. `counters` are those of the path it came by.
    ///
    /// # Errors
    /// When it is not authentic or was seen before. That is counted.
    pub fn open(
        &mut self,
        header: &RecordHeader,
        record: &mut [u8],
        counters: &PathCounters,
        out: &mut Outbox,
    ) -> Result<Content, OpenError> {
        let payload = self.opener.open(header, record).map_err(|e| counted(e, counters))?;
        Ok(match Payload::decode(payload) {
            Ok(Payload::Frame { flags, csum_start, csum_offset, frame }) => {
                let len = frame.len();
                let hdr = VnetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start, csum_offset };
                self.join(counters, out);
                if let Some(bytes) = in_place(record, RECORD_HEADER + FRAME_HEADER, len, &hdr) {
                    self.inbox.frame(bytes, counters);
                }
                Content::Frame
            }
            Ok(Payload::Slice { meta, headers, payload }) => {
                if self.group.is_some() {
                    self.join(counters, out);
                }
                let Self { joiner, inbox, .. } = self;
                let mut emit = |bytes: &[u8]| inbox.frame(bytes, counters);
                if joiner.push(&meta, headers, payload, &mut emit).is_err() {
                    counters.drops.add(Drop::Malformed, 1);
                }
                Content::Frame
            }
            Ok(Payload::Group { group, inner }) if self.takes_groups => {
                match Payload::decode(inner) {
                    Ok(Payload::Frame { flags, csum_start, csum_offset, frame }) => {
                        let len = frame.len();
                        let hdr =
                            VnetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start, csum_offset };
                        self.join(counters, out);
                        let at = RECORD_HEADER + GROUP_PREFIX + FRAME_HEADER;
                        if let Some(bytes) = in_place(record, at, len, &hdr) {
                            self.inbox.group_frame(&group, bytes, counters, out);
                        }
                    }
                    Ok(Payload::Slice { meta, headers, payload }) => {
                        if self.group.is_none_or(|(_, next)| next != group) {
                            self.join(counters, out);
                        }
                        let Self { joiner, inbox, group: run, .. } = self;
                        let mut first = run.map_or(group, |(first, _)| first);
                        let result = joiner.push(&meta, headers, payload, &mut |bytes| {
                            inbox.group_frame(&first, bytes, counters, out);
                            // If this gave out what was there before, a new run starts with the slice.
                            first = group;
                        });
                        match result {
                            Ok(()) => *run = (!joiner.is_empty()).then_some((first, group.plus(1))),
                            Err(_) => counters.drops.add(Drop::Malformed, 1),
                        }
                    }
                    _ => {
                        counters.drops.add(Drop::Malformed, 1);
                        return Ok(Content::Malformed);
                    }
                }
                Content::Frame
            }
            Ok(Payload::Probe { token }) => Content::Probe { token },
            Ok(Payload::Answer { token, length, seen, arrived }) => {
                Content::Answer { token, length, seen, arrived }
            }
            Ok(Payload::Group { .. }) | Err(_) => {
                counters.drops.add(Drop::Malformed, 1);
                Content::Malformed
            }
        })
    }

    /// Takes a record of other peers' session, if its header is the neighbour's (P6.4), and hands it on.
    ///
    /// # Errors
    /// When the header is not authentic or was seen before. That is counted.
    pub fn relay(
        &mut self,
        header: &RelayHeader<'_>,
        record: &mut [u8],
        counters: &PathCounters,
        out: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.opener.verify_relay(header).map_err(|e| counted(e, counters))?;
        // What came before it goes before it.
        if !self.is_empty() {
            self.flush(counters, out);
        }
        self.inbox.relay(header.hops, record, counters, out);
        Ok(())
    }

    /// Hands over what is held back.
    pub fn flush(&mut self, counters: &PathCounters, out: &mut Outbox) {
        self.join(counters, out);
        self.inbox.flush(counters);
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.joiner.is_empty() && self.inbox.is_empty()
    }

    /// Ends the train that is being joined.
    fn join(&mut self, counters: &PathCounters, out: &mut Outbox) {
        let Self { joiner, inbox, group, .. } = self;
        joiner.flush(&mut |bytes: &[u8]| match group {
            None => inbox.frame(bytes, counters),
            Some((first, _)) => inbox.group_frame(first, bytes, counters, out),
        });
        *group = None;
    }
}

fn counted(e: OpenError, counters: &PathCounters) -> OpenError {
    let reason = match e {
        OpenError::Forged => Drop::Forged,
        OpenError::Replayed => Drop::Replayed,
    };
    counters.drops.add(reason, 1);
    e
}

/// The frame at `at`, with its header right before it, over bytes of the record that are no longer needed: no copy of the frame.
fn in_place<'a>(record: &'a mut [u8], at: usize, len: usize, hdr: &VnetHdr) -> Option<&'a [u8]> {
    let bytes = record.get_mut(at.checked_sub(VnetHdr::LEN)?..at + len)?;
    hdr.write_host(bytes.first_chunk_mut()?);
    Some(bytes)
}

#[cfg(test)]
mod tests;
