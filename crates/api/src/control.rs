//! What the daemon does for those who ask over HTTP.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::messages::{
    Addresses, Attach, Check, Connect, Detach, Expose, Forget, Hide, PsEntry, RemovePeers, RemovedPeers, Why,
};
use crate::report::Report;
use crate::why::WhyReport;

/// The daemon as the HTTP servers see it: a cheap handle, cloned for each request.
///
/// A method returns when what was asked for is done and saved, or nothing was changed and the error says why.
pub trait Control: Clone + Send + Sync + 'static {
    /// The full state.
    fn report(&self) -> impl Future<Output = Result<Report, ControlError>> + Send;
    /// Adds targets; with `replace` they are the only ones afterwards.
    fn connect(&self, request: Connect) -> impl Future<Output = Result<(), ControlError>> + Send;
    /// Removes targets. Unknown ones are no error.
    fn forget(&self, request: Forget) -> impl Future<Output = Result<(), ControlError>> + Send;
    /// Has the network forget peers that are gone. Unknown ones are no error; one that runs is, and then nothing is done.
    fn remove_peers(
        &self,
        request: RemovePeers,
    ) -> impl Future<Output = Result<RemovedPeers, ControlError>> + Send;
    /// Tells all that is known about the way to one peer.
    fn why(&self, request: Why) -> impl Future<Output = Result<WhyReport, ControlError>> + Send;
    /// Gives a running container addresses.
    fn attach(&self, request: Attach) -> impl Future<Output = Result<Addresses, ControlError>> + Send;
    /// Takes addresses away from a container. Those it does not have are no error.
    fn detach(&self, request: Detach) -> impl Future<Output = Result<Addresses, ControlError>> + Send;
    /// Says whether addresses could be attached now. Changes nothing.
    fn check(&self, request: Check) -> impl Future<Output = Result<(), ControlError>> + Send;
    /// Gives the host addresses on the bridge. Those it has already are no error.
    fn expose(&self, request: Expose) -> impl Future<Output = Result<Addresses, ControlError>> + Send;
    /// Takes addresses away from the host. Those it does not have are no error.
    fn hide(&self, request: Hide) -> impl Future<Output = Result<Addresses, ControlError>> + Send;
    /// Lists the containers named, or the host and all containers when none is.
    fn ps(&self, containers: Vec<String>) -> impl Future<Output = Result<Vec<PsEntry>, ControlError>> + Send;
    /// Asks the daemon to shut down. Returns at once: the answer is still delivered.
    fn stop(&self) -> impl Future<Output = Result<(), ControlError>> + Send;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// Why the daemon did not do what was asked; also the JSON body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ControlError {
    /// Whose fault it is.
    pub status: Status,
    /// One line: what, which value, why.
    pub error: String,
    /// The way out, where `error` does not hold it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whose fault an error is; each has its HTTP status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// 400: what was asked for makes no sense.
    BadRequest,
    /// 404: what was named does not exist.
    NotFound,
    /// 409: it contradicts what is there.
    Conflict,
    /// 503: something the daemon needs is not there now, such as Docker.
    Unavailable,
    /// 500: the daemon's own failure, such as a full disk.
    Internal,
}

impl ControlError {
    /// An error of the given status without a hint.
    pub fn new(status: Status, error: impl Display) -> Self {
        Self { status, error: error.to_string(), hint: None }
    }

    /// What was asked for makes no sense.
    pub fn bad_request(error: impl Display) -> Self {
        Self::new(Status::BadRequest, error)
    }

    /// What was named does not exist.
    pub fn not_found(error: impl Display) -> Self {
        Self::new(Status::NotFound, error)
    }

    /// It contradicts what is there.
    pub fn conflict(error: impl Display) -> Self {
        Self::new(Status::Conflict, error)
    }

    /// Something the daemon needs is not there now.
    pub fn unavailable(error: impl Display) -> Self {
        Self::new(Status::Unavailable, error)
    }

    /// The daemon's own failure.
    pub fn internal(error: impl Display) -> Self {
        Self::new(Status::Internal, error)
    }

    /// The same error with the way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl Display for ControlError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for ControlError {}
