//! Links: TLS 1.3 over TCP, for control messages, frames and relayed records (P2, P3).
//!
//! [`Endpoint`] holds what this peer proves itself with. [`Endpoint::dial`] and [`Endpoint::accept`] take a TCP connection through the
//! handshake and give an [`Established`] link; [`Established::start`] turns it into a running [`Link`], whose frames travel by its
//! [`TlsPath`] and whose control messages go through channels.

#![forbid(unsafe_code)]

mod channel;
mod congestion;
mod dial;
mod fair;
mod flow;
mod handshake;
mod incoming;
mod link;
mod pace;
mod password;
mod path;
mod queue;
mod quiet;
mod reader;
mod reading;
mod receiver;
mod record;
mod secure;
mod simultaneous;
mod tls;
mod watched;
mod writer;

pub use congestion::{Congestion, CongestionError};
pub use dial::{Dialled, Progress, SHORT_SEGMENT, Turn, connect_short};
pub use handshake::{Endpoint, Established, Expect, HandshakeError, LocalHello};
pub use link::{Link, LinkEvent, LinkEvents};
pub use password::{Password, PasswordError};
pub use path::TlsPath;
pub use receiver::{Handover, Receiver};
pub use simultaneous::dial_simultaneous;
pub use tls::{Credentials, Shown, ShownError, TlsError};
