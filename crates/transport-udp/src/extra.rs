//! [`Extra`]: a further socket, for one path alone (P6.7).
//!
//! A NAT that gives each destination another port gives each socket another one too. Who opens many and sends from each to a
//! peer has as many outer ports that the peer may guess. Whichever the peer finds is the one that its path takes from then on:
//! a probe that opens shows it, and the path sends by that socket as long as it works. The one receiver reads all of them.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use wire::ANSWER_RECORD;

use crate::sessions::Change;
use crate::{Receiver, Socket, UdpPath, UdpTransport};

/// Sockets that are looked at in one turn.
const A_TURN: usize = 16;

/// A socket besides the one of the transport. Closed when the last who has it drops it: whoever opened it, and the path that
/// took it up.
pub struct Extra {
    id: u64,
    pub(crate) socket: Socket,
    path: Weak<UdpPath>,
    changes: Sender<Change>,
    wake: Arc<EventFd>,
}

impl Extra {
    /// Sends a short probe by this socket, sealed as those of its path are.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn probe(&self, to: SocketAddr, token: u64) -> io::Result<()> {
        let path = self.path.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        path.probe_by(&self.socket, to, token, ANSWER_RECORD as u16)
    }

    /// Its port on this host.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn port(&self) -> io::Result<u16> {
        self.socket.port()
    }
}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extra").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // The receiver may be gone already; then there is nobody to tell.
        let _ = self.changes.send(Change::Unwatch(self.id));
        let _ = self.wake.write(1);
    }
}

impl UdpTransport {
    /// Opens a further socket for a path of this transport, at the same address and a port of the kernel's choice.
    ///
    /// # Errors
    /// Those of the kernel; that there are too many open files is one.
    pub fn open_extra(&mut self, path: &Arc<UdpPath>) -> io::Result<Arc<Extra>> {
        let socket = self.socket().another()?;
        if self.no_coalescing().is_some() && socket.no_coalescing().is_none() {
            socket.coalesce(false)?;
        }
        let id = self.next_extra;
        self.next_extra += 1;
        let (changes, wake) = (self.changes.clone(), Arc::clone(&self.wake));
        let extra = Arc::new(Extra { id, socket, path: Arc::downgrade(path), changes, wake });
        // Known before it is watched: what comes by a socket that is not known would be left there.
        self.change(Change::Watch(id, Arc::downgrade(&extra)));
        self.watched.add(&extra.socket, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        Ok(extra)
    }
}

impl Receiver {
    /// Takes a batch from each of the further sockets that have something; whether there was any.
    pub(crate) fn extra_batches(&mut self) -> bool {
        let mut ready = [EpollEvent::empty(); A_TURN];
        let n = self.shared.watched.wait(&mut ready, EpollTimeout::ZERO).unwrap_or_default();
        let mut some = false;
        for event in ready.into_iter().take(n) {
            // One that is being closed leaves the watched ones in a moment.
            let Some(extra) = self.sessions.extra(event.data()) else { continue };
            let Some(path) = extra.path.upgrade() else { continue };
            if event.events().contains(EpollFlags::EPOLLERR) {
                some |= self.shared.take_errors(&extra.socket);
            }
            path.coming_by(Some(&extra));
            some |= self.batch(Some(&extra.socket));
            path.coming_by(None);
        }
        some
    }
}
