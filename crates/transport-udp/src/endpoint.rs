//! [`UdpTransport`]: the socket, and the door to the receiver's table of sessions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use records::{Session, UdpEvent};
use session::Opener;
use transport::{DropCounters, FrameSink, Inbox};
use wire::PeerName;

use crate::coalescing::{Coalescing, Received};
use crate::inside::{Inside, Waiting};
use crate::receiver::{Receiver, Shared, Tally};
use crate::sessions::{Change, Entry};
use crate::{Socket, UdpPath};

/// Why there is no UDP.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// A thread or descriptor could not be had.
    #[error("cannot start receiving UDP: {0}")]
    Start(#[source] io::Error),
}

/// UDP for all peers of this router.
pub struct UdpTransport {
    socket: Arc<Socket>,
    sink: Arc<dyn FrameSink>,
    pub(crate) changes: Sender<Change>,
    pub(crate) wake: Arc<EventFd>,
    /// Further sockets (P6.7), and the number of the next.
    pub(crate) watched: Arc<Epoll>,
    pub(crate) next_extra: u64,
    waiting: Arc<Waiting>,
    drops: Arc<DropCounters>,
    tally: Arc<Tally>,
    coalescing: Coalescing,
    /// With what stops it.
    thread: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl UdpTransport {
    /// Takes a bound socket. The receiver is the caller's to drive, on a thread of its choice; `events` is called from there and
    /// must not block.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn open(
        socket: Socket,
        sink: Arc<dyn FrameSink>,
        events: Box<dyn Fn(UdpEvent) + Send>,
    ) -> Result<(Self, Receiver), UdpError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|e| UdpError::Start(e.into()))?;
        let watched = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| UdpError::Start(e.into()))?;
        let (changes, queue) = channel();
        let transport = Self {
            socket: Arc::new(socket),
            sink,
            changes,
            wake: Arc::new(wake),
            watched: Arc::new(watched),
            next_extra: 1,
            waiting: Arc::default(),
            drops: Arc::new(DropCounters::default()),
            tally: Arc::new(Tally::default()),
            coalescing: Coalescing::new(),
            thread: None,
        };
        let receiver = Receiver::new(Shared {
            socket: Arc::clone(&transport.socket),
            changes: queue,
            wake: Arc::clone(&transport.wake),
            watched: Arc::clone(&transport.watched),
            waiting: Arc::clone(&transport.waiting),
            drops: Arc::clone(&transport.drops),
            tally: Arc::clone(&transport.tally),
            sink: Arc::clone(&transport.sink),
            events,
        });
        Ok((transport, receiver))
    }

    /// As [`open`](Self::open), with a thread that drives the receiver until the transport is dropped.
    ///
    /// # Errors
    /// When the system has no descriptor or thread left.
    pub fn start(
        socket: Socket,
        sink: Arc<dyn FrameSink>,
        events: Box<dyn Fn(UdpEvent) + Send>,
    ) -> Result<Self, UdpError> {
        let (mut transport, receiver) = Self::open(socket, sink, events)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("udp-receive".into())
            .spawn(move || receiver.run(&stopped))
            .map_err(UdpError::Start)?;
        transport.thread = Some((stop, thread));
        Ok(transport)
    }

    /// The socket, for paths.
    pub fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Opens records of the neighbour `peer` with this index from now on. Those with an index that is not known go to
    /// [`FrameSink::record`].
    pub fn install(&self, index: u32, peer: PeerName, opener: Opener, path: Arc<UdpPath>) {
        let inbox = Inbox::new(peer, Arc::clone(&self.sink));
        let session = Session::with_neighbour(opener, inbox);
        self.waiting.known().insert(index);
        self.change(Change::Install(index, Box::new(Entry { session, path, last_from: None })));
    }

    /// Forgets an index.
    pub fn remove(&self, index: u32) {
        self.waiting.known().remove(&index);
        self.change(Change::Remove(index));
    }

    /// Where records of neighbours' sessions go that came inside a link (P4.12).
    pub fn inside(&self) -> Inside {
        Inside {
            changes: self.changes.clone(),
            wake: Arc::clone(&self.wake),
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// Looks once a second whether what the kernel puts together (UDP_GRO) is sound, and has it stop where it is not. Gives what
    /// changed.
    pub fn tick(&mut self, now: Instant) -> Option<bool> {
        if self.socket.no_coalescing().is_some() {
            return None;
        }
        let before = self.coalescing.allowed();
        let received = Received {
            in_trains: self.tally.in_trains.load(Ordering::Relaxed),
            forged_in_trains: self.tally.forged_in_trains.load(Ordering::Relaxed),
            forged_singly: self.tally.forged_singly.load(Ordering::Relaxed),
        };
        self.coalescing.handle_tick(now, received);
        let allowed = self.coalescing.allowed();
        // A socket that cannot be told goes on as it is.
        let changed = allowed != before && self.socket.coalesce(allowed).is_ok();
        if changed {
            self.change(Change::Coalesce(allowed));
        }
        changed.then_some(allowed)
    }

    /// Why the kernel does not put datagrams together that arrive, if so.
    pub fn no_coalescing(&self) -> Option<&'static str> {
        let damaged = "records that arrived together did not open";
        self.socket.no_coalescing().or_else(|| (!self.coalescing.allowed()).then_some(damaged))
    }

    /// Records that belonged to no peer, by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    pub(crate) fn change(&self, change: Change) {
        // The receiver outlives the transport; if its thread died there is nobody to tell.
        let _ = self.changes.send(change);
        let _ = self.wake.write(1);
    }
}

impl Drop for UdpTransport {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            stop.store(true, Ordering::Release);
            let _ = self.wake.write(1);
            let _ = thread.join();
        }
    }
}
