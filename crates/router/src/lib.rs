//! Where a frame goes: the MAC table, the snapshot that data threads forward by, the decisions, and what is counted.
//!
//! The control side owns a [`MacTable`] and publishes a [`Fib`], immutable, whenever it changes. Data threads read the newest
//! one, decide by pure functions, and report what they learned through a callback. Nothing here blocks, and nothing asks
//! the clock: times are whole seconds that the caller read once for a batch.
//!
//! What is for one peer takes the paths of that peer, whether it is a neighbour or not. What is for everyone goes from neighbour to
//! neighbour, along the tree of its source, and each peer takes it once (P7). Records of other peers' sessions go to the next of the
//! neighbours that they name (P6.4).
//!
//! A frame that does not fit the path to its peer is not simply dropped: `fit` makes it fit, sends it another way, or tells its sender.

#![forbid(unsafe_code)]

mod acted;
mod ahead;
mod decide;
mod fib;
mod fit;
mod forwarder;
mod mac_table;
mod outgoing;
mod sources;

pub use acted::{Acted, TOLD_PER_SECOND};
pub use ahead::Ahead;
pub use decide::{Decision, decide_local, decide_remote};
pub use fib::{Fib, MacEntry, PeerEntry, PeerPaths, Place};
pub use forwarder::{Forwarder, Learned, Notice, TapWriter};
pub use mac_table::{MAC_AGE_SECS, MAC_LIMIT, MacTable, MacView};
pub use outgoing::Outgoing;
pub use sources::MAX_SOURCES;
