//! Records of neighbours' sessions that came inside a link (P4.12). The receiving thread alone can open them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::EventFd;
use records::{Content, UdpEvent};
use transport::{Drop, FramePath as _, Outbox};
use wire::{PeerName, RecordHeader, RelayHeader};

use crate::UdpPath;
use crate::receiver::Shared;
use crate::sessions::{Change, Entry, Sessions};

/// Records that may wait for the receiving thread: a batch of the largest super-frames.
const MAX_WAITING: usize = 2048;
/// Changes of the table that are taken up in one turn.
const A_TURN: usize = 2 * MAX_WAITING;

/// What the threads of links and the receiving thread share.
#[derive(Default)]
pub(crate) struct Waiting {
    /// Indices of sessions with neighbours.
    known: Mutex<BTreeSet<u32>>,
    records: AtomicUsize,
    /// Somebody woke the receiving thread, which has not looked since.
    is_woken: AtomicBool,
}

impl Waiting {
    pub(crate) fn known(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where records go that came inside a link, for any thread.
pub struct Inside {
    pub(crate) changes: Sender<Change>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) waiting: Arc<Waiting>,
}

impl Inside {
    /// Takes a copy of a record, relayed or not, if it is of a session with a neighbour. What it holds is handed to the sink by the
    /// receiving thread.
    ///
    /// # Errors
    /// When too many wait.
    pub fn take(&self, record: &[u8]) -> Option<Result<(), Drop>> {
        // The same bytes in both kinds of records.
        let &[_, i0, i1, i2, i3] = record.first_chunk()?;
        if !self.waiting.known().contains(&u32::from_be_bytes([i0, i1, i2, i3])) {
            return None;
        }
        if self.waiting.records.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING {
            self.waiting.records.fetch_sub(1, Ordering::AcqRel);
            return Some(Err(Drop::QueueFull));
        }
        // The receiver outlives the transport; if its thread died there is nobody to tell.
        let _ = self.changes.send(Change::Record(record.to_vec()));
        // After it was sent: whoever looks next finds it.
        if !self.waiting.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.wake.write(1);
        }
        Some(Ok(()))
    }
}

impl Shared {
    /// Takes up what the control side changed, and what links brought.
    pub(crate) fn take_changes(&self, sessions: &mut Sessions, out: &mut Outbox) {
        // Before the look: what is sent after it wakes this thread again. Mostly nobody did, and the cache line stays where it is.
        if self.waiting.is_woken.load(Ordering::Relaxed) {
            self.waiting.is_woken.swap(false, Ordering::AcqRel);
        }
        for (n, change) in self.changes.try_iter().take(A_TURN).enumerate() {
            match change {
                Change::Record(mut record) => {
                    self.waiting.records.fetch_sub(1, Ordering::AcqRel);
                    self.inside(sessions, &mut record, out);
                }
                change => sessions.apply(change),
            }
            if n + 1 == A_TURN {
                // There may be more.
                let _ = self.wake.write(1);
            }
        }
    }

    /// One record. What is about the path tells nothing when it comes by another.
    #[cold]
    fn inside(&self, sessions: &mut Sessions, record: &mut [u8], out: &mut Outbox) {
        if record.first().copied().is_some_and(RelayHeader::is_type) {
            let Ok((header, inner)) = RelayHeader::split(record) else {
                return self.drops.add(Drop::Malformed, 1);
            };
            let Some(Entry { session, path, .. }) = sessions.get(header.index) else {
                return self.drops.add(Drop::UnknownSession, 1);
            };
            if session.relay(&header, inner, path.counters(), out).is_ok() {
                self.doubted(path, session.peer());
            }
            return;
        }
        let Ok(header) = RecordHeader::decode(record) else {
            return self.drops.add(Drop::Malformed, 1);
        };
        let Some(Entry { session, path, .. }) = sessions.get(header.index) else {
            return self.drops.add(Drop::UnknownSession, 1);
        };
        match session.open(&header, record, path.counters(), out) {
            Ok(Content::Frame) => {
                let (peer, holds) = (session.peer(), !session.is_empty());
                self.doubted(path, peer);
                if holds {
                    sessions.gathers(header.index);
                }
            }
            Ok(Content::Probe { .. } | Content::Answer { .. }) => {
                path.counters().drops.add(Drop::Malformed, 1)
            }
            // It has been counted.
            Ok(Content::Malformed) | Err(_) => {}
        }
    }

    /// What the peer got of ours may be as little as what we got of its. The answer to this very record is about to be sent, so until
    /// the control side has thought about it, it goes both ways.
    fn doubted(&self, path: &UdpPath, peer: PeerName) {
        if path.fallback.note_peer_doubt() {
            path.set_doubt(true);
            (self.events)(UdpEvent::Doubted { peer });
        }
    }
}
