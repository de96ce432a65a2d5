//! The Linux side: bridge, TAP, veth pairs, namespaces, firewall.
//!
//! On a host everything hangs on one Linux bridge. Containers are joined to it by veth pairs ([`port`]), the router by
//! a TAP device ([`tap`]), the host itself by addresses on the bridge ([`expose`]), with the firewall rules that this
//! needs ([`firewall`], [`docker_forward`]). All of it lives in the kernel: it goes on working while the daemon is
//! away, a new daemon finds it again, and [`wipe::reset`] takes it all away.
//!
//! Rules that hold throughout:
//!
//! - Every operation may be repeated. What is already as wanted is left alone and is no error.
//! - What fails half way is undone, so that an error leaves the host as it was.
//! - Everything acts on the network namespace of the calling thread, so that a daemon in a namespace of its own is a
//!   host of its own. Only [`netns::NetNs::run`] leaves that namespace, on a thread that ends afterwards.
//! - Nothing but our own bridge, TAP, ports, nftables tables and iptables chain is touched.

pub mod addresses;
mod arp;
pub mod bridge;
pub mod check;
mod command;
pub mod docker_forward;
pub mod error;
pub mod expose;
pub mod firewall;
mod netlink;
pub mod netns;
pub mod network;
pub mod port;
#[expect(unsafe_code, reason = "TUN ioctls and link-layer socket addresses have no safe interface")]
mod sys;
mod sysctl;

pub mod tap;
pub mod wipe;

pub use error::{HostError, Result};
