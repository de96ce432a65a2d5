//! [`UdpPath`]: sealing and sending to one peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use packet::SuperFrame;
use records::{DirectPath, TrainNumbers, for_each_payload};
use session::{SealError, Sealer};
use transport::{Batch, Drop, FramePath, HopPath, PathCounters, PathKind};
use wire::{
    Arrived, GroupHeader, Hops, Payload, PeerName, RECORD_HEADER, RELAY_OVERHEAD, TAG_LEN, UNICAST_OVERHEAD,
    max_record_overhead,
};

use crate::errors::is_for_want_of_room;
use crate::fallback::Fallback;
use crate::train::Stopped;
use crate::{Extra, Socket};

/// Bytes of one train at most: UDP's limit over IPv4 (65 507) less a little, as the kernel counts headers in some releases.
const TRAIN_BYTES: usize = 65_000;
/// Datagrams of one train at most: UDP_MAX_SEGMENTS before Linux 6.9.
const TRAIN_DATAGRAMS: usize = 64;

/// A record of so many bytes passes nearly everywhere: with IPv6 and UDP headers it is a packet of 1200 bytes (P4.11).
pub const LEAST_RECORD: usize = 1200 - 40 - 8;

/// Records with frames that were sent on a path since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// All of them.
    pub records: u64,
    /// Those that went in trains.
    pub in_trains: u64,
}

/// Where records go, and by which socket.
struct Target {
    /// A further one (P6.7), if not that of all.
    via: Option<Arc<Extra>>,
    remote: SocketAddr,
}

impl Target {
    fn socket<'a>(&'a self, main: &'a Socket) -> &'a Socket {
        self.via.as_ref().map_or(main, |extra| &extra.socket)
    }
}

/// The way to one peer.
pub struct UdpPath {
    socket: Arc<Socket>,
    sealer: ArcSwap<Sealer>,
    target: ArcSwap<Target>,
    /// The further socket that what is taken up now came by. The receiving thread alone sets it.
    coming_by: ArcSwapOption<Extra>,
    /// The path took up a further socket, and nobody asked for it yet.
    found: AtomicBool,
    /// The largest frame that is ever to be carried.
    full_frame: usize,
    /// The largest that is known to pass now.
    max_frame: AtomicUsize,
    /// The longest datagram that is known to pass.
    longest: AtomicUsize,
    /// Length of a record that this host itself did not take; 0 for none.
    too_long: AtomicUsize,
    train_numbers: TrainNumbers,
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
    /// What records can take beside this path (P4.12).
    pub(crate) fallback: Fallback,
}

impl UdpPath {
    /// A way to `remote` for frames of up to `max_frame` bytes, all of which are taken until [`set_size`](Self::set_size) says
    /// that fewer pass. The sealer is the session's, whichever paths use it beside this one:
    /// its counter must be one (P4.4).
    pub fn new(socket: Arc<Socket>, sealer: Arc<Sealer>, remote: SocketAddr, max_frame: usize) -> Self {
        let trains = socket.no_trains().is_none();
        Self {
            socket,
            sealer: ArcSwap::new(sealer),
            target: ArcSwap::from_pointee(Target { via: None, remote }),
            coming_by: ArcSwapOption::empty(),
            found: AtomicBool::new(false),
            full_frame: max_frame,
            max_frame: AtomicUsize::new(max_frame),
            longest: AtomicUsize::new(max_frame + UNICAST_OVERHEAD),
            too_long: AtomicUsize::new(0),
            train_numbers: TrainNumbers::default(),
            closed: AtomicBool::new(false),
            counters: PathCounters::default(),
            trains: AtomicBool::new(trains),
            refusal: AtomicI32::new(0),
            sent: AtomicU64::new(0),
            sent_in_trains: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            fallback: Fallback::default(),
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

    /// Records with frames that arrived by this path so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Takes up the key of a new epoch.
    pub fn rekey(&self, sealer: Arc<Sealer>) {
        self.sealer.store(sealer);
    }

    /// Where records go.
    pub fn remote(&self) -> SocketAddr {
        self.target.load().remote
    }

    /// Sends elsewhere from now on.
    pub fn set_remote(&self, remote: SocketAddr) {
        self.target.rcu(|target| Target { via: target.via.clone(), remote });
    }

    /// Where a probe of the peer came from by a further socket (P6.7), once for each that the path took up.
    pub fn take_found(&self) -> Option<SocketAddr> {
        self.found.swap(false, Ordering::AcqRel).then(|| self.remote())
    }

    /// Whether it sends by a further socket.
    pub fn is_by_extra(&self) -> bool {
        self.target.load().via.is_some()
    }

    /// Sends by the one socket of all again.
    pub fn use_main(&self) {
        if self.is_by_extra() {
            self.target.rcu(|target| Target { via: None, remote: target.remote });
        }
    }

    /// Notes which further socket all came by that is taken up until this is said again.
    pub(crate) fn coming_by(&self, extra: Option<&Arc<Extra>>) {
        self.coming_by.store(extra.cloned());
    }

    /// The peer got through to this socket: by it alone what is sent from here gets through to the peer.
    fn take_up(&self, extra: &Arc<Extra>, remote: SocketAddr) {
        if self.target.load().via.as_ref().is_none_or(|via| !Arc::ptr_eq(via, extra)) {
            self.target.rcu(|_| Target { via: Some(Arc::clone(extra)), remote });
            self.found.store(true, Ordering::Release);
        }
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
        self.full_frame + UNICAST_OVERHEAD
    }

    /// Length of the record that carries the largest frame for everyone, in bytes (P7.1): what a probe must show to fit before
    /// [`set_longest`](Self::set_longest) is told of it.
    pub const fn group_record(&self) -> usize {
        self.full_frame + max_record_overhead()
    }

    /// Length of the relayed record that carries the largest frame behind so many names, in bytes (P6.4): what a probe must show to
    /// fit before [`set_longest`](Self::set_longest) is told of it.
    pub const fn relayed_record(&self, names: usize) -> usize {
        RELAY_OVERHEAD + names * PeerName::LEN + self.full_frame + UNICAST_OVERHEAD
    }

    /// Sets the longest record of a frame that is known to pass, in bytes (P4.11).
    pub fn set_size(&self, record: usize) {
        self.max_frame.store(record.saturating_sub(UNICAST_OVERHEAD).min(self.full_frame), Ordering::Relaxed);
    }

    /// Sets the longest datagram that is known to pass, in bytes; relayed records and those of frames for everyone may be as long.
    pub fn set_longest(&self, datagram: usize) {
        self.longest.store(datagram, Ordering::Relaxed);
    }

    /// The length of a record that this host itself did not take, once: an MTU on it has become smaller. From then on the path takes
    /// what passes nearly everywhere, until [`set_size`](Self::set_size) says more.
    pub fn take_too_long(&self) -> Option<u16> {
        if self.too_long.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let length = self.too_long.swap(0, Ordering::Relaxed);
        (length != 0).then(|| u16::try_from(length).unwrap_or(u16::MAX))
    }

    /// Sends a probe in a record of `length` bytes.
    ///
    /// # Errors
    /// Those of the kernel; a record that does not fit the underlay is one.
    pub fn probe(&self, to: SocketAddr, token: u64, length: u16) -> io::Result<()> {
        self.probe_by(self.target.load().socket(&self.socket), to, token, length)
    }

    pub(crate) fn probe_by(
        &self,
        socket: &Socket,
        to: SocketAddr,
        token: u64,
        length: u16,
    ) -> io::Result<()> {
        let mut payload = Vec::new();
        Payload::encode_probe(
            token,
            usize::from(length).saturating_sub(RECORD_HEADER + TAG_LEN),
            &mut payload,
        );
        self.send_control(socket, to, &payload)
    }

    fn send_control(&self, socket: &Socket, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(RECORD_HEADER + payload.len() + TAG_LEN);
        self.sealer.load().seal(&[payload], &mut record).map_err(io::Error::other)?;
        socket.send(to, &record, record.len(), false).map(drop).map_err(|stopped| stopped.error)
    }

    /// Makes room for a record of `len` bytes; first sends what waits, if the record cannot join it in one train: all datagrams of a
    /// train but the last have one length (udp(7), UDP_SEGMENT).
    fn make_room(&self, len: usize, batch: &mut Batch) {
        let last_is_short = batch.bytes.len() != batch.segment * batch.datagrams;
        if batch.datagrams > 0
            && (last_is_short
                || len > batch.segment
                || batch.datagrams == TRAIN_DATAGRAMS
                || batch.bytes.len() + len > TRAIN_BYTES)
        {
            self.transmit(batch);
        }
    }

    fn send_frame(
        &self,
        group: Option<&GroupHeader>,
        frame: &SuperFrame<'_>,
        batch: &mut Batch,
    ) -> Result<(), Drop> {
        let frames = frame.segments() as u64;
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, frames));
        }
        let room = match group {
            Some(_) if self.is_narrow() => self.max_group_frame(),
            _ => self.max_frame(),
        };
        if frame.longest_segment() > room {
            return Err(self.counters.dropped(Drop::TooBig, frames));
        }
        let sealer = self.sealer.load();
        let mut sealed = 0;
        let longest = self.longest.load(Ordering::Relaxed).saturating_sub(RECORD_HEADER + TAG_LEN);
        let result = for_each_payload(frame, group, longest, &self.train_numbers, |parts, bytes| {
            let len = RECORD_HEADER + parts.iter().map(|p| p.len()).sum::<usize>() + TAG_LEN;
            self.make_room(len, batch);
            sealer.seal(parts, &mut batch.bytes)?;
            appended(batch, len, bytes);
            sealed += 1;
            Ok::<_, SealError>(())
        });
        result.map_err(|_| self.counters.dropped(Drop::KeyUsedUp, frames.saturating_sub(sealed)))?;
        // What shares a record is counted as the frames that it stands for.
        let more = frames.saturating_sub(sealed);
        batch.frames += more;
        batch.frame_bytes += more * frame.headers_len().unwrap_or(0) as u64;
        Ok(())
    }

    fn transmit(&self, batch: &mut Batch) {
        if batch.datagrams > 0 {
            let trains = self.trains.load(Ordering::Relaxed);
            let target = self.target.load();
            let socket = target.socket(&self.socket);
            match socket.send(target.remote, &batch.bytes, batch.segment, trains) {
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
                    if self.fallback.is_in_doubt() {
                        self.fallback.copy(batch);
                    }
                }
                Err(Stopped { sent, error }) => {
                    let reason = drop_reason(&error);
                    // In doubt all of it goes the other way too, also what the kernel took.
                    let saved = self.fallback.is_in_doubt() && self.fallback.rescue(batch);
                    self.took(batch, sent);
                    self.not_sent(batch, &error, reason, saved);
                    if reason == Drop::TooBig {
                        self.shrink(batch.segment.min(batch.bytes.len()));
                    }
                }
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

    /// The kernel took so many datagrams of the batch: the rest stays in it. Frames are counted by their share.
    #[cold]
    fn took(&self, batch: &mut Batch, datagrams: usize) {
        let share = |count: u64| count * datagrams as u64 / batch.datagrams.max(1) as u64;
        let (frames, bytes) = (share(batch.frames), share(batch.frame_bytes));
        self.counters.sent(frames, bytes);
        self.sent.fetch_add(datagrams as u64, Ordering::Relaxed);
        batch.bytes.drain(..(datagrams * batch.segment).min(batch.bytes.len()));
        batch.datagrams = batch.datagrams.saturating_sub(datagrams);
        batch.frames -= frames;
        batch.frame_bytes -= bytes;
    }

    /// The kernel took nothing of what is left of the batch. What it only has no room for is dropped, as any queue drops; all else goes
    /// the other way, if it is not `saved` already.
    #[cold]
    fn not_sent(&self, batch: &Batch, e: &io::Error, reason: Drop, saved: bool) {
        if reason == Drop::SendError {
            self.fallback.failed(e.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32));
        }
        if !saved && (reason == Drop::QueueFull || !self.fallback.rescue(batch)) {
            self.counters.drops.add(reason, batch.frames);
        }
    }

    /// This host took no record of this length.
    #[cold]
    fn shrink(&self, length: usize) {
        if length > self.full_record() {
            // Only a frame for everyone, a relayed record or a slice of TCP is as long.
            self.set_longest(self.max_frame() + UNICAST_OVERHEAD);
            self.too_long.store(length, Ordering::Relaxed);
        } else if length > LEAST_RECORD {
            self.set_size(LEAST_RECORD);
            self.set_longest(LEAST_RECORD);
            self.too_long.store(length, Ordering::Relaxed);
        }
    }

    /// Whether records of full size do not pass.
    fn is_narrow(&self) -> bool {
        self.max_frame() < self.full_frame
    }
}

impl FramePath for UdpPath {
    fn kind(&self) -> PathKind {
        PathKind::Udp
    }

    fn max_frame(&self) -> usize {
        self.max_frame.load(Ordering::Relaxed)
    }

    fn send(&self, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        self.send_frame(None, frame, batch)
    }

    fn flush(&self, batch: &mut Batch) {
        self.transmit(batch);
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl HopPath for UdpPath {
    fn send_group(&self, group: &GroupHeader, frame: &SuperFrame<'_>, batch: &mut Batch) -> Result<(), Drop> {
        self.send_frame(Some(group), frame, batch)
    }

    fn max_group_frame(&self) -> usize {
        self.longest.load(Ordering::Relaxed).saturating_sub(max_record_overhead()).min(self.full_frame)
    }

    fn max_relayed(&self) -> usize {
        self.longest.load(Ordering::Relaxed).saturating_sub(RELAY_OVERHEAD)
    }

    fn relay(&self, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.counters.dropped(Drop::Closed, 1));
        }
        let len = hops.bytes().len() + record.len();
        if len > self.max_relayed() {
            return Err(self.counters.dropped(Drop::TooBig, 1));
        }
        let len = RELAY_OVERHEAD + len;
        self.make_room(len, batch);
        let sealed = self.sealer.load().seal_relay(hops, record, &mut batch.bytes);
        sealed.map_err(|_| self.counters.dropped(Drop::KeyUsedUp, 1))?;
        appended(batch, len, record.len());
        Ok(())
    }
}

impl DirectPath for UdpPath {
    fn answer(&self, to: SocketAddr, token: u64, length: u16) {
        let mut payload = Vec::new();
        let arrived = Arrived {
            opened: self.opened.load(Ordering::Relaxed),
            forged: self.forged.load(Ordering::Relaxed),
        };
        Payload::encode_answer(token, length, to, arrived, &mut payload);
        // By the socket that the probe came by: no other has a way through a NAT that it needs.
        let sent = match &*self.coming_by.load() {
            Some(extra) => {
                self.take_up(extra, to);
                self.send_control(&extra.socket, to, &payload)
            }
            None => self.send_control(&self.socket, to, &payload),
        };
        if let Err(e) = sent {
            self.counters.drops.add(drop_reason(&e), 1);
        }
    }

    fn count_opened(&self) {
        // One thread writes: no bus lock.
        self.opened.store(self.opened.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn count_forged(&self) {
        self.forged.store(self.forged.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Notes that a record of `len` bytes was appended, which carries so many bytes of a frame.
const fn appended(batch: &mut Batch, len: usize, bytes: usize) {
    if batch.datagrams == 0 {
        batch.segment = len;
    }
    batch.datagrams += 1;
    batch.frames += 1;
    batch.frame_bytes += bytes as u64;
}

fn drop_reason(e: &io::Error) -> Drop {
    if is_for_want_of_room(e) {
        Drop::QueueFull
    } else if quinn_udp::is_msg_size_err(e) {
        Drop::TooBig
    } else {
        Drop::SendError
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_full_queue_is_told_from_a_record_that_is_too_long_and_from_all_else() {
        for (errno, reason) in [
            (Errno::EAGAIN, Drop::QueueFull),
            (Errno::ENOBUFS, Drop::QueueFull),
            (Errno::ENOMEM, Drop::QueueFull),
            (Errno::EMSGSIZE, Drop::TooBig),
            (Errno::EPERM, Drop::SendError),
            (Errno::ENETUNREACH, Drop::SendError),
            (Errno::EIO, Drop::SendError),
        ] {
            assert_eq!(drop_reason(&errno.into()), reason, "{errno}");
        }
    }
}
