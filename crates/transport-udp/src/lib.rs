//! Frames in sealed UDP records (P4).
//!
//! One socket serves all peers. [`UdpTransport`] owns it and the thread that receives; a [`UdpPath`] seals and sends to one peer from
//! whichever thread calls it. Sessions are agreed on elsewhere: [`UdpTransport::install`] hands over an opener, [`UdpPath::rekey`] a sealer.

#![forbid(unsafe_code)]

mod coalescing;
mod endpoint;
mod path;
mod receiver;
mod sessions;
mod socket;
mod train;
mod trust;

pub use endpoint::{UdpError, UdpTransport};
pub use path::{Sent, UdpPath};
pub use receiver::{Receiver, UdpEvent};
pub use socket::Socket;
pub use trust::{PACE, Sample, Trust, Why};
