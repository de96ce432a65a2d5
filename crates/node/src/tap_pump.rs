//! The thread that reads the TAP, and the function that writes it.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use host::tap::Tap;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use packet::{MAX_FRAME, SuperFrame, VnetHdr};
use router::Forwarder;
use transport::{Batch, Drop as Dropped, TapFrame};

/// Frames read before what was sealed is sent, if the TAP does not run dry earlier. Bounds how long the first waits.
const FRAMES_A_BATCH: usize = 64;

/// Reads the TAP until dropped.
pub(crate) struct TapPump {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl TapPump {
    pub(crate) fn start(tap: Arc<Tap>, forwarder: Arc<Forwarder>) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, woken) = (Arc::clone(&stop), Arc::clone(&wake));
        let thread = std::thread::Builder::new().name("tap-read".into()).spawn(move || {
            let mut batch = Batch::new();
            let mut buffer = vec![0; VnetHdr::LEN + MAX_FRAME];
            while !stopped.load(Ordering::Acquire) {
                if read_batch(&tap, &forwarder, &mut buffer, &mut batch) {
                    wait(tap.as_fd(), &woken);
                }
            }
        })?;
        Ok(Self { stop, wake, thread: Some(thread) })
    }
}

impl Drop for TapPump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Full means that it is awake already.
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes a frame to the TAP; `false` when it takes no more.
pub(crate) fn write_frame(tap: &Tap, frame: &TapFrame<'_>) -> bool {
    if !tap.vnet_hdr() {
        return write_segments(tap, frame.frame(), 0);
    }
    match tap.send(frame.bytes()) {
        Ok(_) => true,
        // Some kernels refuse super-frames that others accept (6.6.44 and vendors' kernels): the segments always pass.
        Err(e) if e.kind() == ErrorKind::InvalidInput && frame.frame().segments() > 1 => {
            write_segments(tap, frame.frame(), VnetHdr::LEN)
        }
        Err(_) => false,
    }
}

/// Writes the ordinary frames that a super-frame stands for, each behind `room` zero bytes, which are an empty virtio header.
fn write_segments(tap: &Tap, frame: &SuperFrame<'_>, room: usize) -> bool {
    let (mut out, mut segment) = (Vec::new(), Vec::new());
    (0..frame.segments()).all(|i| {
        segment.clear();
        out.clear();
        out.resize(room, 0);
        frame.segment_into(i, &mut segment).is_ok() && {
            out.extend_from_slice(&segment);
            tap.send(&out).is_ok()
        }
    })
}

/// Forwards what the TAP holds; `true` when it ran dry.
fn read_batch(tap: &Tap, forwarder: &Forwarder, buffer: &mut [u8], batch: &mut Batch) -> bool {
    // Without a virtio header from the kernel, the zeroes before the frame are one that asks for nothing.
    let room = if tap.vnet_hdr() { 0 } else { VnetHdr::LEN };
    let mut outgoing = forwarder.outgoing(batch);
    for _ in 0..FRAMES_A_BATCH {
        match tap.recv(&mut buffer[room..]) {
            Ok(n) => match SuperFrame::from_host(&buffer[..room + n]) {
                Ok(frame) => outgoing.forward(&frame),
                Err(_) => forwarder.drops().add(Dropped::Malformed, 1),
            },
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    false
}

fn wait(tap: BorrowedFd<'_>, wake: &EventFd) {
    let mut fds = [PollFd::new(tap, PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
    // An interrupted poll is as good as a finished one.
    let _ = poll(&mut fds, PollTimeout::NONE);
    if fds.iter().any(|fd| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLERR))) {
        // The device is gone or down; the control side notices, this thread only must not spin.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
