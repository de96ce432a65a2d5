//! The receiving thread: datagrams in, frames out.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver as Changes;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use packet::VnetHdr;
use quinn_udp::RecvMeta;
use session::OpenError;
use transport::{Drop, DropCounters, FramePath as _};
use wire::{Arrived, FRAME_HEADER, Payload, PeerName, RECORD_HEADER, RecordHeader};

use crate::Socket;
use crate::sessions::{Change, Session, Sessions};

/// Messages of one recvmmsg at most: what `quinn_udp` takes.
const MESSAGES: usize = quinn_udp::BATCH_SIZE;
/// The same while messages are trains (UDP_GRO): so many stay in the processor's second-level cache until they are opened.
const TRAIN_MESSAGES: usize = 8;
/// A message from this length on, in bytes, is a train.
const TRAIN_LEN: usize = 8 * 1024;
/// Full batches after which everything held back goes out: one busy peer must not hold up what another has sent.
const FULL_BATCHES: u32 = 8;
/// Longest message the kernel coalesces.
const MESSAGE_LEN: usize = 65_536;

/// How long to keep still after an error of the socket.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// What the receiver tells the control side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpEvent {
    /// A probe was answered (P4.9).
    Answer {
        /// By whom.
        peer: PeerName,
        /// The probe's token.
        token: u64,
        /// Length of the record that arrived there.
        length: u16,
        /// Where it came from, as the peer saw it.
        seen: SocketAddr,
        /// Where the answer came from.
        from: SocketAddr,
        /// What had arrived there of what was sent on this path, if the peer counts.
        arrived: Option<Arrived>,
    },
    /// An authentic record came from another address than the one before.
    Moved {
        /// Whose.
        peer: PeerName,
        /// The address.
        from: SocketAddr,
    },
}

/// What is counted for [`Coalescing`](crate::coalescing::Coalescing).
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) in_trains: AtomicU64,
    pub(crate) forged_in_trains: AtomicU64,
    pub(crate) forged_singly: AtomicU64,
}

impl Tally {
    const fn forged(&self, in_train: bool) -> &AtomicU64 {
        if in_train { &self.forged_in_trains } else { &self.forged_singly }
    }
}

/// Receives for all peers. Driven by whoever owns it: a [`turn`](Self::turn) for as long as there is something, then a wait for
/// one of [`fds`](Self::fds) to be readable.
pub struct Receiver {
    pub(crate) shared: Shared,
    sessions: Sessions,
    memory: Vec<u8>,
    meta: [RecvMeta; MESSAGES],
    /// Messages to ask for next.
    ask: usize,
    full_batches: u32,
}

/// What a receiver has in common with the transport, and what each datagram needs.
pub(crate) struct Shared {
    pub(crate) socket: Arc<Socket>,
    pub(crate) changes: Changes<Change>,
    pub(crate) wake: Arc<EventFd>,
    /// Records that belong to no peer.
    pub(crate) drops: Arc<DropCounters>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) events: Box<dyn Fn(UdpEvent) + Send>,
}

impl Receiver {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            sessions: Sessions::default(),
            memory: vec![0; MESSAGES * MESSAGE_LEN],
            meta: [RecvMeta::default(); MESSAGES],
            ask: MESSAGES,
            full_batches: 0,
        }
    }

    /// Takes one batch from the socket and hands its frames over. `false` when there was none; then nothing is held back any more.
    pub fn turn(&mut self) -> bool {
        let Self { shared, sessions, memory, meta, ask, full_batches } = self;
        shared.changes.try_iter().for_each(|change| sessions.apply(change));
        let received = {
            let mut rest = memory.chunks_mut(MESSAGE_LEN);
            let mut buffers: [_; MESSAGES] =
                std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
            shared.socket.recv(&mut buffers[..*ask], &mut meta[..*ask])
        };
        match received {
            Ok(n) => {
                let bytes: usize = meta[..n].iter().map(|m| m.len).sum();
                *ask = if bytes >= n * TRAIN_LEN { TRAIN_MESSAGES } else { MESSAGES };
                *full_batches += 1;
                if *full_batches == FULL_BATCHES {
                    sessions.flush(flush);
                    *full_batches = 0;
                }
                for (message, meta) in memory.chunks_mut(MESSAGE_LEN).zip(&meta[..n]) {
                    shared.message(sessions, message, meta);
                }
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // Nothing more is on its way: what a train still lacks is lost.
                sessions.flush(flush);
                *full_batches = 0;
                false
            }
            // An ICMP error for something sent earlier, and the next call gives datagrams again; or the network is down for
            // longer, and this thread must not spin.
            Err(_) => {
                std::thread::sleep(AFTER_ERROR);
                true
            }
        }
    }

    /// What is readable when a turn is due: the socket, and news from the control side.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.shared.socket.as_fd(), self.shared.wake.as_fd()]
    }

    /// Notes that the second of [`fds`](Self::fds) was readable.
    pub fn heard(&self) {
        let _ = self.shared.wake.read();
    }

    /// Takes turns on this thread until told to stop.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            if !self.turn() {
                let mut fds = self.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                // An interrupted poll is as good as a finished one.
                let _ = poll(&mut fds, PollTimeout::NONE);
                if fds[1].revents().is_some_and(|r| r.contains(PollFlags::POLLIN)) {
                    self.heard();
                }
            }
        }
    }
}

impl Shared {
    /// Takes one message apart, which may be a train.
    fn message(&self, sessions: &mut Sessions, message: &mut [u8], meta: &RecvMeta) {
        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        let message = message.get_mut(..meta.len).unwrap_or_default();
        let in_train = meta.stride < meta.len;
        if in_train {
            let records = message.len().div_ceil(meta.stride.max(1));
            self.tally.in_trains.fetch_add(records as u64, Ordering::Relaxed);
        }
        for datagram in message.chunks_mut(meta.stride.max(1)) {
            self.datagram(sessions, datagram, from, in_train);
        }
    }

    fn datagram(&self, sessions: &mut Sessions, datagram: &mut [u8], from: SocketAddr, in_train: bool) {
        let Ok(header) = RecordHeader::decode(datagram) else {
            return self.drops.add(Drop::Malformed, 1);
        };
        let Some(session) = sessions.get(header.index) else {
            return self.drops.add(Drop::UnknownSession, 1);
        };
        let drops = |session: &Session, reason| session.path.counters().drops.add(reason, 1);
        let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
        let payload = match session.opener.open(&header, datagram) {
            Ok(payload) => payload,
            Err(OpenError::Forged) => {
                self.tally.forged(in_train).fetch_add(1, Ordering::Relaxed);
                session.path.count_forged();
                return drops(session, Drop::Forged);
            }
            Err(OpenError::Replayed) => return drops(session, Drop::Replayed),
        };
        if session.last_from != Some(from) {
            session.last_from = Some(from);
            (self.events)(UdpEvent::Moved { peer: session.inbox.peer(), from });
        }
        match Payload::decode(payload) {
            Ok(Payload::Frame { flags, csum_start, csum_offset, frame }) => {
                session.path.count_opened();
                let len = frame.len();
                let hdr = VnetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start, csum_offset };
                join(session);
                deliver_in_place(session, datagram, &hdr, len);
                if !session.inbox.is_empty() {
                    sessions.gathers(header.index);
                }
            }
            Ok(Payload::Slice { meta, headers, payload }) => {
                session.path.count_opened();
                let Session { joiner, path, inbox, .. } = session;
                let mut out = |bytes: &[u8]| inbox.frame(bytes, path.counters());
                match joiner.push(&meta, headers, payload, &mut out) {
                    Ok(()) if joiner.is_empty() => {}
                    Ok(()) => sessions.gathers(header.index),
                    Err(_) => drops(session, Drop::Malformed),
                }
            }
            Ok(Payload::Probe { token }) => {
                if session.path.answer(from, token, length).is_err() {
                    drops(session, Drop::SendError);
                }
            }
            Ok(Payload::Answer { token, length, seen, arrived }) => {
                let peer = session.inbox.peer();
                (self.events)(UdpEvent::Answer { peer, token, length, seen, from, arrived });
            }
            Err(_) => drops(session, Drop::Malformed),
        }
    }
}

/// Hands over everything the session holds back.
fn flush(session: &mut Session) {
    join(session);
    session.inbox.flush(session.path.counters());
}

/// Ends the train that is being joined.
fn join(session: &mut Session) {
    let Session { joiner, path, inbox, .. } = session;
    joiner.flush(&mut |bytes: &[u8]| inbox.frame(bytes, path.counters()));
}

/// The frame's header goes right before it, over bytes of the record that are no longer needed: no copy of the frame.
fn deliver_in_place(session: &mut Session, datagram: &mut [u8], hdr: &VnetHdr, len: usize) {
    const FRAME: usize = RECORD_HEADER + FRAME_HEADER;
    const HEADER: usize = FRAME - VnetHdr::LEN;
    let Some(bytes) = datagram.get_mut(HEADER..FRAME + len) else { return };
    if let Some(room) = bytes.first_chunk_mut() {
        hdr.write_host(room);
    }
    session.inbox.frame(bytes, session.path.counters());
}
