//! [`Reader`]: reads a link once whenever it is told to. Frames and records go to the sink at once, control messages to the event
//! channel.

use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;
use std::sync::Arc;

use packet::VnetHdr;
use tokio::sync::mpsc::error::TrySendError;
use transport::{Drop, FramePath as _, Inbox, Outbox};
use wire::{
    GROUP_HEADER, MAX_MESSAGE, Message, MessageError, decode_frame, decode_group_frame, decode_relayed,
    is_relayed_or_group,
};

use crate::incoming::{Incoming, IncomingError, Progress};
use crate::record::RecordError;
use crate::{LinkEvent, LinkEvents, TlsPath};

/// What travels on is sent after so many bytes at the latest, so that the next peer works on it while more is being opened.
const BATCH_LIMIT: usize = 64 * 1024;
/// After so many reads in a row that brought nothing to pass on, the memory for it is given back.
const QUIET_READS: u32 = 128;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    #[error("the other end closed the link")]
    Closed,
    #[error("link broke: {0}")]
    Io(#[from] io::Error),
    #[error("link broke: the connection ended without a farewell (TLS close_notify)")]
    Cut,
    #[error("link broke: {0}")]
    Record(#[from] RecordError),
    #[error("{0}")]
    NotUnderstood(MessageError),
    #[error("message of {0} bytes, longer than allowed")]
    TooLong(usize),
    #[error("the router stops")]
    NodeGone,
}

impl From<IncomingError> for ReadEnd {
    fn from(e: IncomingError) -> Self {
        match e {
            IncomingError::Record(e) => Self::Record(e),
            IncomingError::TooLong(len) => Self::TooLong(len),
        }
    }
}

/// The receiving end of a link, and what is half read.
///
/// It never waits, so whoever knows that there is something to read may drive it, one after the other.
pub(crate) struct Reader {
    tcp: Arc<TcpStream>,
    incoming: Incoming,
    hands: Hands,
    /// A control message that found the event channel full. Nothing more is read before it is gone.
    waiting: Option<(u64, LinkEvent)>,
}

/// What came of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// So many bytes.
    Read {
        bytes: usize,
        /// Whether frames or records ended in them.
        frames: bool,
        /// Whether there may be more at once.
        more: bool,
    },
    /// The socket had nothing.
    Dry,
    /// The control side has to catch up: [`Reader::settle`] is due.
    Full,
}

impl Reader {
    /// `incoming` has what came with the handshake; [`settle`](Self::settle) is due.
    pub(crate) fn new(tcp: Arc<TcpStream>, incoming: Incoming, hands: Hands) -> Self {
        Self { tcp, incoming, hands, waiting: None }
    }

    /// What it reads from.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads once, and hands on all that is whole.
    ///
    /// # Errors
    /// When the link has ended.
    pub(crate) fn turn(&mut self) -> Result<Turn, ReadEnd> {
        if self.waiting.is_some() {
            return Ok(Turn::Full);
        }
        let room = self.incoming.room();
        let asked = room.len();
        let bytes = loop {
            match (&*self.tcp).read(room) {
                Ok(0) => return Err(ReadEnd::Cut),
                Ok(bytes) => break bytes,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Turn::Dry),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        };
        self.incoming.filled(bytes);
        let frames = self.hands.frames;
        let done = self.hand_on()?;
        let frames = self.hands.frames != frames;
        Ok(if done { Turn::Read { bytes, frames, more: bytes == asked } } else { Turn::Full })
    }

    /// Hands on what has come so far, and waits for the control side to take its part.
    ///
    /// # Errors
    /// When the link has ended.
    pub(crate) async fn settle(&mut self) -> Result<(), ReadEnd> {
        loop {
            if let Some(event) = self.waiting.take() {
                self.hands.events.send(event).await.map_err(|_| ReadEnd::NodeGone)?;
            }
            if self.hand_on()? {
                return Ok(());
            }
        }
    }

    /// Hands on all that is whole; `false` when the event channel is full.
    fn hand_on(&mut self) -> Result<bool, ReadEnd> {
        let done = self.hand_on_whole();
        if done.is_err() {
            // The link ends here, and not what came by it: frames that go on to others, and what sessions hold back to join it.
            self.hands.flush();
        }
        done
    }

    fn hand_on_whole(&mut self) -> Result<bool, ReadEnd> {
        let Self { incoming, hands, waiting, .. } = self;
        loop {
            while let Some(message) = incoming.message(MAX_MESSAGE)? {
                if !hands.frame(message) {
                    *waiting = hands.control(message)?;
                    if waiting.is_some() {
                        // Frames do not wait for the control side.
                        hands.flush();
                        return Ok(false);
                    }
                }
            }
            match incoming.open()? {
                Progress::Opened(false) => {}
                Progress::Opened(true) => hands.path.want_key_update(),
                Progress::Closed => return Err(ReadEnd::Closed),
                Progress::NeedMore => {
                    hands.end();
                    return Ok(true);
                }
            }
        }
    }
}

/// Where messages go.
pub(crate) struct Hands {
    id: u64,
    path: Arc<TlsPath>,
    inbox: Inbox,
    events: LinkEvents,
    onward: Onward,
    /// Frames and records that came so far.
    frames: u64,
}

impl Hands {
    pub(crate) fn new(id: u64, path: Arc<TlsPath>, inbox: Inbox, events: LinkEvents) -> Self {
        Self { id, path, inbox, events, onward: Onward::default(), frames: 0 }
    }

    /// Gives a control message to the event channel, or back when that is full.
    fn control(&self, message: &[u8]) -> Result<Option<(u64, LinkEvent)>, ReadEnd> {
        match Message::decode(message) {
            Ok(Message::Unknown(_)) => self.path.counters().drops.add(Drop::Malformed, 1),
            Ok(message) => match self.events.try_send((self.id, LinkEvent::Message(message))) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return Ok(Some(event)),
                Err(TrySendError::Closed(_)) => return Err(ReadEnd::NodeGone),
            },
            Err(e) => return Err(ReadEnd::NotUnderstood(e)),
        }
        Ok(None)
    }

    fn flush(&mut self) {
        self.inbox.flush(self.path.counters());
        self.onward.flush();
    }

    /// The socket gives no more for now.
    fn end(&mut self) {
        self.inbox.flush(self.path.counters());
        self.onward.end();
    }

    /// Delivers `message` if it is a frame or a relayed record.
    fn frame(&mut self, message: &mut [u8]) -> bool {
        let Self { path, inbox, onward, frames, .. } = self;
        let counters = path.counters();
        if let Some((hdr, _)) = decode_frame(message) {
            *frames += 1;
            inbox.frame(host_order(&mut message[1..], &hdr), counters);
            return true;
        }
        if !is_relayed_or_group(message) {
            return false;
        }
        *frames += 1;
        let len = message.len();
        if let Some((group, hdr, _)) = decode_group_frame(message) {
            let frame = host_order(&mut message[1 + GROUP_HEADER..], &hdr);
            inbox.group_frame(&group, frame, counters, &mut onward.out);
        } else if let Some((hops, record)) = decode_relayed(message) {
            inbox.relay(hops, record, counters, &mut onward.out);
        } else {
            counters.drops.add(Drop::Malformed, 1);
        }
        onward.handled(len);
        true
    }
}

/// On the wire a virtio header is little-endian (P4.6); the TAP wants host order.
fn host_order<'a>(body: &'a mut [u8], hdr: &VnetHdr) -> &'a [u8] {
    if let Some(room) = body.first_chunk_mut::<{ VnetHdr::LEN }>() {
        hdr.write_host(room);
    }
    body
}

/// What travels on from here.
#[derive(Default)]
struct Onward {
    out: Outbox,
    /// Bytes handled since it was sent.
    bytes: usize,
    quiet_reads: u32,
}

impl Onward {
    fn handled(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= BATCH_LIMIT {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.out.flush();
        self.bytes = 0;
        self.quiet_reads = 0;
    }

    /// The socket gives no more for now.
    fn end(&mut self) {
        if self.bytes > 0 {
            return self.flush();
        }
        self.quiet_reads += 1;
        if self.quiet_reads == QUIET_READS {
            self.out = Outbox::new();
        }
    }
}
