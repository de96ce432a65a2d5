//! [`RecordOpener`]: the receiving direction.

use aws_lc_rs::aead::Aad;

use super::keys::Keys;
use super::{
    ALERT, APPLICATION_DATA, Alert, HANDSHAKE, HEADER, KEY_UPDATE, MAX_RECORD, NEW_SESSION_TICKET,
    RecordError, TAG, TRAILER, TrafficSecret,
};

/// Longest handshake message that is put together: a NewSessionTicket is never longer.
const MAX_HANDSHAKE: usize = 4 + 4 + 1 + 255 + 2 + 65_535 + 2 + 65_535;

/// What was in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// So many bytes of content, at the start of the room that was given.
    Content(usize),
    /// Nothing for the layer above. `true`: the other end asks for a key update.
    Handshake(bool),
    /// The other end has said all it had to say.
    Closed,
}

/// Opens records, in the order they were sent.
pub(crate) struct RecordOpener {
    secret: TrafficSecret,
    keys: Keys,
    seq: u64,
    /// The beginning of a handshake message that goes on in the next record.
    handshake: Vec<u8>,
}

impl RecordOpener {
    /// Starts with the secret of the handshake.
    ///
    /// # Errors
    /// When the crypto library refuses the keys.
    pub(crate) fn new(secret: TrafficSecret) -> Result<Self, RecordError> {
        let keys = secret.keys()?;
        Ok(Self { secret, keys, seq: 0, handshake: Vec::new() })
    }

    /// Length of the first record with its header, if all of it is there.
    ///
    /// # Errors
    /// When this is no record that may come after the handshake.
    pub(crate) fn whole(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != APPLICATION_DATA {
            return Err(RecordError::Outer(header[0]));
        }
        if HEADER + len > MAX_RECORD {
            return Err(RecordError::TooLong(len));
        }
        if len < TRAILER {
            return Err(RecordError::NoType);
        }
        Ok((rest.len() >= len).then_some(HEADER + len))
    }

    /// Opens one whole record into `out`, which has room for all of it but header and tag.
    ///
    /// # Errors
    /// When it does not open, or holds what has no place here. The connection is of no use then.
    pub(crate) fn open(&mut self, record: &[u8], out: &mut [u8]) -> Result<Opened, RecordError> {
        let (header, body) = record.split_first_chunk::<HEADER>().ok_or(RecordError::NoType)?;
        let (sealed, tag) = body.split_last_chunk::<TAG>().ok_or(RecordError::NoType)?;
        let inner = out.get_mut(..sealed.len()).ok_or(RecordError::TooLong(sealed.len()))?;
        self.keys
            .key
            .open_separate_gather(self.keys.nonce(self.seq), Aad::from(header), sealed, tag, inner)
            .map_err(|_| RecordError::Forged)?;
        self.seq += 1;
        // The type is the last byte that is not zero; what follows it is padding.
        let end = inner.iter().rposition(|b| *b != 0).ok_or(RecordError::NoType)?;
        if end > super::MAX_CONTENT {
            return Err(RecordError::TooLong(end));
        }
        let (content, kind) = (&inner[..end], inner[end]);
        if kind != HANDSHAKE && !self.handshake.is_empty() {
            return Err(RecordError::HandshakeForm);
        }
        match kind {
            APPLICATION_DATA => Ok(Opened::Content(end)),
            HANDSHAKE => self.handshake(content),
            ALERT => match content {
                [_, description] if Alert(*description) == Alert::CLOSE_NOTIFY => Ok(Opened::Closed),
                [_, description] => Err(RecordError::Alert(Alert(*description))),
                _ => Err(RecordError::AlertForm),
            },
            other => Err(RecordError::Inner(other)),
        }
    }

    /// Handshake messages after the handshake: key updates are followed, tickets thrown away.
    fn handshake(&mut self, content: &[u8]) -> Result<Opened, RecordError> {
        if content.is_empty() {
            return Err(RecordError::HandshakeForm);
        }
        self.handshake.extend_from_slice(content);
        let mut requested = false;
        while let Some((&[kind, a, b, c], rest)) = self.handshake.split_first_chunk::<4>() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != KEY_UPDATE && kind != NEW_SESSION_TICKET {
                return Err(RecordError::Handshake(kind));
            }
            if len > MAX_HANDSHAKE || kind == KEY_UPDATE && len != 1 {
                return Err(RecordError::HandshakeForm);
            }
            let Some((message, after)) = rest.split_at_checked(len) else { break };
            if kind == KEY_UPDATE {
                // Further messages in this record would be under the old key (RFC 8446 section 5.1).
                let ([request @ (0 | 1)], []) = (message, after) else {
                    return Err(RecordError::HandshakeForm);
                };
                requested |= *request == 1;
                self.secret = self.secret.next()?;
                self.keys = self.secret.keys()?;
                self.seq = 0;
            }
            self.handshake.drain(..4 + len);
        }
        if self.handshake.is_empty() {
            self.handshake = Vec::new();
        }
        Ok(Opened::Handshake(requested))
    }
}
