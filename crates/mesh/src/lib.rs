//! Who is in the network, who is linked to whom, which links to keep, and when a path is good.
//!
//! Pure: no sockets, no clock, no randomness of its own. What happens goes in by `handle_*` with the time it
//! happens at; what is to be done comes out by `poll_*`, and the time of the next look by `poll_timeout`. One rule
//! holds for [`Mesh`] and [`PathProber`] alike: after each call that puts something in, take out everything, then
//! sleep.
//!
//! - [`Identity`]: the key that a peer is, and the name that follows from it (P1).
//! - [`Mesh`]: links, facts and dials of one peer. Facts are signed by their origin and spread along a tree
//!   that finds itself, repaired by digests (P5); a topology is what both ends of a link state; addresses that others state are
//!   dialled until everyone is linked to everyone. Who is not reached is forgotten.
//! - [`PathProber`]: whether records over UDP reach a neighbour (P4.9).

#![forbid(unsafe_code)]

mod identity;

mod attempt;
mod backoff;
mod discovery;
mod distant;
mod facts;
mod links;
mod mesh;
mod nat;
mod notices;
mod pace;
mod plumtree;
mod reach;
mod targets;
mod text;
mod view;

mod path;

#[cfg(test)]
mod testing;

pub use distant::{Guess, GuessCounts, Meet, MeetingPoint, SessionEvent};
pub use identity::{Identity, Verify, name_of, verify};
pub use mesh::{Action, DialId, DialTo, LinkId, LinkUp, LinkWay, Mesh, MeshConfig, RemoveError};
pub use nat::{mapping_of, outlook};
pub use path::{
    Cause, Choice, LONG, Lost, Other, PathEvent, PathProber, PathSample, PathState, Probe, ResizeCause,
    Resized, Way,
};
pub use view::{
    ConnectionState, ConnectionView, Counters, LinkView, PeerLink, PeerView, TableSizes, TargetView, Unlinked,
};
