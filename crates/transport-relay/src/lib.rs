//! Frames to peers that are not neighbours.
//!
//! - A [`RelayPath`] seals them for the peer and gives the records to a neighbour that relays them (P6.4).
//! - A [`WaitingPath`] keeps the first ones for as long as there are no keys for the peer yet.

#![forbid(unsafe_code)]

mod path;
mod waiting;

pub use path::{RelayPath, Route};
pub use waiting::WaitingPath;
