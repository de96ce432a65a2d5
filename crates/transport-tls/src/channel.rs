//! [`Channel`]: single messages both ways, as the handshake needs it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::{Message, PRELUDE_LEN, Prelude, Refuse};

use crate::HandshakeError;
use crate::incoming::{Incoming, IncomingError, Progress};
use crate::record::{Alert, RecordSealer};

/// Longest message before the other end is let in, in bytes: a stranger may not make us hold more.
const MAX_EARLY: usize = 16 * 1024;
/// How long a refused peer may take to read the reason before the connection goes.
const LINGER: Duration = Duration::from_secs(1);

/// A connection with TLS in it, that one task reads and writes.
pub(crate) struct Channel {
    tcp: TcpStream,
    sealer: RecordSealer,
    incoming: Incoming,
}

impl Channel {
    pub(crate) const fn new(tcp: TcpStream, sealer: RecordSealer, incoming: Incoming) -> Self {
        Self { tcp, sealer, incoming }
    }

    /// For the tasks of a running link. What came early is in the last part.
    pub(crate) fn into_parts(self) -> (TcpStream, RecordSealer, Incoming) {
        (self.tcp, self.sealer, self.incoming)
    }

    /// Both preludes at the same time, each in a record that fills a segment: who has the other's knows that such segments pass
    /// this way, and finds out now if they do not (P2.12).
    pub(crate) async fn exchange_preludes(&mut self, ours: &Prelude) -> Result<Prelude, HandshakeError> {
        let segment = SockRef::from(&self.tcp).tcp_mss().map_or(0, |bytes| bytes as usize);
        let mut out = Vec::new();
        self.sealer.append_padded(&ours.encode(), segment, &mut out).map_err(io::Error::other)?;
        self.tcp.write_all(&out).await?;
        loop {
            if let Some(Ok(theirs)) =
                self.incoming.take(PRELUDE_LEN).map(|b| <&[u8; PRELUDE_LEN]>::try_from(&*b))
            {
                return Prelude::decode(theirs).map_err(HandshakeError::NotAPeer);
            }
            self.fill().await?;
        }
    }

    pub(crate) async fn write(&mut self, message: &Message) -> io::Result<()> {
        self.send(&message.encode()).await
    }

    /// The next message; a refusal becomes an error.
    pub(crate) async fn read(&mut self) -> Result<Message, HandshakeError> {
        loop {
            let message = self.incoming.message(MAX_EARLY).map_err(|e| match e {
                IncomingError::Record(e) => HandshakeError::Tls(e.to_string()),
                IncomingError::TooLong(len) => {
                    HandshakeError::Protocol(format!("a message of {len} bytes in the handshake"))
                }
            })?;
            let Some(body) = message else {
                self.fill().await?;
                continue;
            };
            match Message::decode(body).map_err(|e| HandshakeError::Protocol(e.to_string()))? {
                Message::Refuse(refuse) => return Err(HandshakeError::RefusedByPeer(refuse)),
                Message::Unknown(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// Sends the reason and waits until the other end has had a chance to read it: closing with unread bytes in our receive buffer
    /// would reset the connection and take the reason along.
    pub(crate) async fn refuse(&mut self, refuse: &Refuse) {
        let farewell = async {
            let mut out = Vec::new();
            self.sealer
                .append(&Message::Refuse(refuse.clone()).encode(), &mut out)
                .map_err(io::Error::other)?;
            self.sealer.append_alert(Alert::CLOSE_NOTIFY, &mut out).map_err(io::Error::other)?;
            self.tcp.write_all(&out).await?;
            self.tcp.shutdown().await?;
            let mut sink = [0; 512];
            while self.tcp.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever goes wrong here, the connection is going away.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }

    async fn send(&mut self, content: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        self.sealer.append(content, &mut out).map_err(io::Error::other)?;
        self.tcp.write_all(&out).await
    }

    /// Opens one more record.
    async fn fill(&mut self) -> Result<(), HandshakeError> {
        loop {
            match self.incoming.open().map_err(|e| HandshakeError::Tls(e.to_string()))? {
                Progress::Opened(false) => return Ok(()),
                // Nobody updates keys that are seconds old.
                Progress::Opened(true) => {
                    return Err(HandshakeError::Protocol("a key update in the handshake".into()));
                }
                Progress::Closed => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Progress::NeedMore => {
                    let read = self.tcp.read(self.incoming.room()).await?;
                    if read == 0 {
                        return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
                    }
                    self.incoming.filled(read);
                }
            }
        }
    }
}
