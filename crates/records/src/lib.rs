//! Frames as sealed records (P4), whichever way the records travel: straight over UDP, or through peers in between.
//!
//! - [`for_each_payload`] cuts a frame into the payloads of its records; whoever calls seals each and lays it out.
//! - [`Session`] is the other end: it opens the records of one session and hands over the frames, joined where they arrive in order.
//! - [`Table`] holds the sessions with peers that are not neighbours, for whichever thread their records arrive at.
//!
//! Pure: no sockets, no clock, no randomness.

#![forbid(unsafe_code)]

mod cut;
mod session;
mod table;
#[cfg(test)]
mod testing;

pub use cut::{TrainNumbers, for_each_payload};
pub use session::{Content, Session};
pub use table::{DirectPath, Table, TableEvent, UdpEvent};
