//! Reading and writing single messages, as the handshake needs it.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wire::{Message, PRELUDE_LEN, Prelude, Refuse};

use crate::HandshakeError;

/// Longest message before the other end is let in, in bytes: a stranger may not make us hold more.
const MAX_EARLY: usize = 16 * 1024;
/// How long a refused peer may take to read the reason before the connection goes.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) async fn exchange_preludes<S>(stream: &mut S, ours: &Prelude) -> Result<Prelude, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&ours.encode()).await?;
    stream.flush().await?;
    let mut theirs = [0; PRELUDE_LEN];
    stream.read_exact(&mut theirs).await?;
    Prelude::decode(&theirs).map_err(HandshakeError::NotAPeer)
}

pub(crate) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &Message) -> std::io::Result<()> {
    stream.write_all(&message.encode()).await?;
    stream.flush().await
}

/// The next message; a refusal becomes an error.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Message, HandshakeError> {
    loop {
        let len = stream.read_u32().await? as usize;
        if !(1..=MAX_EARLY).contains(&len) {
            return Err(HandshakeError::Protocol(format!("a message of {len} bytes in the handshake")));
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        match Message::decode(&body).map_err(|e| HandshakeError::Protocol(e.to_string()))? {
            Message::Refuse(refuse) => return Err(HandshakeError::RefusedByPeer(refuse)),
            Message::Unknown(_) => {}
            message => return Ok(message),
        }
    }
}

/// Sends the reason and waits until the other end has had a chance to read it: closing with unread bytes in our receive buffer
/// would reset the connection and take the reason along.
pub(crate) async fn refuse<S>(stream: &mut S, refuse: &Refuse)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        write(stream, &Message::Refuse(refuse.clone())).await?;
        stream.shutdown().await?;
        let mut sink = [0; 512];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever goes wrong here, the connection is going away.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}
