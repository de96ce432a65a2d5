//! The task that reads a link: frames go to the sink at once, control messages to the event channel.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use packet::VnetHdr;
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use transport::{Drop, FramePath as _, Inbox};
use wire::{MAX_MESSAGE, Message, MessageError, decode_frame};

use crate::incoming::{Incoming, IncomingError, Progress};
use crate::record::RecordError;
use crate::{LinkEvent, LinkEvents, TlsPath};

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
        loop {
            while let Some(message) = incoming.message(MAX_MESSAGE)? {
                if !self.frame(message) {
                    self.control(message).await?;
                }
            }
            match incoming.open()? {
                Progress::Opened(false) => {}
                Progress::Opened(true) => self.path.want_key_update(),
                Progress::Closed => return Err(ReadEnd::Closed),
                Progress::NeedMore => {
                    self.inbox.flush(self.path.counters());
                    // Counts against the task's budget, so that other tasks get their turn.
                    match tcp.read(incoming.room()).await? {
                        0 => return Err(ReadEnd::Cut),
                        n => incoming.filled(n),
                    }
                }
            }
        }
    }

    async fn control(&self, message: &[u8]) -> Result<(), ReadEnd> {
        match Message::decode(message) {
            Ok(Message::Unknown(_)) => self.path.counters().drops.add(Drop::Malformed, 1),
            Ok(message) => {
                let event = (self.id, LinkEvent::Message(message));
                self.events.send(event).await.map_err(|_| ReadEnd::NodeGone)?;
            }
            Err(e) => return Err(ReadEnd::NotUnderstood(e)),
        }
        Ok(())
    }

    /// Delivers `message` if it is a frame.
    fn frame(&mut self, message: &mut [u8]) -> bool {
        let Some((hdr, _)) = decode_frame(message) else { return false };
        let body = &mut message[1..];
        // On the wire the header is little-endian (P4.6); the TAP wants host order.
        if let Some(room) = body.first_chunk_mut::<{ VnetHdr::LEN }>() {
            hdr.write_host(room);
        }
        self.inbox.frame(body, self.path.counters());
        true
    }
}
