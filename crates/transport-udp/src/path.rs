//! [`UdpPath`]: sealing and sending to one peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use packet::SuperFrame;
use session::{SealError, Sealer};
use transport::{Batch, Drop, FramePath, PathCounters, PathKind};
use wire::{Arrived, Payload, RECORD_HEADER, TAG_LEN};

use crate::Socket;

/// Bytes of one train at most: UDP's limit over IPv4 (65 507) less a little, as the kernel counts headers in some releases.
const TRAIN_BYTES: usize = 65_000;
/// Datagrams of one train at most: UDP_MAX_SEGMENTS before Linux 6.9.
const TRAIN_DATAGRAMS: usize = 64;

/// Records with frames that were sent on a path since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// All of them.
    pub records: u64,
    /// Those that went in trains.
    pub in_trains: u64,
}

/// The way to one peer.
pub struct UdpPath {
    socket: Arc<Socket>,
    sealer: ArcSwap<Sealer>,
    remote: ArcSwap<SocketAddr>,
    max_frame: usize,
    train: AtomicU16,
    closed: AtomicBool,
    counters: PathCounters,
    /// Whether records may leave in trains.
    trains: AtomicBool,
    /// The error that a train was refused with and its datagrams were not; 0 for none.
    refusal: AtomicI32,
    sent: AtomicU64,
    sent_in_trains: AtomicU64,
    /// What P4.10 tells the peer. Only the receiving thread writes these two.
    opened: AtomicU64,
    forged: AtomicU64,
}

impl UdpPath {
    /// A way to `remote` for frames of up to `max_frame` bytes.
    pub fn new(socket: Arc<Socket>, sealer: Sealer, remote: SocketAddr, max_frame: usize) -> Self {
        let trains = socket.no_trains().is_none();
        Self {
            socket,
            sealer: ArcSwap::from_pointee(sealer),
            remote: ArcSwap::from_pointee(remote),
            max_frame,
            train: AtomicU16::new(0),
            closed: AtomicBool::new(false),
            counters: PathCounters::default(),
            trains: AtomicBool::new(trains),
            refusal: AtomicI32::new(0),
            sent: AtomicU64::new(0),
            sent_in_trains: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            forged: AtomicU64::new(0),
        }
    }

    /// Allows trains, or not. Until told otherwise a path sends them where the kernel can.
    pub fn set_trains(&self, allowed: bool) {
        self.trains.store(allowed && self.socket.no_trains().is_none(), Ordering::Relaxed);
    }

    /// Whether trains are sent.
    pub fn trains(&self) -> bool {
        self.trains.load(Ordering::Relaxed)
    }

    /// The error number that the kernel refused a train with while it took the same datagrams one by one, once. From then on
    /// the path sends no more trains until [`set_trains`](Self::set_trains).
    pub fn take_refusal(&self) -> Option<i32> {
        // Asked again and again, and mostly in vain: the cache line stays with those who send.
        if self.refusal.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.refusal.swap(0, Ordering::Relaxed)).filter(|errno| *errno != 0)
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        // In this order, so that there are never more in trains than in all.
        let in_trains = self.sent_in_trains.load(Ordering::Acquire);
        Sent { records: self.sent.load(Ordering::Relaxed), in_trains }
    }

    /// Counts a record with a frame that opened. For the receiving thread alone, which saves the bus lock.
    pub(crate) fn count_opened(&self) {
        self.opened.store(self.opened.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts a record that did not. For the receiving thread alone.
    pub(crate) fn count_forged(&self) {
        self.forged.store(self.forged.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes up the key of a new epoch.
    pub fn rekey(&self, sealer: Sealer) {
        self.sealer.store(Arc::new(sealer));
    }

    /// Where records go.
    pub fn remote(&self) -> SocketAddr {
        **self.remote.load()
    }

    /// Sends elsewhere from now on.
    pub fn set_remote(&self, remote: SocketAddr) {
        self.remote.store(Arc::new(remote));
    }

    /// The cipher in use.
    pub fn cipher(&self) -> wire::Cipher {
        self.sealer.load().cipher()
    }

    /// Whether a new epoch is due (P4.1).
    pub fn rekey_is_due(&self) -> bool {
        self.sealer.load().is_due()
    }

    /// Refuses from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Length of the record that carries the largest frame, in bytes: what a full-size probe must show to fit (P4.9).
    pub const fn full_record(&self) -> usize {
        self.max_frame + wire::max_record_overhead()
    }

    /// Sends a probe in a record of `length` bytes.
    ///
    /// # Errors
    /// Those of the kernel; a record that does not fit the underlay is one.
    pub fn probe(&self, to: SocketAddr, token: u64, length: u16) -> io::Result<()> {
        let mut payload = Vec::new();
        Payload::encode_probe(
            token,
            usize::from(length).saturating_sub(RECORD_HEADER + TAG_LEN),
            &mut payload,
        );
        self.send_control(to, &payload)
    }

    /// Answers a probe.
    pub(crate) fn answer(&self, to: SocketAddr, token: u64, length: u16) -> io::Result<()> {
        let mut payload = Vec::new();
        let arrived = Arrived {
            opened: self.opened.load(Ordering::Relaxed),
            forged: self.forged.load(Ordering::Relaxed),
        };
        Payload::encode_answer(token, length, to, arrived, &mut payload);
        self.send_control(to, &payload)
    }

    fn send_control(&self, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(RECORD_HEADER + payload.len() + TAG_LEN);
        self.sealer.load().seal(&[payload], &mut record).map_err(io::Error::other)?;
        self.socket.send(to, &record, record.len(), false).map(drop)
    }

    /// Appends one record; first sends what waits, if the record cannot join it in one train: all datagrams of a train but
    /// the last have one length (udp(7), UDP_SEGMENT).
    fn push(&self, sealer: &Sealer, parts: &[&[u8]], batch: &mut Batch) -> Result<(), SealError> {
        let len = RECORD_HEADER + parts.iter().map(|p| p.len()).sum::<usize>() + TAG_LEN;
        let last_is_short = batch.bytes.len() != batch.segment * batch.datagrams;
        if batch.datagrams > 0
            && (last_is_short
                || len > batch.segment
                || batch.datagrams == TRAIN_DATAGRAMS
                || batch.bytes.len() + len > TRAIN_BYTES)
        {
            self.transmit(batch);
        }
        sealer.seal(parts, &mut batch.bytes)?;
        if batch.datagrams == 0 {
            batch.segment = len;
        }
        batch.datagrams += 1;
        batch.frames += 1;
        Ok(())
    }

    fn transmit(&self, batch: &mut Batch) {
        if batch.datagrams > 0 {
            let trains = self.trains.load(Ordering::Relaxed);
            match self.socket.send(self.remote(), &batch.bytes, batch.segment, trains) {
                Ok(refusal) => {
                    self.counters.sent(batch.frames, batch.frame_bytes);
                    self.sent.fetch_add(batch.datagrams as u64, Ordering::Relaxed);
                    match refusal {
                        None if trains && batch.datagrams > 1 => {
                            self.sent_in_trains.fetch_add(batch.datagrams as u64, Ordering::Release);
                        }
                        None => {}
                        Some(e) => self.refused(&e),
                    }
                }
                Err(e) => self.counters.drops.add(drop_reason(&e), batch.frames),
            }
        }
        batch.clear();
    }
}

impl UdpPath {
    #[cold]
    fn refused(&self, e: &io::Error) {
        self.trains.store(false, Ordering::Relaxed);
        self.refusal.store(e.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32), Ordering::Relaxed);
    }
}

impl FramePath for UdpPath {
    fn kind(&self) -> PathKind {
        PathKind::Udp
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        if frame.longest_segment() > self.max_frame {
            return Err(self.counters.dropped(Drop::TooBig, frames));
        }
        let sealer = self.sealer.load();
        let mut sealed = 0;
        let mut seal = |parts: &[&[u8]], bytes: usize, batch: &mut Batch| {
            self.push(&sealer, parts, batch).map(|()| {
                sealed += 1;
                batch.frame_bytes += bytes as u64;
            })
        };
        let result = match frame.trains() {
            None => {
                let hdr = frame.hdr();
                let header = Payload::frame_header(hdr.flags, hdr.csum_start, hdr.csum_offset);
                seal(&[&header, frame.frame()], frame.frame().len(), batch)
            }
            Some(mut trains) => trains.try_for_each(|train| {
                // Relaxed: neighbouring trains of one thread only have to differ.
                let number = self.train.fetch_add(1, Ordering::Relaxed);
                train.slices(number).try_for_each(|slice| {
                    let parts = [&Payload::slice_header(&slice.meta)[..], train.headers(), slice.payload];
                    seal(&parts, train.headers().len() + slice.payload.len(), batch)
                })
            }),
        };
        result.map_err(|_| self.counters.dropped(Drop::KeyUsedUp, frames.saturating_sub(sealed)))
    }

    fn flush(&self, batch: &mut Batch) {
        self.transmit(batch);
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

fn drop_reason(e: &io::Error) -> Drop {
    if e.kind() == io::ErrorKind::WouldBlock {
        Drop::QueueFull
    } else if quinn_udp::is_msg_size_err(e) {
        Drop::TooBig
    } else {
        Drop::SendError
    }
}
