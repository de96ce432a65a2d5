//! The contract that every way of carrying frames between two peers fulfils.
//!
//! A [`FramePath`] takes super-frames towards one peer; what arrives from a peer goes to a [`FrameSink`]. Both are called from plain
//! threads and from async tasks alike, never block, and never lose a frame without counting it. A [`HopPath`] leads to a neighbour, and
//! also takes what travels on from there: frames for everyone, and records of other peers' sessions.
//!
//! - **C1** A frame arrives with the bytes it was sent with, or not at all. A super-frame arrives whole or as the segments it stands for.
//! - **C2** Frames of one sender thread arrive in the order they were sent, as far as the network below keeps order.
//! - **C3** The sink is told which peer a frame came from, and that peer is authenticated.
//! - **C4** `send` never blocks. When there is no room, a frame is dropped and counted: the newest, or an older one of a flow
//!   that has more than its share waiting. What waits is neither sent nor dropped yet.
//! - **C5** A frame larger than [`FramePath::max_frame`] is refused, not cut.
//! - **C6** A closed path refuses; it never panics.
//! - **C7** A frame for everyone arrives with the header it was sent with. Where a super-frame arrives as its segments, the `n`-th has
//!   the sequence plus `n`.
//! - **C8** A relayed record arrives byte for byte, with the hops it was sent with, in order with what was sent before and after it;
//!   only frames that the sink takes gathered may come later.
//! - **C9** A relayed record longer than [`HopPath::max_relayed`] is refused and counted, not cut.
//!
//! `conformance::run` proves C1 to C6 for an implementation, `conformance::run_hops` proves C4 and C6 to C9 for one that leads to a
//! neighbour; the in-memory one of [`memory`] is the model.

#![forbid(unsafe_code)]

mod batch;
#[cfg(any(test, feature = "conformance"))]
#[expect(clippy::expect_used, reason = "a test suite: what is unexpected fails the test")]
pub mod conformance;
mod counters;
mod hop_paths;
mod inbox;
pub mod memory;
mod outbox;
mod path;
mod tap_frame;

pub use batch::{Batch, BatchEnd};
pub use counters::{Drop, DropCounters, PathCounters};
pub use hop_paths::HopPaths;
pub use inbox::Inbox;
pub use outbox::{Holding, Outbox};
pub use path::{FramePath, FrameSink, HopPath, PathKind, RecordSink, SealedPath};
pub use tap_frame::TapFrame;
