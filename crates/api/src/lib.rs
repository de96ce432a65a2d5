//! The daemon's HTTP interface: types, text pages, server, client.
//!
//! The daemon implements [`Control`]; [`control_router`] offers all of it on the Unix socket, [`public_router`] the
//! read-only part on the status address. The command line talks to the socket through [`Client`]. Text pages keep the
//! shape of the original Weave Net's, because scripts parse them; JSON keys are in PascalCase, as in its `report` and
//! in Docker's API.
#![forbid(unsafe_code)]

pub mod address;
mod client;
mod control;
mod listen;
mod messages;
pub mod render;
mod report;
#[cfg(test)]
mod sample;
mod server;
#[cfg(test)]
mod tests;
mod why;

pub use client::{Client, ClientError};
pub use control::{Control, ControlError, Status};
pub use listen::{ServeError, serve_tcp, serve_unix};
pub use messages::{
    Addresses, Attach, Check, Connect, Detach, Expose, Forget, Hide, PsEntry, RemovePeers, RemovedPeer,
    RemovedPeers, VersionAnswer, Why,
};
pub use report::{
    Authentication, ConnectionReport, ConnectionState, Direction, DockerReport, MacReport, OffloadMode,
    Offloads, PeerConnection, PeerRef, PeerReport, Report, RouteReport, RouterReport, TargetReport,
    Transport, TransportMode,
};
pub use server::{control_router, public_router};
pub use why::{CandidateReport, ChangeReport, SeenReport, WhyReport, why};
