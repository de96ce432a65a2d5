//! What can go wrong between us and Docker, and how each case is told.

use std::time::Duration;

use bollard::errors::Error;
use thiserror::Error as ThisError;

use crate::engine::Docker;

/// One line for people: what, which value, why, and what to do.
#[derive(Debug, ThisError)]
pub enum DockerError {
    /// Nobody answers at the engine's address.
    #[error("Docker is not running: cannot reach {host} ({reason}); start it, or point DOCKER_HOST at it")]
    NotRunning {
        /// The address tried, as in DOCKER_HOST.
        host: String,
        /// The kernel's reason.
        reason: String,
    },
    /// It took the request and said nothing.
    #[error("Docker does not answer: {host} was silent for {after:?}; look at its log")]
    Silent {
        /// The address tried.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// DOCKER_HOST names a way we do not go.
    #[error("DOCKER_HOST={0} is not supported: use unix:///path or tcp://address:port")]
    BadHost(String),
    /// No API version that both speak.
    #[error("Docker at {host} speaks API {theirs}: versions from 20.10 on (API {ours}) are supported")]
    Version {
        /// The address asked.
        host: String,
        /// What it speaks.
        theirs: String,
        /// What we need.
        ours: String,
    },
    /// No container has this name or id.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// Several containers' ids begin like this.
    #[error("{0} is the beginning of several containers' ids: give more of it")]
    Ambiguous(String),
    /// It has no process.
    #[error(
        "container {name} is not running ({status}): start it first, with `weave start` or `docker start`"
    )]
    Stopped {
        /// Its name.
        name: String,
        /// Docker's word for its state.
        status: String,
    },
    /// Its processes are frozen.
    #[error("container {name} is paused: wake it first, with `docker unpause {name}`")]
    Paused {
        /// Its name.
        name: String,
    },
    /// It uses the host's network namespace.
    #[error("container {name} uses the host's network: give the host an address with `weave expose` instead")]
    HostNetwork {
        /// Its name.
        name: String,
    },
    /// It uses another container's network namespace.
    #[error("container {name} shares the network of container {other}: attach that one instead")]
    SharedNetwork {
        /// Its name.
        name: String,
        /// Whose network it shares.
        other: String,
    },
    /// Docker refused for a reason of its own.
    #[error("Docker refused: {0}")]
    Refused(String),
    /// Part of the answer is missing.
    #[error("Docker left out {what} in its answer")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// The connection broke, or the answer is not what the API promises.
    #[error("cannot make out Docker's answer: {0}")]
    Garbled(String),
}

/// Puts bollard's error in our words. `container` is what was asked about.
pub(crate) fn translated(error: Error, engine: &Docker, container: Option<&str>) -> DockerError {
    let not_running = |reason: String| DockerError::NotRunning { host: engine.host().into(), reason };
    match error {
        Error::DockerResponseServerError { status_code: 404, message } => match container {
            Some(name) => DockerError::NoSuchContainer(name.into()),
            None => DockerError::Refused(one_line(&message)),
        },
        Error::DockerResponseServerError { message, .. } => match container {
            Some(prefix) if message.contains("multiple IDs") || message.contains("Multiple IDs") => {
                DockerError::Ambiguous(prefix.into())
            }
            _ => DockerError::Refused(one_line(&message)),
        },
        Error::SocketNotFoundError(_) => not_running("no such socket".into()),
        Error::RequestTimeoutError => engine.silent(),
        Error::UnsupportedURISchemeError { uri } => DockerError::BadHost(uri),
        Error::HyperLegacyError { err } if err.is_connect() => not_running(root_cause(&err)),
        Error::HyperLegacyError { err } => DockerError::Garbled(root_cause(&err)),
        other => DockerError::Garbled(one_line(&root_cause(&other))),
    }
}

/// The innermost source: "connection refused" and not "client error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
