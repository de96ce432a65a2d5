//! Frames through the public face of the crate: the gate, cutting and joining, what does not fit, and hostile input.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cut_and_join;
mod filled;
mod fragment;
mod gate;
mod gather;
mod hostile;
mod mss;
mod packets;
mod recipe;
mod resegment;
mod too_big;
