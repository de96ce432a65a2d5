//! Several Linux hosts, each with its own Docker Engine, for tests; never shipped.
//!
//! [`Lab`] is the Rust face of `lab/hosts.sh`: what a test can do, a person can do by hand with the same script. A lab
//! takes itself down when it is dropped, when the test panics and when the test process is killed.
//!
//! ```no_run
//! use testbed::{Lab, Underlay};
//!
//! let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
//! lab.host(1).exec(&["ping", "-c", "1", "198.18.0.2"]).ok();
//! lab.host(1).start_docker();
//! lab.host(1).docker(&["run", "-d", "--name", "c1", "web:lab"]).ok();
//! ```
//!
//! A lab that cannot do what it was asked for panics: to a test that is a failure like any other, and every caller
//! would have to do the same with an error value.

mod ask;
mod capture;
mod datagrams;
mod folder;
mod heard;
mod host;
mod joined;
mod lab;
mod loss;
mod neighbours;
mod network;
mod outage;
mod output;
mod patience;
mod process;
mod running;
mod space;
mod topology;
mod transfer;
mod weave;
mod wires;
pub mod world;

pub use capture::Capture;
pub use datagrams::{Received, UdpEnd};
pub use folder::Folder;
pub use heard::Listeners;
pub use host::Host;
pub use lab::{Lab, Underlay};
pub use loss::Loss;
pub use network::Network;
pub use outage::{Outage, Pings};
pub use output::Output;
pub use patience::eventually;
pub use process::Process;
pub use running::Running;
pub use space::Space;
pub use topology::Topology;
pub use transfer::{Transfer, serve_random_file, slow_down};
pub use wires::{Cut, Wires};
