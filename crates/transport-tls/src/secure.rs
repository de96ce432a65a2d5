//! From a TCP connection to one with TLS 1.3 in it (P2.1, P2.2), whose records are ours.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::HandshakeError;
use crate::channel::Channel;
use crate::dial::Progress;
use crate::incoming::Incoming;
use crate::record::{HEADER, MAX_RECORD, RecordOpener, RecordSealer, Suite, TrafficSecret};
use crate::tls::{self, Connection};

const PASSWORD_LABEL: &[u8] = b"EXPORTER-weave-password";
const SESSION_LABEL: &[u8] = b"EXPORTER-weave-session";
/// First bytes of a record of the handshake: types 20 to 23, version 3.x.
const TYPES: std::ops::RangeInclusive<u8> = 20..=23;

/// What the TLS handshake gives.
pub(crate) struct Secured {
    pub(crate) channel: Channel,
    /// The other end's identity, proved.
    pub(crate) public_key: [u8; 32],
    /// Exporter output for the password (P3.4).
    pub(crate) binding: [u8; 32],
    /// Exporter output for sessions (P4.2).
    pub(crate) session_secret: [u8; 32],
}

/// Makes the handshake; tells `progress` when something comes.
pub(crate) async fn secure(
    mut tcp: TcpStream,
    connection: Connection,
    progress: Option<&Progress>,
) -> Result<Secured, HandshakeError> {
    let Connection { mut tls, secrets } = connection;
    let early = shake_hands(&mut tcp, &mut tls, progress).await?;
    let public_key = tls::public_key(tls.peer_certificates())
        .ok_or_else(|| HandshakeError::Tls("the other end showed no Ed25519 key".into()))?;
    let client = matches!(tls, rustls::Connection::Client(_));
    let suite = tls.negotiated_cipher_suite().and_then(|suite| Suite::new(suite.suite()));
    let (Some(suite), Some((ours, theirs))) = (suite, secrets.of(client)) else {
        return Err(HandshakeError::Tls("no traffic secrets for the cipher suite agreed on".into()));
    };
    let failed = |e: &dyn std::fmt::Display| HandshakeError::Tls(e.to_string());
    let secret = |bytes| TrafficSecret::new(suite, bytes).map_err(|e| failed(&e));
    let sealer = RecordSealer::new(secret(ours)?).map_err(|e| failed(&e))?;
    let opener = RecordOpener::new(secret(theirs)?).map_err(|e| failed(&e))?;
    let export = |label| tls.export_keying_material([0; 32], label, None).map_err(|e| failed(&e));
    Ok(Secured {
        channel: Channel::new(tcp, sealer, Incoming::new(opener, early)),
        public_key,
        binding: export(PASSWORD_LABEL)?,
        session_secret: export(SESSION_LABEL)?,
    })
}

/// Takes rustls through the handshake; gives the bytes that came after it.
///
/// It is fed one record at a time: what it does not get to see it cannot swallow.
async fn shake_hands(
    tcp: &mut TcpStream,
    tls: &mut rustls::Connection,
    progress: Option<&Progress>,
) -> Result<Vec<u8>, HandshakeError> {
    let mut bytes = Vec::new();
    loop {
        send(tcp, tls).await?;
        if !tls.is_handshaking() {
            return Ok(bytes);
        }
        let record = loop {
            match first_record(&bytes) {
                Some(len) => break len,
                None => {
                    receive(tcp, &mut bytes).await?;
                    progress.inspect(|progress| progress.heard());
                }
            }
        };
        let mut rest = &bytes[..record];
        while !rest.is_empty() {
            if tls.read_tls(&mut rest)? == 0 {
                return Err(HandshakeError::Tls("the other end closed in the handshake".into()));
            }
            if let Err(e) = tls.process_new_packets() {
                // It hears why; that we know why matters more.
                let _ = send(tcp, tls).await;
                return Err(HandshakeError::Tls(e.to_string()));
            }
        }
        bytes.drain(..record);
    }
}

async fn send(tcp: &mut TcpStream, tls: &mut rustls::Connection) -> io::Result<()> {
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out)?;
    }
    tcp.write_all(&out).await
}

async fn receive(tcp: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    // One record at most, whatever the other end sends.
    bytes.reserve(MAX_RECORD.saturating_sub(bytes.len()));
    match tcp.read_buf(bytes).await? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Length of the first record, if it is there. What is no record counts as one: rustls knows what to say about it.
fn first_record(bytes: &[u8]) -> Option<usize> {
    let (&[kind, major, _, high, low], rest) = bytes.split_first_chunk::<HEADER>()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !TYPES.contains(&kind) || major != 3 || HEADER + len > MAX_RECORD {
        return Some(bytes.len());
    }
    (rest.len() >= len).then_some(HEADER + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_where_they_end() {
        assert_eq!(first_record(&[22, 3, 1, 0]), None);
        assert_eq!(first_record(&[22, 3, 1, 0, 3, 1, 2]), None);
        assert_eq!(first_record(&[22, 3, 1, 0, 3, 1, 2, 3, 23]), Some(8));
        assert_eq!(first_record(b"SSH-2.0-x"), Some(9), "no TLS at all");
        assert_eq!(first_record(&[22, 3, 3, 0xff, 0xff, 1]), Some(6), "too long to wait for");
    }
}
