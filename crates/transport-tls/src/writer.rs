//! The task that writes a link: control messages first, then frames.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use wire::Message;

use crate::TlsPath;

/// Frames are written this many bytes at a time, so that a control message waits for no more than this.
const CHUNK: usize = 128 * 1024;
/// A buffer that grew beyond this is given back when it is empty.
const KEEP: usize = 1024 * 1024;

/// Writes until the control channel closes, a refusal was written, or the connection breaks.
pub(crate) async fn run<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut control: mpsc::Receiver<Message>,
    path: Arc<TlsPath>,
) -> io::Result<()> {
    let mut frames = Vec::new();
    loop {
        tokio::select! {
            biased;
            message = control.recv() => match message {
                Some(message) => if write(&mut stream, &message).await? { return stream.shutdown().await },
                None => return stream.shutdown().await,
            },
            () = path.wait() => {}
        }
        loop {
            path.take(&mut frames);
            if frames.is_empty() {
                break;
            }
            let mut rest = &frames[..];
            while !rest.is_empty() {
                while let Ok(message) = control.try_recv() {
                    if write(&mut stream, &message).await? {
                        return stream.shutdown().await;
                    }
                }
                let (chunk, tail) = rest.split_at(chunk_len(rest));
                stream.write_all(chunk).await?;
                rest = tail;
            }
            frames.clear();
            if frames.capacity() > KEEP {
                frames = Vec::new();
            }
        }
        stream.flush().await?;
    }
}

/// Gives whether it was the last message.
async fn write<W: AsyncWrite + Unpin>(stream: &mut W, message: &Message) -> io::Result<bool> {
    stream.write_all(&message.encode()).await?;
    stream.flush().await?;
    Ok(matches!(message, Message::Refuse(_)))
}

/// How many bytes of whole messages make up the next chunk: at least one message, then as many as fit.
fn chunk_len(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some((len, _)) = bytes.get(end..).and_then(|rest| rest.split_first_chunk::<4>()) {
        let next = end + 4 + u32::from_be_bytes(*len) as usize;
        if end > 0 && next > CHUNK {
            break;
        }
        end = next;
    }
    end.min(bytes.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        let mut b = (len as u32).to_be_bytes().to_vec();
        b.resize(4 + len, 0);
        b
    }

    #[test]
    fn a_chunk_ends_between_messages() {
        let two = [message(100_000), message(100_000)].concat();
        assert_eq!(chunk_len(&two), 100_004);
        assert_eq!(chunk_len(&message(200_000)), 200_004, "one message that is larger than a chunk");
        assert_eq!(chunk_len(&[message(10), message(20)].concat()), 38);
    }
}
