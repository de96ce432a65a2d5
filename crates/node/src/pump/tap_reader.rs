//! What the TAP has goes to peers, a batch at a time.

use std::io::ErrorKind;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::thread;

use host::tap::Tap;
use packet::{MAX_FRAME, SuperFrame, VnetHdr};
use router::{Ahead, Forwarder, Outgoing};
use transport::{Drop as Dropped, Outbox};

/// Frames forwarded before what was sealed is sent, if the TAP does not run dry earlier. Bounds how long the first waits.
const FRAMES_A_BATCH: usize = 64;
/// Frames read before the first of them is forwarded, so that others can go [`Ahead`] of it: 1 MiB of super-frames at most. With 8
/// less is gained for them, and a bulk flow has the same throughput with either (docs/experiments.md).
const READ_FIRST: usize = 16;
/// What one frame may need.
const SLOT: usize = (VnetHdr::LEN + MAX_FRAME).next_multiple_of(ALIGN);
/// Frames begin at multiples of this: a cache line.
const ALIGN: usize = 64;

/// Reads the TAP and forwards what it holds.
pub(super) struct TapReader {
    tap: Arc<Tap>,
    forwarder: Arc<Forwarder>,
    /// Frames with their virtio-net headers, one behind the other.
    memory: Vec<u8>,
    frames: Vec<Range<usize>>,
    ahead: Ahead,
    outbox: Outbox,
}

impl TapReader {
    pub(super) fn new(tap: Arc<Tap>, forwarder: Arc<Forwarder>) -> Self {
        Self {
            tap,
            forwarder,
            memory: vec![0; READ_FIRST * SLOT],
            frames: Vec::with_capacity(READ_FIRST),
            ahead: Ahead::default(),
            outbox: Outbox::new(),
        }
    }

    /// Readable when there is something.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    /// Forwards a batch; `false` when there was none.
    pub(super) fn batch(&mut self) -> bool {
        let some = self.forward();
        if some {
            // Under a flood the scheduler lets this thread run for whole time slices, and those who take what it sends wait that
            // long while their sockets overflow. Standing back after each batch also lets the next one grow. Where nobody
            // waits for the processor it is one system call (docs/experiments.md).
            thread::yield_now();
        }
        some
    }

    fn forward(&mut self) -> bool {
        let Self { tap, forwarder, memory, frames, ahead, outbox } = self;
        let mut outgoing = forwarder.outgoing(outbox);
        let mut left = FRAMES_A_BATCH;
        while left > 0 {
            let dry = read(tap, memory, frames, left.min(READ_FIRST));
            if frames.is_empty() {
                break;
            }
            left -= frames.len();
            let bytes = |range: &Range<usize>| memory.get(range.clone()).unwrap_or_default();
            let ethernet = |range: &Range<usize>| bytes(range).get(VnetHdr::LEN..).unwrap_or_default();
            for place in ahead.order(frames.iter().map(ethernet)) {
                forward(forwarder, &mut outgoing, frames.get(place).map(bytes).unwrap_or_default());
            }
            if dry {
                break;
            }
        }
        left < FRAMES_A_BATCH
    }
}

fn forward(forwarder: &Forwarder, outgoing: &mut Outgoing<'_>, bytes: &[u8]) {
    match SuperFrame::from_host(bytes) {
        Ok(frame) => outgoing.forward(&frame),
        Err(_) => forwarder.drops().add(Dropped::Malformed, 1),
    }
}

/// Reads at most so many frames; whether there are no more.
fn read(tap: &Tap, memory: &mut [u8], frames: &mut Vec<Range<usize>>, most: usize) -> bool {
    // Without a virtio header from the kernel there is one before each frame that asks for nothing.
    let room = if tap.vnet_hdr() { 0 } else { VnetHdr::LEN };
    frames.clear();
    let mut start = 0;
    while frames.len() < most {
        let Some(slot) = memory.get_mut(start..start + SLOT) else { return false };
        let (header, rest) = slot.split_at_mut(room);
        match tap.recv(rest) {
            Ok(n) => {
                header.fill(0);
                frames.push(start..start + room + n);
                start = (start + room + n).next_multiple_of(ALIGN);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    false
}
