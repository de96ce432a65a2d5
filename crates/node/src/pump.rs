//! The threads of the data path: what the TAP has goes to peers, what the UDP socket and quiet links have goes to the TAP.
//!
//! One thread, the *leader*, does all of it for as long as it can. Waking a thread that sleeps costs more than most frames do, and
//! what it would be woken for is often the answer to what the leader has just delivered: it is awake, and looks. Only where two
//! sides keep it busy it gives work away: links to tasks of their own, or else the TAP to the *helper*, which keeps it until it
//! has been silent for a while. At any time one thread reads the TAP or a link, and hands it over with nothing in between, so a
//! flow keeps its order.

mod tap_reader;

use std::io;
use std::iter;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use host::tap::Tap;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use router::Forwarder;
use transport_tls::Receiver as Links;
use transport_udp::Receiver;

use self::tap_reader::TapReader;

/// Turns in a row in which two sides had something, after which the leader gives work away. A question and its answer make one or
/// two.
const BUSY_TURNS: u32 = 8;
/// How long the TAP is silent before the helper gives it back, in milliseconds.
const HELP_MS: u8 = 10;
/// How long nothing but others are waited for when the TAP device is gone or down, in milliseconds.
const AFTER_ERROR_MS: u8 = 100;

/// Moves frames until dropped.
pub(crate) struct Pump {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    leader: Option<JoinHandle<()>>,
    helper: Option<JoinHandle<()>>,
}

impl Pump {
    pub(crate) fn start(
        tap: &Arc<Tap>,
        forwarder: &Arc<Forwarder>,
        receiver: Option<Receiver>,
        links: Links,
    ) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let stop = Arc::new(AtomicBool::new(false));
        let helping = Arc::new(AtomicBool::new(false));
        let common = || Common {
            reader: TapReader::new(Arc::clone(tap), Arc::clone(forwarder)),
            stop: Arc::clone(&stop),
            helping: Arc::clone(&helping),
            wake: Arc::clone(&wake),
        };
        let mut pump = Self { stop: Arc::clone(&stop), wake: Arc::clone(&wake), leader: None, helper: None };
        let for_helper = common();
        let helper = thread::Builder::new().name("pump-helper".into()).spawn(move || for_helper.help())?;
        let help = helper.thread().clone();
        pump.helper = Some(helper);
        let for_leader = common();
        // Seldom of interest, and so behind one descriptor: a sleep takes time for each that it is about.
        let rare = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for fd in iter::once(wake.as_fd()).chain(receiver.iter().flat_map(Receiver::rare)) {
            rare.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        let leader = move || for_leader.lead(receiver, links, &rare, &help);
        pump.leader = Some(thread::Builder::new().name("pump".into()).spawn(leader)?);
        Ok(pump)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Full means that it is awake already.
        let _ = self.wake.write(1);
        if let Some(helper) = &self.helper {
            helper.thread().unpark();
        }
        for thread in [self.leader.take(), self.helper.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

/// Where a turn has to look. After a sleep that is only where something is: a look in vain at a socket that nobody touched for a
/// while takes longer than to seal a frame, since nothing of it is in the processor's cache.
#[derive(Clone, Copy)]
struct Due {
    tap: bool,
    socket: bool,
    links: bool,
}

impl Due {
    const ALL: Self = Self { tap: true, socket: true, links: true };
}

/// What each of the two threads has.
struct Common {
    reader: TapReader,
    stop: Arc<AtomicBool>,
    /// Whether the TAP is the helper's. Set by the leader alone, cleared by the helper alone.
    helping: Arc<AtomicBool>,
    /// Wakes the leader.
    wake: Arc<EventFd>,
}

impl Common {
    fn lead(
        mut self,
        mut receiver: Option<Receiver>,
        mut links: Links,
        rare: &Epoll,
        helper: &thread::Thread,
    ) {
        // Turns in which both the TAP and the UDP socket had something, in a row; and those in which links had something beside
        // another side, since the last sleep.
        let (mut busy, mut crowded) = (0, 0);
        let mut due = Due::ALL;
        while !self.stop.load(Ordering::Acquire) {
            let received = due.socket && receiver.as_mut().is_some_and(Receiver::turn);
            let linked = if due.links { links.turn() } else { 0 };
            let helped = self.helping.load(Ordering::Acquire);
            // What was delivered may have been answered meanwhile.
            let read = (due.tap || received || linked > 0) && !helped && self.reader.batch();
            due = Due::ALL;
            busy = if received && read { busy + 1 } else { 0 };
            if linked > 0 && usize::from(received) + linked + usize::from(read) > 1 {
                crowded += 1;
            }
            if crowded == BUSY_TURNS {
                (busy, crowded) = (0, 0);
                links.share();
            } else if busy == BUSY_TURNS {
                busy = 0;
                self.helping.store(true, Ordering::Release);
                helper.unpark();
            } else if !received && linked == 0 && !read {
                crowded = 0;
                due = self.wait(receiver.as_ref(), &links, rare, helped);
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self, receiver: Option<&Receiver>, links: &Links, rare: &Epoll, helped: bool) -> Due {
        let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
        // poll(2) passes over a descriptor in which no event was asked for, but for errors: so the places stay the same.
        let tap = PollFd::new(self.reader.fd(), if helped { PollFlags::empty() } else { PollFlags::POLLIN });
        let socket = receiver.map_or(rare.0.as_fd(), Receiver::socket);
        let mut fds = [tap, fd(socket), fd(links.fd()), fd(rare.0.as_fd())];
        // An interrupted poll is as good as a finished one.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let [tap, others @ ..] = &mut fds;
        if tap.revents().is_some_and(|r| r.contains(PollFlags::POLLERR)) {
            // The device is gone or down, and stays so until the control side notices: what goes to others does not wait for that.
            let _ = poll(others, AFTER_ERROR_MS);
        }
        let has = |i: usize| fds[i].revents().is_some_and(|r| !r.is_empty());
        let is_wrong = |i: usize| fds[i].revents().is_some_and(|r| r.contains(PollFlags::POLLERR));
        if has(3) {
            let _ = self.wake.read();
            if let Some(receiver) = receiver {
                receiver.heard();
            }
            return Due::ALL;
        }
        if let Some(receiver) = receiver.filter(|_| is_wrong(1)) {
            receiver.troubled();
        }
        Due { tap: has(0), socket: has(1), links: has(2) }
    }

    fn help(mut self) {
        loop {
            while !self.helping.load(Ordering::Acquire) {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                thread::park();
            }
            while !self.stop.load(Ordering::Acquire) {
                if !self.reader.batch() {
                    let mut fds = [PollFd::new(self.reader.fd(), PollFlags::POLLIN)];
                    if !matches!(poll(&mut fds, HELP_MS), Ok(n) if n > 0)
                        || fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLERR))
                    {
                        break;
                    }
                }
            }
            self.helping.store(false, Ordering::Release);
            let _ = self.wake.write(1);
        }
    }
}
