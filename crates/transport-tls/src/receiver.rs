//! [`Receiver`]: reads links on the thread of whoever drives it.
//!
//! A task that reads a link has to be woken, and so has the thread that sends the answer. One thread that does both is woken once. It
//! is of use while there is little to do; where there is much, each link goes back to a task of its own.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::oneshot;

use crate::reader::{ReadEnd, Reader, Turn};

/// Links read in one turn at most. The others have the next one.
const LINKS_A_TURN: usize = 32;
/// A link that was read so often without a frame goes back: control messages are not in such a hurry.
const BARREN_READS: u32 = 16;

/// What a task gets back.
type Back = oneshot::Sender<Result<Box<Reader>, ReadEnd>>;

/// Reads the links that are handed to it. Driven by whoever owns it: a [`turn`](Self::turn) for as long as there is something, then
/// a wait for [`fd`](Self::fd) to be readable.
pub struct Receiver {
    epoll: Arc<Epoll>,
    handed: mpsc::Receiver<Led>,
    /// By the number that epoll gives.
    links: BTreeMap<u64, Led>,
    events: [EpollEvent; LINKS_A_TURN],
    /// Those that had something in the last turn.
    brought: Vec<u64>,
}

/// The way to a [`Receiver`].
#[derive(Clone)]
pub struct Handover {
    epoll: Arc<Epoll>,
    sender: mpsc::Sender<Led>,
    numbers: Arc<AtomicU64>,
}

struct Led {
    number: u64,
    reader: Box<Reader>,
    barren: u32,
    back: Back,
}

impl Receiver {
    /// One without links, and the way to it.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub fn new() -> std::io::Result<(Self, Handover)> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let (sender, handed) = mpsc::channel();
        let handover = Handover { epoll: Arc::clone(&epoll), sender, numbers: Arc::default() };
        let events = [EpollEvent::empty(); LINKS_A_TURN];
        Ok((Self { epoll, handed, links: BTreeMap::new(), events, brought: Vec::new() }, handover))
    }

    /// Reads each link that has something, once. Gives their number.
    pub fn turn(&mut self) -> usize {
        let Self { epoll, handed, links, events, brought } = self;
        brought.clear();
        links.extend(handed.try_iter().map(|led| (led.number, led)));
        if links.is_empty() {
            return 0;
        }
        // An interrupted wait is as good as an empty one.
        let found = epoll.wait(events, EpollTimeout::ZERO).unwrap_or(0);
        for number in events[..found].iter().map(EpollEvent::data) {
            // One that is not here yet is in a moment: it is announced to the kernel first.
            let Some(led) = links.get_mut(&number) else { continue };
            let end = match led.reader.turn() {
                Ok(Turn::Read { frames, .. }) => {
                    led.barren = if frames { 0 } else { led.barren + 1 };
                    if led.barren < BARREN_READS {
                        brought.push(number);
                        continue;
                    }
                    None
                }
                Ok(Turn::Dry) => continue,
                Ok(Turn::Full) => None,
                Err(end) => Some(end),
            };
            give_back(epoll, links, number, end);
        }
        brought.len()
    }

    /// Gives the links that had something in the last turn back to tasks of their own.
    pub fn share(&mut self) {
        for number in self.brought.drain(..) {
            give_back(&self.epoll, &mut self.links, number, None);
        }
    }

    /// What is readable when a turn is due.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// How many links it reads.
    pub fn links(&self) -> usize {
        self.links.len()
    }
}

/// Whoever waits for the reader is gone where the link was closed meanwhile; then so is the reader.
fn give_back(epoll: &Epoll, links: &mut BTreeMap<u64, Led>, number: u64, end: Option<ReadEnd>) {
    if let Some(Led { reader, back, .. }) = links.remove(&number) {
        // It is there until now, as the socket is.
        let _ = epoll.delete(reader.tcp());
        let _ = back.send(end.map_or(Ok(reader), Err));
    }
}

impl Handover {
    /// Has the receiver go on with `reader`. It comes back when there is much to read, or the reason when the link has ended.
    ///
    /// # Errors
    /// The reader, when nobody takes it.
    pub(crate) fn hand_over(
        &self,
        reader: Box<Reader>,
    ) -> Result<oneshot::Receiver<Result<Box<Reader>, ReadEnd>>, Box<Reader>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, number);
        // First the kernel, which may refuse. What is readable already wakes the receiver, and nothing else has to.
        let added: Result<(), Errno> = self.epoll.add(reader.tcp(), event);
        if added.is_err() {
            return Err(reader);
        }
        let (back, outcome) = oneshot::channel();
        self.sender.send(Led { number, reader, barren: 0, back }).map(|()| outcome).map_err(|unsent| {
            let Led { reader, .. } = unsent.0;
            let _ = self.epoll.delete(reader.tcp());
            reader
        })
    }
}
