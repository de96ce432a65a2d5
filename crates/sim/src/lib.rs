//! Whole networks in one process, with a clock that jumps.
//!
//! [`World`] holds peers, each with a real [`mesh::Mesh`], and the network below them: connections that keep their order
//! and take their time, and everything that can go wrong with them. Messages are encoded where they are sent and decoded where
//! they arrive. One seed gives one run, but for the bytes of session keys. [`truth`] compares what the peers believe with what is.
//!
//! After [`World::carry_frames_too`] each peer also has a data path: a real [`router::Forwarder`], sessions with peers that are not its
//! neighbours, relay paths, a bridge. A ledger sees to it that nothing goes anywhere twice. [`Host`]s are network stacks behind bridges.
//!
//! [`schedule`] draws small networks and their troubles from seeds.
//!
//! Signatures are verified for real, but each distinct one once in a process ([`verify`]).

#![forbid(unsafe_code)]

mod conditions;
mod data;
mod host;
mod ledger;
mod memo;
mod names;
mod peer;
mod queue;
pub mod schedule;
mod traffic;
pub mod truth;
mod world;

pub use conditions::Conditions;
pub use host::{Host, HostConfig};
pub use memo::verify;
pub use peer::{Peer, PeerConfig};
pub use traffic::{Tally, Traffic};
pub use world::World;
