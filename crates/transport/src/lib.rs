//! The contract that every way of carrying frames between two peers fulfils.
//!
//! A [`FramePath`] takes super-frames towards one peer; what arrives from a peer goes to a [`FrameSink`]. Both are called from plain
//! threads and from async tasks alike, never block, and never lose a frame without counting it.
//!
//! - **C1** A frame arrives with the bytes it was sent with, or not at all. A super-frame arrives whole or as the segments it stands for.
//! - **C2** Frames of one sender thread arrive in the order they were sent, as far as the network below keeps order.
//! - **C3** The sink is told which peer a frame came from, and that peer is authenticated.
//! - **C4** `send` never blocks. When there is no room, the newest frame is dropped and counted.
//! - **C5** A frame larger than [`FramePath::max_frame`] is refused, not cut.
//! - **C6** A closed path refuses; it never panics.
//!
//! `conformance::run` proves C1 to C6 for an implementation; the in-memory one of [`memory`] is the model.

#![forbid(unsafe_code)]

mod batch;
#[cfg(any(test, feature = "conformance"))]
#[expect(clippy::expect_used, reason = "a test suite: what is unexpected fails the test")]
pub mod conformance;
mod counters;
mod inbox;
pub mod memory;
mod outbox;
mod path;
mod tap_frame;

pub use batch::Batch;
pub use counters::{Drop, DropCounters, PathCounters};
pub use inbox::Inbox;
pub use outbox::Outbox;
pub use path::{FramePath, FrameSink, HopPath, PathKind};
pub use tap_frame::TapFrame;
