//! Super-frames through the public face of the crate: the gate, cutting and joining, and hostile input.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cut_and_join;
mod gate;
mod gather;
mod hostile;
mod recipe;
