//! The task that reads a link: frames and records go to the sink at once, control messages to the event channel.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use packet::VnetHdr;
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
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

pub(crate) struct Reader {
    pub(crate) id: u64,
    pub(crate) path: Arc<TlsPath>,
    pub(crate) inbox: Inbox,
    pub(crate) events: LinkEvents,
}

impl Reader {
    /// Reads until the link ends; says why.
    pub(crate) async fn run(mut self, mut tcp: OwnedReadHalf, incoming: Incoming) -> ReadEnd {
        let Err(end) = self.read(&mut tcp, incoming).await;
        if let ReadEnd::Record(e) = &end
            && let Some(alert) = e.alert()
        {
            self.path.give_up(alert);
        }
        end
    }

    async fn read(&mut self, tcp: &mut OwnedReadHalf, mut incoming: Incoming) -> Result<Infallible, ReadEnd> {
        let mut onward = Onward::default();
        loop {
            while let Some(message) = incoming.message(MAX_MESSAGE)? {
                if !self.frame(message, &mut onward) {
                    self.control(message, &mut onward).await?;
                }
            }
            match incoming.open()? {
                Progress::Opened(false) => {}
                Progress::Opened(true) => self.path.want_key_update(),
                Progress::Closed => return Err(ReadEnd::Closed),
                Progress::NeedMore => {
                    self.inbox.flush(self.path.counters());
                    onward.end();
                    // Counts against the task's budget, so that other tasks get their turn.
                    match tcp.read(incoming.room()).await? {
                        0 => return Err(ReadEnd::Cut),
                        n => incoming.filled(n),
                    }
                }
            }
        }
    }

    async fn control(&mut self, message: &[u8], onward: &mut Onward) -> Result<(), ReadEnd> {
        match Message::decode(message) {
            Ok(Message::Unknown(_)) => self.path.counters().drops.add(Drop::Malformed, 1),
            Ok(message) => {
                let event = (self.id, LinkEvent::Message(message));
                match self.events.try_send(event) {
                    Ok(()) => {}
                    Err(TrySendError::Full(event)) => {
                        // Frames do not wait for the control side.
                        self.inbox.flush(self.path.counters());
                        onward.flush();
                        self.events.send(event).await.map_err(|_| ReadEnd::NodeGone)?;
                    }
                    Err(TrySendError::Closed(_)) => return Err(ReadEnd::NodeGone),
                }
            }
            Err(e) => return Err(ReadEnd::NotUnderstood(e)),
        }
        Ok(())
    }

    /// Delivers `message` if it is a frame or a relayed record.
    fn frame(&mut self, message: &mut [u8], onward: &mut Onward) -> bool {
        let counters = self.path.counters();
        if let Some((hdr, _)) = decode_frame(message) {
            self.inbox.frame(host_order(&mut message[1..], &hdr), counters);
            return true;
        }
        if !is_relayed_or_group(message) {
            return false;
        }
        let len = message.len();
        if let Some((group, hdr, _)) = decode_group_frame(message) {
            let frame = host_order(&mut message[1 + GROUP_HEADER..], &hdr);
            self.inbox.group_frame(&group, frame, counters, &mut onward.out);
        } else if let Some((hops, record)) = decode_relayed(message) {
            self.inbox.relay(hops, record, counters, &mut onward.out);
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
