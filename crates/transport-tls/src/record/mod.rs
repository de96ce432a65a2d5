//! The record layer of TLS 1.3 (RFC 8446 section 5), pure: bytes in, bytes out.
//!
//! rustls makes the handshake; from there on records are sealed and opened here, because its connection object would copy every
//! byte three times and put one lock around both directions. What is on the wire is plain TLS 1.3.

mod alert;
mod keys;
pub(crate) mod layout;
mod open;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use alert::Alert;
pub(crate) use keys::{Suite, TrafficSecret};
pub(crate) use open::{Opened, RecordOpener};
pub(crate) use seal::RecordSealer;

/// Type (u8), legacy version (u16), length of what follows (u16).
pub(crate) const HEADER: usize = 5;
/// Longest content of a record, in bytes.
pub(crate) const MAX_CONTENT: usize = 1 << 14;
/// Length of the tag of all three ciphers.
pub(crate) const TAG: usize = 16;
/// What follows the content: its type, and the tag.
pub(crate) const TRAILER: usize = 1 + TAG;
/// Longest record with its header: content, type, padding and tag may take 256 bytes more than the content.
pub(crate) const MAX_RECORD: usize = HEADER + MAX_CONTENT + 256;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Why a record is refused. The link ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("TLS record of type {0}, but only encrypted ones (23) may come after the handshake")]
    Outer(u8),
    #[error("TLS record of {0} bytes, longer than the 16640 allowed")]
    TooLong(usize),
    #[error("TLS record does not open: it was changed on the way, or one is missing before it")]
    Forged,
    #[error("TLS record without a content type")]
    NoType,
    #[error("TLS record with content type {0}, which has no place after the handshake")]
    Inner(u8),
    #[error("TLS handshake message of type {0}, which has no place after the handshake")]
    Handshake(u8),
    #[error("TLS handshake message malformed or torn apart")]
    HandshakeForm,
    #[error("TLS alert malformed")]
    AlertForm,
    #[error("the other end gave up: TLS alert {0}")]
    Alert(Alert),
    #[error("the crypto library refuses the traffic keys")]
    Keys,
}

impl RecordError {
    /// What to tell the other end (RFC 8446 section 6.2); nothing, when it has given up itself.
    pub(crate) const fn alert(self) -> Option<Alert> {
        Some(match self {
            Self::Outer(_) | Self::NoType | Self::Inner(_) | Self::Handshake(_) => Alert::UNEXPECTED_MESSAGE,
            Self::TooLong(_) => Alert::RECORD_OVERFLOW,
            Self::Forged => Alert::BAD_RECORD_MAC,
            Self::HandshakeForm | Self::AlertForm => Alert::DECODE_ERROR,
            Self::Keys => Alert::INTERNAL_ERROR,
            Self::Alert(_) => return None,
        })
    }
}
