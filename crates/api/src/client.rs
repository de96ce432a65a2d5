//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::control::{ControlError, Status};
use crate::messages::PsEntry;

/// How long an answer may take. The slowest verb waits for a name server and for Docker, each with its own limit below.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the daemon over its Unix socket; each request has its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon at this socket. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), patience: PATIENCE }
    }

    /// The same client with another limit for each answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The socket it asks.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`, answered in JSON.
    ///
    /// # Errors
    /// [`ClientError`], one line for people.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.ask(Method::GET, path, Bytes::new()).await?;
        self.decode(&body)
    }

    /// `GET path`, answered in text.
    ///
    /// # Errors
    /// [`ClientError`], one line for people.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.ask(Method::GET, path, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// `POST path` with a JSON body, answered in JSON.
    ///
    /// # Errors
    /// [`ClientError`], one line for people.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let answer = self.ask(Method::POST, path, body.into()).await?;
        self.decode(&answer)
    }

    /// The containers named, or the host and all containers when none is.
    ///
    /// # Errors
    /// [`ClientError`], one line for people.
    pub async fn ps(&self, containers: &[String]) -> Result<Vec<PsEntry>, ClientError> {
        let names: Vec<_> = containers.iter().map(|name| percent_encoded(name)).collect();
        self.get(&format!("/ps?containers={}", names.join(","))).await
    }

    /// The process id of whoever listens on the socket, seen from here; none when it is in a hidden PID namespace.
    ///
    /// # Errors
    /// [`ClientError`], one line for people.
    pub async fn server_pid(&self) -> Result<Option<i32>, ClientError> {
        let stream = self.open().await?;
        Ok(stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0))
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        match tokio::time::timeout(self.patience, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Silent { socket: self.socket.clone(), secs: self.patience.as_secs() }),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let stream = self.open().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "weave")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let driver = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let answer = answer.await;
        driver.abort();
        let (status, body) = answer.map_err(|error| self.broken(error))?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    async fn open(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning
            }
            io::ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket: self.socket.clone() },
            _ => self.broken(error),
        })
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), source: error.into() }
    }
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("weave is not running on this host: start it with `weave launch`")]
    NotRunning,
    /// The socket is there, but for root only.
    #[error("this needs root: only root may open {}", socket.display())]
    PermissionDenied {
        /// The socket asked.
        socket: PathBuf,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(ControlError),
    /// The daemon did not answer in time.
    #[error("the router behind {} did not answer within {secs} s: look at its log", socket.display())]
    Silent {
        /// The socket asked.
        socket: PathBuf,
        /// The limit in seconds.
        secs: u64,
    },
    /// The connection broke, or what came back is no answer of ours.
    #[error("cannot talk to the router behind {}: {source}", socket.display())]
    Broken {
        /// The socket asked.
        socket: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// RFC 3986 section 2.1, for everything outside its unreserved set.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

/// The daemon's error, also when an older or a newer daemon does not word it as we do.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Refused(serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().next().unwrap_or_default();
        let kind = if status.is_client_error() { Status::BadRequest } else { Status::Internal };
        ControlError::new(kind, format!("the router answered {status}: {line}"))
    }))
}
