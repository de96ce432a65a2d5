//! Errors of the parts, as the API tells them.

use api::ControlError;
use docker::DockerError;
use host::HostError;

use crate::store::StoreError;

/// A [`ControlError`] that `?` makes out of what failed.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ControlError);

impl From<ControlError> for Failure {
    fn from(e: ControlError) -> Self {
        Self(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self(ControlError::internal(e))
    }
}

impl From<HostError> for Failure {
    fn from(e: HostError) -> Self {
        Self(match e {
            HostError::HostNetwork { .. }
            | HostError::ForeignInterface { .. }
            | HostError::PortTaken { .. } => ControlError::conflict(e),
            e => ControlError::internal(e),
        })
    }
}

impl From<DockerError> for Failure {
    fn from(e: DockerError) -> Self {
        Self(match &e {
            DockerError::NoSuchContainer(_) | DockerError::Ambiguous(_) => ControlError::not_found(e),
            DockerError::Stopped { .. }
            | DockerError::Paused { .. }
            | DockerError::HostNetwork { .. }
            | DockerError::SharedNetwork { .. } => ControlError::conflict(e),
            _ => ControlError::unavailable(e),
        })
    }
}

impl From<crate::target::TargetError> for Failure {
    fn from(e: crate::target::TargetError) -> Self {
        Self(ControlError::bad_request(e))
    }
}

/// Runs what touches the disk where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(e) => Err(Failure(ControlError::internal(e))),
    }
}
