//! Several meshes joined by links in memory, tested through their public face.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "all of this is a test")]

mod harness;

mod addresses;
mod carrying;
mod distant;
mod duplicates;
mod facts;
mod gossip;
mod guessing;
mod identity;
mod joining;
mod limits;
mod losing;
mod many;
mod meeting;
