//! What follows from who is linked to whom (P8).
//!
//! Pure functions of what peers state: nothing here sends, waits or keeps time. Peers are numbered densely by the order
//! of their names, and links lie in flat vectors, so that a mesh of thousands is worked out in well under a
//! millisecond.
//!
//! - [`Graph`]: the links that both ends state, and what they cost; made once, and kept up to date with what changes.
//! - [`cost`]: from a round-trip time to a class.
//! - [`Routes`]: the cheapest path to everyone; [`children`]: the next hops of the tree that reaches everyone from one
//!   source.
//! - [`Reached`]: who is within reach, also without a certain link.
//! - [`Rings`]: whom a peer of a large mesh keeps links to.

#![forbid(unsafe_code)]

pub mod cost;

mod dijkstra;
mod graph;
mod reach;
mod rings;
mod routes;
mod tree;

#[cfg(test)]
mod testing;

pub use graph::{Change, Graph};
pub use reach::Reached;
pub use rings::{EVERYONE, RINGS, Rings};
pub use routes::Routes;
pub use tree::children;
