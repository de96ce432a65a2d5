//! Frames in sealed UDP records (P4).
//!
//! One socket serves all peers, but for paths that ports were guessed for ([`Extra`]). [`UdpTransport`] owns it and the thread that
//! receives; a [`UdpPath`] seals and sends to one peer from whichever thread calls it. Sessions are agreed on elsewhere: [`UdpTransport::install`] hands over an opener, [`UdpPath::rekey`] a sealer.
//! Records that are on their way to another peer (P6.4) go to the sink, and what it has them do next leaves at the end of each batch.

#![forbid(unsafe_code)]

mod coalescing;
mod endpoint;
mod errors;
mod extra;
mod fallback;
mod inside;
mod path;
mod receiver;
mod sessions;
mod socket;
mod train;
mod trust;

pub use endpoint::{UdpError, UdpTransport};
pub use errors::is_for_want_of_room;
pub use extra::Extra;
pub use inside::Inside;
pub use path::{LEAST_RECORD, Sent, UdpPath};
pub use receiver::Receiver;
pub use records::UdpEvent;
pub use socket::Socket;
pub use trust::{PACE, Sample, Trust, Why};
