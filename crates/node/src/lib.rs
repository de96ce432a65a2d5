//! The daemon: puts the parts together and keeps the state.
//!
//! [`run`] is the router's whole life. One task, the *core*, decides everything about links, paths and forwarding; it owns
//! the pure parts (mesh, MAC table) and feeds them. Frames never pass through it: the thread that reads the TAP, the
//! thread that receives UDP and the tasks that read links forward by the snapshot that the core publishes.

#![forbid(unsafe_code)]

mod advertised;
mod bridge_watch;
mod config;
mod connect;
mod containers;
mod control;
mod core;
mod daemon;
mod dialler;
mod exposure;
mod failure;
mod identity;
mod interfaces;
mod listen;
mod meet;
mod metrics;
mod narrow;
mod network;
mod proxy;
mod pump;
mod run_dir;
mod store;
mod tap_writer;
mod target;

pub use advertised::{AdvertisedAddr, AdvertisedAddrError};
pub use config::{Config, OffloadChoice, ResetPaths, TransportChoice};
pub use listen::{ListenAddr, ListenAddrError};
pub use proxy::{Exceptions, HttpProxy, Proxy, ProxyError};
pub use transport_tls::{Shown, ShownError};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

/// Runs the router until it is told to stop, by the API or a signal. Calls `on_ready` with the peer name once it serves. Logs to
/// stderr.
///
/// # Errors
/// When something the router cannot do without is missing. Nothing has been made then, unless it was the bridge itself that failed.
pub fn run(config: Config, on_ready: impl FnOnce(&str)) -> Result<()> {
    // Dependencies log at the level only from warning on: their information is for their developers.
    let level = if config.log_level == "warning" { "warn" } else { config.log_level.as_str() };
    let quiet = if level == "error" { "error" } else { "warn" };
    let ours = ["node", "mesh", "transport_tls", "transport_udp", "host", "docker", "api"]
        .map(|c| format!("{c}={level}"));
    let filter = EnvFilter::try_new(format!("{quiet},{}", ours.join(","))).with_context(|| {
        format!("`{}` is no log level: use error, warning, info or debug", config.log_level)
    })?;
    // A second router in the same process, as in tests, goes on with the first one's subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    runtime()?.block_on(daemon::run(config, on_ready))
}

/// Removes the bridge, the rules and the state. The router must not run.
///
/// # Errors
/// Lists all that could not be removed.
pub fn reset(paths: &ResetPaths) -> Result<()> {
    runtime()?.block_on(daemon::reset(paths))
}

/// Whether the last router on this state was stopped on purpose.
pub fn was_stopped(paths: &ResetPaths) -> bool {
    store::Store::was_stopped(&paths.state_dir)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}
