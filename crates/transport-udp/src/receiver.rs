//! The receiving thread: datagrams in, frames out.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver as Changes;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::Epoll;
use nix::sys::eventfd::EventFd;
use quinn_udp::RecvMeta;
use records::{Content, DirectPath as _, UdpEvent};
use session::OpenError;
use transport::{Drop, DropCounters, FramePath as _, FrameSink, Outbox};
use wire::{PeerName, RecordHeader, RelayHeader};

use crate::inside::Waiting;
use crate::sessions::{Change, Entry, Sessions};
use crate::{Socket, UdpPath};

/// Messages of one recvmmsg at most: what `quinn_udp` takes.
const MESSAGES: usize = quinn_udp::BATCH_SIZE;
/// The same while messages are trains (UDP_GRO): so many stay in the processor's second-level cache until they are opened.
const TRAIN_MESSAGES: usize = 8;
/// The same after there was nothing: what each message needs is prepared before one can come.
const FEW_MESSAGES: usize = 2;
/// A message from this length on, in bytes, is a train.
const TRAIN_LEN: usize = 8 * 1024;
/// Full batches after which everything held back goes out: one busy peer must not hold up what another has sent.
const FULL_BATCHES: u32 = 8;
/// Longest message the kernel coalesces.
const MESSAGE_LEN: usize = 65_536;

/// How long to keep still after an error of the socket.
const AFTER_ERROR: Duration = Duration::from_millis(1);

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
/// [`socket`](Self::socket) or one of the [`rare`](Self::rare) ones to be readable.
pub struct Receiver {
    pub(crate) shared: Shared,
    pub(crate) sessions: Sessions,
    /// What the sink passes on. It leaves at the end of each batch.
    outbox: Outbox,
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
    /// Tells which further sockets have something.
    pub(crate) watched: Arc<Epoll>,
    pub(crate) waiting: Arc<Waiting>,
    /// Records that belong to no peer.
    pub(crate) drops: Arc<DropCounters>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) sink: Arc<dyn FrameSink>,
    pub(crate) events: Box<dyn Fn(UdpEvent) + Send>,
}

impl Receiver {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            sessions: Sessions::default(),
            outbox: Outbox::new(),
            memory: vec![0; MESSAGES * MESSAGE_LEN],
            meta: [RecvMeta::default(); MESSAGES],
            ask: MESSAGES,
            full_batches: 0,
        }
    }

    /// Takes one batch from each socket and hands its frames over. `false` when there was none; then nothing is held back any more.
    pub fn turn(&mut self) -> bool {
        self.shared.take_changes(&mut self.sessions, &mut self.outbox);
        let mut some = self.batch(None);
        if self.sessions.has_extras() {
            some |= self.extra_batches();
        }
        if !some {
            // Nothing more is on its way: what a train still lacks is lost.
            self.sessions.flush(|entry| flush(entry, &mut self.outbox));
            self.outbox.flush();
            self.full_batches = 0;
            self.ask = FEW_MESSAGES;
        }
        some
    }

    /// Takes one batch from a further socket, or from the one of all; whether there was one.
    pub(crate) fn batch(&mut self, extra: Option<&Socket>) -> bool {
        let Self { shared, sessions, outbox, memory, meta, ask, full_batches } = self;
        let socket = extra.unwrap_or(&shared.socket);
        let received = {
            let mut rest = memory.chunks_mut(MESSAGE_LEN);
            let mut buffers: [_; MESSAGES] =
                std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
            socket.recv(&mut buffers[..*ask], &mut meta[..*ask])
        };
        match received {
            Ok(n) => {
                let bytes: usize = meta[..n].iter().map(|m| m.len).sum();
                *ask = if bytes >= n * TRAIN_LEN { TRAIN_MESSAGES } else { MESSAGES };
                *full_batches += 1;
                if *full_batches == FULL_BATCHES {
                    sessions.flush(|entry| flush(entry, outbox));
                    *full_batches = 0;
                }
                for (message, meta) in memory.chunks_mut(MESSAGE_LEN).zip(&meta[..n]) {
                    shared.message(sessions, message, meta, outbox);
                }
                // What came as a train leaves as one: nothing of it was sent yet, unless it was more than one train.
                outbox.flush();
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            // An ICMP error for something sent earlier, and the next call gives datagrams again; or the network is down for
            // longer, and this thread must not spin.
            Err(_) => {
                if !shared.take_errors(socket) {
                    std::thread::sleep(AFTER_ERROR);
                }
                true
            }
        }
    }

    /// Readable when a turn is due; an error of it is told by [`troubled`](Self::troubled).
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }

    /// Readable when a turn is due, but seldom: news from the control side, and whatever tells of further sockets.
    pub fn rare(&self) -> [BorrowedFd<'_>; 2] {
        [self.shared.wake.as_fd(), self.shared.watched.0.as_fd()]
    }

    /// Takes note of the news. To be called when one of the [`rare`](Self::rare) ones was readable.
    pub fn heard(&self) {
        let _ = self.shared.wake.read();
    }

    /// Takes turns on this thread until told to stop.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            if !self.turn() {
                let [news, others] = self.rare();
                let mut fds = [self.socket(), news, others].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                // An interrupted poll is as good as a finished one.
                let _ = poll(&mut fds, PollTimeout::NONE);
                if fds[1].revents().is_some_and(|r| r.contains(PollFlags::POLLIN)) {
                    self.heard();
                }
                if fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLERR)) {
                    self.troubled();
                }
            }
        }
    }
}

impl Shared {
    /// Takes one message apart, which may be a train.
    fn message(&self, sessions: &mut Sessions, message: &mut [u8], meta: &RecvMeta, out: &mut Outbox) {
        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        let message = message.get_mut(..meta.len).unwrap_or_default();
        let in_train = meta.stride < meta.len;
        if in_train {
            let records = message.len().div_ceil(meta.stride.max(1));
            self.tally.in_trains.fetch_add(records as u64, Ordering::Relaxed);
        }
        let mut way = Way { sessions, from, in_train, out };
        for datagram in message.chunks_mut(meta.stride.max(1)) {
            self.datagram(&mut way, datagram);
        }
    }

    fn datagram(&self, way: &mut Way<'_>, datagram: &mut [u8]) {
        if datagram.first().copied().is_some_and(RelayHeader::is_type) {
            return self.relayed(way, datagram);
        }
        let Ok(header) = RecordHeader::decode(datagram) else {
            return self.drops.add(Drop::Malformed, 1);
        };
        let from = way.from;
        let Some(Entry { session, path, last_from }) = way.sessions.get(header.index) else {
            // Perhaps it is of a session with a peer that is no neighbour.
            if let Err(reason) = self.sink.record(from, datagram, way.out) {
                self.drops.add(reason, 1);
            }
            return;
        };
        let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
        let content = match session.open(&header, datagram, path.counters(), way.out) {
            Ok(content) => content,
            Err(e) => return self.not_opened(e, path, way.in_train),
        };
        let peer = session.peer();
        self.came(peer, last_from, from);
        match content {
            Content::Frame => {
                path.count_opened();
                if !session.is_empty() {
                    way.sessions.gathers(header.index);
                }
            }
            Content::Probe { token } => path.answer(from, token, length),
            Content::Answer { token, length, seen, arrived } => {
                (self.events)(UdpEvent::Answer { peer, token, length, seen, from, arrived });
            }
            Content::Malformed => {}
        }
    }

    /// A record of other peers' session, or of one of ours with a peer that is no neighbour (P6.4).
    fn relayed(&self, way: &mut Way<'_>, datagram: &mut [u8]) {
        let Ok((header, record)) = RelayHeader::split(datagram) else {
            return self.drops.add(Drop::Malformed, 1);
        };
        let Some(Entry { session, path, last_from }) = way.sessions.get(header.index) else {
            return self.drops.add(Drop::UnknownSession, 1);
        };
        match session.relay(&header, record, path.counters(), way.out) {
            Ok(()) => {
                path.count_opened();
                self.came(session.peer(), last_from, way.from);
            }
            Err(e) => self.not_opened(e, path, way.in_train),
        }
    }

    /// An authentic record came from this address.
    fn came(&self, peer: PeerName, last_from: &mut Option<SocketAddr>, from: SocketAddr) {
        if last_from.replace(from) != Some(from) {
            (self.events)(UdpEvent::Moved { peer, from });
        }
    }

    #[cold]
    fn not_opened(&self, e: OpenError, path: &UdpPath, in_train: bool) {
        if e == OpenError::Forged {
            self.tally.forged(in_train).fetch_add(1, Ordering::Relaxed);
            path.count_forged();
        }
    }
}

/// What the datagrams of one message have in common.
struct Way<'a> {
    sessions: &'a mut Sessions,
    from: SocketAddr,
    in_train: bool,
    out: &'a mut Outbox,
}

/// Hands over everything the session holds back.
fn flush(entry: &mut Entry, out: &mut Outbox) {
    entry.session.flush(entry.path.counters(), out);
}
