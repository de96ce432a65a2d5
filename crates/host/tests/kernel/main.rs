//! The Linux side against the kernel it is made for.
//!
//! Each test has network namespaces of its own, which end with it. Without root or without `/dev/net/tun` the tests say
//! so and pass.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

mod bridge;
mod expose;
mod firewall;
mod netns;
mod network;
mod port;
mod support;
mod tap;
mod wipe;
