//! [`HandshakeError`]: why a handshake came to nothing.

use std::io;

use wire::{PreludeError, Refuse, RefuseCode};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("{}", connection_text(.0))]
    Io(#[from] io::Error),
    /// Something else than a router listens there, or another version's TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// It speaks TLS but not our protocol.
    #[error("{0}")]
    NotAPeer(PreludeError),
    /// The other end said no.
    #[error("refused by the other end: {0}")]
    RefusedByPeer(Refuse),
    /// We said no.
    #[error("{0}")]
    RefusedByUs(Refuse),
    /// It broke the protocol.
    #[error("the other end broke the protocol: {0}")]
    Protocol(String),
    /// It took too long.
    #[error("no handshake within 10 s")]
    Timeout,
}

impl HandshakeError {
    /// The code of P2.9, if the error has one.
    pub const fn code(&self) -> Option<RefuseCode> {
        match self {
            Self::RefusedByPeer(r) | Self::RefusedByUs(r) => r.known(),
            Self::Io(_) | Self::Tls(_) | Self::NotAPeer(_) | Self::Protocol(_) | Self::Timeout => None,
        }
    }
}

fn connection_text(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "the other end closed the connection in the handshake".into(),
        io::ErrorKind::ConnectionReset => "the other end reset the connection in the handshake".into(),
        _ => format!("connection failed: {e}"),
    }
}
