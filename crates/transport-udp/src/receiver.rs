//! The receiving thread: datagrams in, frames out.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver as Changes;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use packet::VnetHdr;
use quinn_udp::RecvMeta;
use session::OpenError;
use transport::{Drop, DropCounters, FramePath as _, FrameSink, TapFrame};
use wire::{FRAME_HEADER, Payload, PeerName, RECORD_HEADER, RecordHeader};

use crate::Socket;
use crate::sessions::{Change, Session, Sessions};

/// Messages of one recvmmsg. With UDP_GRO each can hold a train, so this many trains are opened before the TAP sees the first.
const MESSAGES: usize = 8;
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
    },
    /// An authentic record came from another address than the one before.
    Moved {
        /// Whose.
        peer: PeerName,
        /// The address.
        from: SocketAddr,
    },
}

pub(crate) struct Receiver {
    pub(crate) socket: Arc<Socket>,
    pub(crate) sink: Arc<dyn FrameSink>,
    pub(crate) changes: Changes<Change>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Records that belong to no peer.
    pub(crate) drops: Arc<DropCounters>,
    pub(crate) events: Box<dyn Fn(UdpEvent) + Send>,
}

impl Receiver {
    /// Runs until told to stop.
    pub(crate) fn run(self) {
        let mut sessions = Sessions::default();
        let mut memory = vec![0; MESSAGES * MESSAGE_LEN];
        let mut meta = [RecvMeta::default(); MESSAGES];
        while !self.stop.load(Ordering::Acquire) {
            self.changes.try_iter().for_each(|change| sessions.apply(change));
            let received = {
                let mut buffers: Vec<_> = memory.chunks_mut(MESSAGE_LEN).map(IoSliceMut::new).collect();
                self.socket.recv(&mut buffers, &mut meta)
            };
            match received {
                Ok(n) => {
                    for (message, meta) in memory.chunks_mut(MESSAGE_LEN).zip(&meta[..n]) {
                        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
                        let message = message.get_mut(..meta.len).unwrap_or_default();
                        for datagram in message.chunks_mut(meta.stride.max(1)) {
                            self.datagram(&mut sessions, datagram, from);
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Nothing more is on its way: what a train still lacks is lost.
                    sessions.flush(|session| flush(session, &*self.sink));
                    self.wait();
                }
                // An ICMP error for something sent earlier, and the next call gives datagrams again; or the network is down for
                // longer, and this thread must not spin.
                Err(_) => std::thread::sleep(AFTER_ERROR),
            }
        }
    }

    fn datagram(&self, sessions: &mut Sessions, datagram: &mut [u8], from: SocketAddr) {
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
            Err(OpenError::Forged) => return drops(session, Drop::Forged),
            Err(OpenError::Replayed) => return drops(session, Drop::Replayed),
        };
        if session.last_from != Some(from) {
            session.last_from = Some(from);
            (self.events)(UdpEvent::Moved { peer: session.peer, from });
        }
        match Payload::decode(payload) {
            Ok(Payload::Frame { flags, csum_start, csum_offset, frame }) => {
                let len = frame.len();
                flush(session, &*self.sink);
                let hdr = VnetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start, csum_offset };
                deliver_in_place(session, &*self.sink, datagram, &hdr, len);
            }
            Ok(Payload::Slice { meta, headers, payload }) => {
                let Session { joiner, path, peer, .. } = session;
                let mut out = |bytes: &[u8]| emit(&*self.sink, path, *peer, bytes);
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
            Ok(Payload::Answer { token, length, seen }) => {
                (self.events)(UdpEvent::Answer { peer: session.peer, token, length, seen, from });
            }
            Err(_) => drops(session, Drop::Malformed),
        }
    }

    fn wait(&self) {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted poll is as good as a finished one.
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[1].revents().is_some_and(|r| r.contains(PollFlags::POLLIN)) {
            let _ = self.wake.read();
        }
    }
}

fn flush(session: &mut Session, sink: &dyn FrameSink) {
    let Session { joiner, path, peer, .. } = session;
    joiner.flush(&mut |bytes: &[u8]| emit(sink, path, *peer, bytes));
}

/// The frame's header goes right before it, over bytes of the record that are no longer needed: no copy of the frame.
fn deliver_in_place(session: &Session, sink: &dyn FrameSink, datagram: &mut [u8], hdr: &VnetHdr, len: usize) {
    const FRAME: usize = RECORD_HEADER + FRAME_HEADER;
    const HEADER: usize = FRAME - VnetHdr::LEN;
    let Some(bytes) = datagram.get_mut(HEADER..FRAME + len) else { return };
    if let Some(room) = bytes.first_chunk_mut() {
        hdr.write_host(room);
    }
    emit(sink, &session.path, session.peer, bytes);
}

fn emit(sink: &dyn FrameSink, path: &crate::UdpPath, peer: PeerName, bytes: &[u8]) {
    let counters = path.counters();
    match TapFrame::checked(bytes) {
        Ok(frame) => {
            counters.received(frame.frame().segments() as u64, frame.frame().frame().len() as u64);
            sink.deliver(peer, frame);
        }
        Err(_) => counters.drops.add(Drop::Malformed, 1),
    }
}
