//! [`TlsPath`]: frames and relayed records inside the link, and the link's sending end.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBufForce;
use packet::SuperFrame;
use tokio::io::Interest;
use tokio::sync::Notify;
use transport::{Batch, BatchEnd, Drop, FramePath, HopPath, PathCounters, PathKind};
use wire::{
    GroupHeader, Hops, MAX_HOPS, PeerName, encode_frame_header, encode_group_frame_header,
    encode_relayed_header,
};

use crate::congestion::Anew;
use crate::queue::Queue;
use crate::record::{Alert, RecordSealer, layout};
use crate::watched::{Watched, watch};
use crate::writer::{Pumped, Writer};

/// A batch is sent at this size, so that the other end works on it while more is being read from the TAP.
const BATCH_LIMIT: usize = 64 * 1024;
/// The longest relayed record with its names: no record is longer than a datagram, and the names always find room beside it.
const MAX_RELAYED: usize = u16::MAX as usize + MAX_HOPS * PeerName::LEN;
/// Bytes that may be under way, as they are asked for: the kernel doubles that. What has come through behind a lost segment counts until
/// that one has come through too; so on a lossy path this is what two round trips carry, and more where a segment is lost twice.
const UNDER_WAY: usize = 8 * 1024 * 1024;
/// How long an ending link may go on without the other end taking anything.
const LINGER: Duration = Duration::from_secs(1);

/// The frame path of one link.
///
/// The thread that has frames seals and sends them itself when nothing waits before them; otherwise they wait for the link's task.
pub struct TlsPath {
    /// Only tells when the kernel takes more: who reads it does not concern the sending end.
    tcp: Watched,
    queue: Queue,
    writer: Mutex<Writer>,
    anew: Anew,
    /// Something waits.
    wake: Notify,
    /// The link ends: no more patience with a socket that takes nothing.
    ending: Notify,
    counters: PathCounters,
}

impl TlsPath {
    /// For a socket that does not block.
    ///
    /// # Errors
    /// When the runtime cannot watch one more.
    pub(crate) fn new(tcp: Arc<TcpStream>, sealer: RecordSealer) -> io::Result<Self> {
        let anew = Anew::of(&*tcp);
        Ok(Self {
            tcp: watch(tcp, Interest::WRITABLE)?,
            queue: Queue::default(),
            writer: Mutex::new(Writer::new(sealer)),
            anew,
            wake: Notify::new(),
            ending: Notify::new(),
            counters: PathCounters::default(),
        })
    }

    /// Queues a control message; `false` when the link is gone or stuck.
    pub(crate) fn control(&self, message: Vec<u8>) -> bool {
        let taken = self.queue.push_control(message, false);
        self.wake.notify_one();
        taken
    }

    /// Closes the path, then the link: after what waits of control messages, and the last word.
    pub(crate) fn end(&self, last_word: Option<Vec<u8>>) {
        self.counters.drops.add(Drop::Closed, self.queue.close());
        if let Some(message) = last_word {
            self.queue.push_control(message, true);
        }
        self.queue.end();
        self.ending.notify_one();
        self.wake.notify_one();
    }

    /// Takes the connection down, whatever still waits.
    pub(crate) fn shut_down(&self) {
        self.end(None);
        // It may be down already. The socket itself goes when the last snapshot that names this path does.
        let _ = socket2::SockRef::from(&**self.tcp.get_ref()).shutdown(Shutdown::Both);
    }

    /// Has the writer answer the other end's key update.
    pub(crate) fn want_key_update(&self) {
        self.queue.want_key_update();
        self.wake.notify_one();
    }

    /// Tells the other end that it sent nonsense, if that is possible at once.
    pub(crate) fn give_up(&self, alert: Alert) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.give_up(alert, |bytes| self.try_write(bytes));
    }

    /// The link's writing task: sends what could not be sent at once, until the link ends or the connection breaks.
    pub(crate) async fn write(self: Arc<Self>) -> io::Result<()> {
        loop {
            match self.pump()? {
                Pumped::More => tokio::task::yield_now().await,
                Pumped::Idle => self.wake.notified().await,
                Pumped::Blocked if self.queue.is_ending() => {
                    tokio::time::timeout(LINGER, self.writable()).await??;
                }
                Pumped::Blocked => tokio::select! {
                    ready = self.writable() => ready?,
                    () = self.ending.notified() => {}
                },
                Pumped::Ended => {
                    return socket2::SockRef::from(&**self.tcp.get_ref()).shutdown(Shutdown::Write);
                }
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.try_io(Interest::WRITABLE, |tcp| (&**tcp).write(bytes))
    }

    async fn writable(&self) -> io::Result<()> {
        self.tcp.writable().await.map(|mut ready| ready.retain_ready())
    }

    fn pump(&self) -> io::Result<Pumped> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = writer.chunk();
        let pumped = writer.pump(Instant::now(), &self.queue, |bytes| self.try_write(bytes));
        let taken = writer.taken();
        self.counters.sent(taken.frames, taken.frame_bytes);
        if writer.chunk() != chunk {
            leave_unsent(&**self.tcp.get_ref(), writer.chunk())?;
        }
        pumped
    }

    /// Makes sure that a frame may go into the batch, and that the batch does not grow too long with it.
    fn begin(&self, frames: u64, len: usize, batch: &mut Batch) -> Result<(), Drop> {
        if self.queue.is_closed() {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        if batch.bytes.len() + len > BATCH_LIMIT {
            self.flush(batch);
        }
        Ok(())
    }

    /// Sends a batch from this thread; `false` when others are before it.
    fn send_now(&self, batch: &mut Batch) -> bool {
        // The one lock that a batch takes. Nobody waits for it: who finds it taken leaves the frames to the one that has it.
        let Ok(mut writer) = self.writer.try_lock() else { return false };
        if !writer.is_free(&self.queue) {
            return false;
        }
        layout::close(&mut batch.bytes, 0);
        if writer.quiet().ends(Instant::now(), batch.bytes.len()) {
            self.anew.begin(&**self.tcp.get_ref());
        }
        match writer.direct(&mut batch.bytes, |bytes| self.try_write(bytes)) {
            Ok(true) => self.counters.sent(batch.frames, batch.frame_bytes),
            Ok(false) => {
                self.counters.sent(batch.frames, batch.frame_bytes);
                self.wake.notify_one();
            }
            Err(_) => {
                self.counters.drops.add(Drop::SendError, batch.frames);
                self.wake.notify_one();
            }
        }
        true
    }
}

impl FramePath for TlsPath {
    fn kind(&self) -> PathKind {
        PathKind::Tls
    }

    fn max_frame(&self) -> usize {
        packet::MAX_FRAME
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let bytes = frame.frame();
        self.begin(frame.segments() as u64, bytes.len(), batch)?;
        layout::append(&mut batch.bytes, 0, &encode_frame_header(&frame.hdr(), bytes.len()));
        layout::append(&mut batch.bytes, 0, bytes);
        end(frame.segments() as u64, bytes.len(), batch);
        Ok(())
    }

    fn flush(&self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        if self.queue.is_closed() {
            self.counters.drops.add(Drop::Closed, batch.frames);
        } else if !self.send_now(batch) {
            self.counters.drops.add(Drop::QueueFull, self.queue.push_frames(batch));
            self.wake.notify_one();
        }
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl HopPath for TlsPath {
    fn send_group(&self, group: &GroupHeader, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let bytes = frame.frame();
        self.begin(frame.segments() as u64, bytes.len(), batch)?;
        layout::append(&mut batch.bytes, 0, &encode_group_frame_header(group, &frame.hdr(), bytes.len()));
        layout::append(&mut batch.bytes, 0, bytes);
        end(frame.segments() as u64, bytes.len(), batch);
        Ok(())
    }

    fn max_relayed(&self) -> usize {
        MAX_RELAYED
    }

    fn relay(&self, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        if hops.bytes().len() + record.len() > MAX_RELAYED {
            return Err(self.counters.dropped(Drop::TooBig, 1));
        }
        self.begin(1, record.len(), batch)?;
        layout::append(&mut batch.bytes, 0, &encode_relayed_header(hops, record.len()));
        layout::append(&mut batch.bytes, 0, hops.bytes());
        layout::append(&mut batch.bytes, 0, record);
        end(1, record.len(), batch);
        Ok(())
    }
}

/// Bounds what may wait unsent in the kernel (tcp(7), TCP_NOTSENT_LOWAT): a control message cannot overtake it there.
pub(crate) fn leave_unsent(tcp: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    socket2::SockRef::from(tcp).set_tcp_notsent_lowat(bytes)
}

/// Lets as much be under way as a long and lossy path takes. By itself the kernel allows 4 MiB (tcp(7), tcp_wmem): with 1 % lost and a round
/// trip of 50 ms those are full above 200 Mb/s, and frames are dropped before a path that has room. It costs nothing where less is under
/// way, since what waits unsent has a bound of its own.
pub(crate) fn let_fly(tcp: &impl AsFd) {
    // Who may not has the kernel's bound.
    let _ = setsockopt(tcp, SndBufForce, &UNDER_WAY);
}

/// Notes that a frame, or a relayed record, ends where the batch does.
fn end(frames: u64, len: usize, batch: &mut Batch) {
    let frame_bytes = len as u64;
    batch.ends.push(BatchEnd { at: layout::content_len(batch.bytes.len()), frames, frame_bytes });
    batch.frames += frames;
    batch.frame_bytes += frame_bytes;
}
