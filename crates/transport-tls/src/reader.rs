//! The task that reads a link: frames go to the sink at once, control messages to the event channel.

use std::io;
use std::sync::Arc;

use packet::VnetHdr;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use transport::{Drop, FramePath as _, FrameSink, TapFrame};
use wire::{MAX_MESSAGE, Message, MessageError, PeerName, decode_frame};

use crate::{LinkEvent, LinkEvents, TlsPath};

/// Room for the longest frame message and a TLS record more.
const BUFFER: usize = 96 * 1024;
const LENGTH: usize = 4;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    #[error("the other end closed the link")]
    Closed,
    #[error("link broke: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    NotUnderstood(MessageError),
    #[error("message of {0} bytes, longer than allowed")]
    TooLong(usize),
    #[error("the router stops")]
    NodeGone,
}

pub(crate) struct Reader {
    pub(crate) id: u64,
    pub(crate) peer: PeerName,
    pub(crate) path: Arc<TlsPath>,
    pub(crate) sink: Arc<dyn FrameSink>,
    pub(crate) events: LinkEvents,
}

impl Reader {
    /// Reads until the link ends; says why.
    pub(crate) async fn run<R: AsyncRead + Unpin>(self, mut stream: R) -> ReadEnd {
        match self.read(&mut stream).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn read<R: AsyncRead + Unpin>(&self, stream: &mut R) -> Result<std::convert::Infallible, ReadEnd> {
        let mut buffer = vec![0; BUFFER];
        let (mut start, mut end) = (0, 0);
        loop {
            while let Some(len) = whole_message(&buffer[start..end])? {
                let message = &mut buffer[start + LENGTH..start + LENGTH + len];
                start += LENGTH + len;
                if !self.frame(message) {
                    match Message::decode(message) {
                        Ok(Message::Unknown(_)) => self.path.counters().drops.add(Drop::Malformed, 1),
                        Ok(message) => {
                            let event = (self.id, LinkEvent::Message(message));
                            self.events.send(event).await.map_err(|_| ReadEnd::NodeGone)?;
                        }
                        Err(e) => return Err(ReadEnd::NotUnderstood(e)),
                    }
                }
            }
            if start > 0 {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
            }
            if end == buffer.len() {
                // A control message longer than the buffer; MAX_MESSAGE bounds it.
                buffer.resize((end * 2).min(MAX_MESSAGE + LENGTH), 0);
            } else if end == 0 && buffer.len() > BUFFER {
                buffer = vec![0; BUFFER];
            }
            match stream.read(&mut buffer[end..]).await? {
                0 => return Err(ReadEnd::Closed),
                n => end += n,
            }
        }
    }

    /// Delivers `message` if it is a frame.
    fn frame(&self, message: &mut [u8]) -> bool {
        let Some((hdr, _)) = decode_frame(message) else { return false };
        let body = &mut message[1..];
        // On the wire the header is little-endian (P4.6); the TAP wants host order.
        if let Some(room) = body.first_chunk_mut::<{ VnetHdr::LEN }>() {
            hdr.write_host(room);
        }
        let counters = self.path.counters();
        match TapFrame::checked(body) {
            Ok(frame) => {
                counters.received(frame.frame().segments() as u64, frame.frame().frame().len() as u64);
                self.sink.deliver(self.peer, frame);
            }
            Err(_) => counters.drops.add(Drop::Malformed, 1),
        }
        true
    }
}

/// Length of the first message, if all of it is there.
fn whole_message(bytes: &[u8]) -> Result<Option<usize>, ReadEnd> {
    let Some((len, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    if !(1..=MAX_MESSAGE).contains(&len) {
        return Err(ReadEnd::TooLong(len));
    }
    Ok((rest.len() >= len).then_some(len))
}
