//! [`UdpTransport`]: the socket, the receiving thread, and the door to its table of sessions.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};
use packet::Joiner;
use session::Opener;
use transport::{DropCounters, FrameSink};
use wire::PeerName;

use crate::receiver::Receiver;
use crate::sessions::{Change, Session};
use crate::{Socket, UdpEvent, UdpPath};

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
    changes: Sender<Change>,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    drops: Arc<DropCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl UdpTransport {
    /// Starts to receive on a bound socket. `events` is called from the receiving thread and must not block.
    ///
    /// # Errors
    /// When the system has no descriptor or thread left.
    pub fn start(
        socket: Socket,
        sink: Arc<dyn FrameSink>,
        events: Box<dyn Fn(UdpEvent) + Send>,
    ) -> Result<Self, UdpError> {
        let socket = Arc::new(socket);
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|e| UdpError::Start(e.into()))?;
        let (changes, queue) = channel();
        let transport = Self {
            socket,
            changes,
            wake: Arc::new(wake),
            stop: Arc::new(AtomicBool::new(false)),
            drops: Arc::new(DropCounters::default()),
            thread: Mutex::new(None),
        };
        let receiver = Receiver {
            socket: Arc::clone(&transport.socket),
            sink,
            changes: queue,
            wake: Arc::clone(&transport.wake),
            stop: Arc::clone(&transport.stop),
            drops: Arc::clone(&transport.drops),
            events,
        };
        let thread = std::thread::Builder::new()
            .name("udp-receive".into())
            .spawn(move || receiver.run())
            .map_err(UdpError::Start)?;
        *transport.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(transport)
    }

    /// The socket, for paths.
    pub fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Opens records with this index from now on.
    pub fn install(&self, index: u32, peer: PeerName, opener: Opener, path: Arc<UdpPath>) {
        let session = Session { peer, opener, joiner: Joiner::new(), path, last_from: None };
        self.change(Change::Install(index, Box::new(session)));
    }

    /// Forgets an index.
    pub fn remove(&self, index: u32) {
        self.change(Change::Remove(index));
    }

    /// Records that belonged to no peer, by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    fn change(&self, change: Change) {
        // The receiver outlives the transport; if its thread died there is nobody to tell.
        let _ = self.changes.send(change);
        let _ = self.wake.write(1);
    }
}

impl Drop for UdpTransport {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
