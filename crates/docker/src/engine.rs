//! One engine: where it is, which API version we speak with it, what we ask it.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::container::Container;
use crate::error::{DockerError, translated};
use crate::events::{self, Event};

/// Where Docker listens unless DOCKER_HOST says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The oldest API spoken: Docker 20.10's.
const OLDEST: Version = Version(1, 41);
/// The newest API whose answers we know.
const NEWEST: Version = Version(API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
/// How long one call may take. Docker answers an inspection in milliseconds; a container runtime that hangs must not
/// hang us.
const PATIENCE: Duration = Duration::from_secs(10);
/// Containers inspected at once when all are listed.
const INSPECTIONS: usize = 8;

/// A Docker Engine, running or not. Cheap to make and to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    host: String,
    patience: Duration,
}

impl Docker {
    /// The engine that DOCKER_HOST names, else the local one. Nothing is opened yet.
    pub fn connect() -> Self {
        match std::env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => Self::at(host),
            _ => Self::at(DEFAULT_HOST),
        }
    }

    /// The engine at an address written as in DOCKER_HOST.
    pub fn at(host: impl Into<String>) -> Self {
        Self { host: host.into(), patience: PATIENCE }
    }

    /// The same engine with another limit for each call.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its address, written as in DOCKER_HOST.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The engine's own version, for example `20.10.24`.
    ///
    /// # Errors
    /// [`DockerError`], when it cannot be asked.
    pub async fn version(&self) -> Result<String, DockerError> {
        self.within(async {
            let client = self.client()?;
            let answer = client.version().await.map_err(|error| self.translated(error))?;
            answer.version.ok_or(DockerError::Incomplete { what: "its version" })
        })
        .await
    }

    /// Looks up a container by name, id or the beginning of its id.
    ///
    /// # Errors
    /// [`DockerError::NoSuchContainer`], [`DockerError::Ambiguous`], or that Docker cannot be asked.
    pub async fn inspect(&self, name: &str) -> Result<Container, DockerError> {
        if !is_name(name) {
            return Err(DockerError::NoSuchContainer(name.into()));
        }
        self.within(async { self.inspect_with(&self.agreed().await?, name).await }).await
    }

    /// Looks up a container that can be given an interface.
    ///
    /// # Errors
    /// As [`Self::inspect`], and why the container cannot: stopped, paused, without a network of its own.
    pub async fn running_target(&self, name: &str) -> Result<Container, DockerError> {
        self.inspect(name).await?.attachable()
    }

    /// All containers that run now, paused ones included.
    ///
    /// # Errors
    /// [`DockerError`], when Docker cannot be asked. Containers that vanish meanwhile are left out.
    pub async fn list_running(&self) -> Result<Vec<Container>, DockerError> {
        let client = self.within(self.agreed()).await?;
        let listed = self
            .within(async { client.list_containers(None).await.map_err(|error| self.translated(error)) })
            .await?;
        let inspected =
            stream::iter(listed.into_iter().filter_map(|summary| summary.id)).map(async |id: String| {
                match self.within(self.inspect_with(&client, &id)).await {
                    Ok(container) => Ok(container.pid.is_some().then_some(container)),
                    Err(DockerError::NoSuchContainer(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            });
        let found: Vec<_> = inspected.buffered(INSPECTIONS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What happens to containers from now on, for ever: see [`Event`].
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        events::stream(self.clone(), events::BACK_OFF)
    }

    /// A client that speaks the newest API version both know.
    pub(crate) async fn agreed(&self) -> Result<bollard::Docker, DockerError> {
        let client = self.client()?;
        let answer = client.version().await.map_err(|error| self.translated(error))?;
        let theirs = answer.api_version.as_deref().and_then(Version::parse).unwrap_or(OLDEST);
        let floor = answer.min_api_version.as_deref().and_then(Version::parse).unwrap_or(OLDEST);
        if theirs < OLDEST || floor > NEWEST {
            return Err(DockerError::Version {
                host: self.host.clone(),
                theirs: if theirs < OLDEST { theirs.to_string() } else { format!("{floor} and later") },
                ours: if theirs < OLDEST { OLDEST.to_string() } else { format!("{OLDEST} to {NEWEST}") },
            });
        }
        let version = theirs.min(NEWEST);
        Ok(client.with_request_modifier(move |request| version.demanded(request)))
    }

    pub(crate) fn translated(&self, error: bollard::errors::Error) -> DockerError {
        translated(error, self, None)
    }

    pub(crate) fn silent(&self) -> DockerError {
        DockerError::Silent { host: self.host.clone(), after: self.patience }
    }

    /// Limits the time a call may take: bollard's own limit does not cover the answer's body.
    pub(crate) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, DockerError> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.silent()),
        }
    }

    async fn inspect_with(&self, client: &bollard::Docker, name: &str) -> Result<Container, DockerError> {
        let answer = client.inspect_container(name, None).await;
        Container::from_inspect(answer.map_err(|error| translated(error, self, Some(name)))?)
    }

    /// A client that demands no API version, as is right only for asking which there are.
    fn client(&self) -> Result<bollard::Docker, DockerError> {
        let version = ClientVersion { major_version: NEWEST.0, minor_version: NEWEST.1 };
        // In whole seconds, and for the event stream's head alone: all else is within our own limit.
        let patience = self.patience.as_secs() + 1;
        if self.host.starts_with("unix://") {
            bollard::Docker::connect_with_unix(&self.host, patience, &version)
        } else if self.host.starts_with("tcp://") || self.host.starts_with("http://") {
            bollard::Docker::connect_with_http(&self.host, patience, &version)
        } else {
            return Err(DockerError::BadHost(self.host.clone()));
        }
        .map_err(|error| self.translated(error))
    }
}

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(usize, usize);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Puts `/v1.41` before the path. Bollard leaves it out, whatever version it has been told, and Docker then
    /// answers in its newest format.
    fn demanded(self, mut request: BollardRequest) -> BollardRequest {
        let mut parts = request.uri().clone().into_parts();
        let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
        parts.path_and_query = format!("/v{self}{path}").parse().ok();
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Whether Docker could know a container by this text. Anything else must not become part of a request's path.
fn is_name(text: &str) -> bool {
    let text = text.strip_prefix('/').unwrap_or(text);
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_docker_takes_as_a_name_is_asked_for() {
        for name in ["c1", "/c1", "a_b.c-d", "0123456789abcdef"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", "/", "../images", "a/b", "a?b", "a b", "-a", ".a", "é", "a\n", "a%2f"] {
            assert!(!is_name(other), "{other:?}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("1.9").unwrap() < Version::parse("1.41").unwrap());
        assert!(Version::parse("2.0").unwrap() > NEWEST);
        assert_eq!(Version::parse("1.41").unwrap().to_string(), "1.41");
        for other in ["", "1", "1.", "a.b", "1.2.3"] {
            assert_eq!(Version::parse(other), None, "{other:?}");
        }
    }
}
