//! A hop that all packets of a way pass, made to be as bad as the Internet: the kernel of many machines has no netem.
//!
//! One thread carries frames between the two interfaces of a network of its own. Their other ends must not send segments of
//! 64 KiB: such a one would be delayed and lost as if it were one packet.

mod conditions;
mod lane;
mod too_big;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrLike, bind, setsockopt, socket,
};

pub use self::conditions::{Conditions, QUEUE};
use self::lane::{Lane, Verdict};
use crate::Space;

/// The hop; it is gone when this is dropped.
pub struct Middle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    conditions: Mutex<Conditions>,
    passed: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
}

impl Middle {
    /// Carries frames between two interfaces of `space`, which nothing else uses.
    pub fn between(space: &Space, ends: [&str; 2]) -> Self {
        let sockets = space.within(|| {
            ends.map(|name| end(name).unwrap_or_else(|e| panic!("{name}: no socket for its frames: {e}")))
        });
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = shared.clone();
            move || carry(&sockets, &shared)
        });
        Self { shared, thread: Some(thread) }
    }

    /// From now on the way is like this; what is on it already is not affected.
    pub fn set(&self, conditions: Conditions) {
        *self.shared.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// How many frames have passed, and how many were lost on purpose.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket for all frames of an interface of this thread's network.
fn end(interface: &str) -> nix::Result<File> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    setsockopt(&socket, SndBufForce, &BUFFER)?;
    let address = getifaddrs()?
        .filter(|one| one.interface_name == interface)
        .filter_map(|one| one.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .ok_or(nix::Error::ENODEV)?;
    let address = address.as_link_addr().ok_or(nix::Error::ENODEV)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), address)?;
    Ok(File::from(socket))
}

fn carry(ends: &[File; 2], shared: &Shared) {
    let mut lanes = [Lane::new(0x9E37_79B9), Lane::new(0x7F4A_7C15)];
    let mut buffer = vec![0; LONGEST];
    while !shared.ended.load(Ordering::Relaxed) {
        let conditions = *shared.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = true;
        for (from, to) in [(0, 1), (1, 0)] {
            let lane = &mut lanes[from];
            for _ in 0..BATCH {
                let Some(length) = receive(&ends[from], &mut buffer) else { break };
                idle = false;
                let frame = &buffer[..length];
                match lane.take(Instant::now(), frame, &conditions) {
                    Verdict::Pass => shared.pass(&ends[to], frame),
                    Verdict::Held => {}
                    Verdict::Lost => shared.lose(),
                    Verdict::TooBig => {
                        shared.lose();
                        let told = conditions.mtu.filter(|_| conditions.too_big_told);
                        if let Some(told) = told.and_then(|mtu| too_big::too_big(frame, mtu)) {
                            shared.pass(&ends[from], &told);
                        }
                    }
                }
            }
            while let Some(frame) = lane.due(Instant::now()) {
                shared.pass(&ends[to], &frame);
            }
        }
        if idle {
            wait(ends, lanes.iter().filter_map(Lane::next).min());
        }
    }
}

impl Shared {
    fn pass(&self, end: &File, frame: &[u8]) {
        // What the interface does not take is lost on a cable too.
        let mut end = end;
        match end.write_all(frame) {
            Ok(()) => self.passed.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.lost.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn receive(end: &File, buffer: &mut [u8]) -> Option<usize> {
    let mut end = end;
    loop {
        match end.read(buffer) {
            Ok(length) => return Some(length),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // Nothing there, or the interface is gone, which is the end of the whole network.
            Err(_) => return None,
        }
    }
}

fn wait(ends: &[File; 2], next: Option<Instant>) {
    let until = next.map_or(LOOK, |next| next.saturating_duration_since(Instant::now()).min(LOOK));
    let mut polled = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
    if ppoll(&mut polled, Some(until.into()), None).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// In bytes, of packets that wait for this thread: a hundredth of a second of ten gigabits.
const BUFFER: usize = 16 << 20;
/// The longest frame of an MTU of 9000, with a tag.
const LONGEST: usize = 9018;
/// Frames of one direction before the other has its turn.
const BATCH: usize = 64;
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);
