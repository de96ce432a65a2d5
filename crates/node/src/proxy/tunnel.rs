//! A connection through the proxy.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::HttpProxy;
use super::answer::{Answer, AnswerError, Step};
use super::server::authority;
use crate::{connect, target};

/// How long a proxy may take over its answer. It has to connect before.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port that proxies let CONNECT through to, if to any.
const USUAL: u16 = 443;

/// Has the proxy connect to a host, whose name it resolves itself. Says why it did not.
pub(crate) async fn open(proxy: &HttpProxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = target::addresses(&proxy.host, proxy.port).await;
    let addresses = addresses.map_err(|e| format!("the proxy {proxy}: {e}"))?;
    let mut tcp = connect::to_one_of(addresses).await.map_err(|e| format!("the proxy {proxy}: {e}"))?;
    match tokio::time::timeout(PATIENCE, ask(&mut tcp, proxy, host, port)).await {
        Ok(Ok(())) => Ok(tcp),
        Ok(Err(e)) => Err(e.text(proxy, host, port)),
        Err(_) => Err(format!("the proxy {proxy} does not answer within 10 s")),
    }
}

async fn ask(tcp: &mut TcpStream, proxy: &HttpProxy, host: &str, port: u16) -> Result<(), TunnelError> {
    tcp.write_all(request(proxy, host, port).as_bytes()).await?;
    let (mut answer, mut bytes) = (Answer::default(), [0; 2048]);
    loop {
        let read = tcp.read(&mut bytes).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if answer.feed(&bytes[..read])? == Step::Open {
            return Ok(());
        }
    }
}

fn request(proxy: &HttpProxy, host: &str, port: u16) -> String {
    // A target has no other characters than those of names and addresses.
    let place = authority(host, port);
    let login = proxy.login.as_ref().map(|login| format!("Proxy-Authorization: Basic {login}\r\n"));
    format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{}\r\n", login.unwrap_or_default())
}

#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Answer(#[from] AnswerError),
}

impl TunnelError {
    fn text(&self, proxy: &HttpProxy, host: &str, port: u16) -> String {
        let place = authority(host, port);
        match self {
            Self::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                format!("the proxy {proxy} closes the connection without an answer")
            }
            Self::Io(e) => format!("the proxy {proxy}: {}", connect::plain(e)),
            Self::Answer(AnswerError::Login { .. }) if proxy.login.is_some() => {
                format!("the proxy {proxy} does not take this user and password")
            }
            Self::Answer(AnswerError::Login { basic: true }) => {
                format!(
                    "the proxy {proxy} wants a user and password: launch with --http-proxy http://user:password@…"
                )
            }
            Self::Answer(AnswerError::Login { basic: false }) => {
                format!("the proxy {proxy} wants a login of a kind that is not spoken here")
            }
            Self::Answer(AnswerError::Refused { code: 403 | 405, .. }) if port != USUAL => {
                format!(
                    "the proxy {proxy} does not allow {place}: most allow port {USUAL} alone, for which the other end is launched with --listen '*:{USUAL}'"
                )
            }
            Self::Answer(AnswerError::Refused { code: 403 | 405, .. }) => {
                format!("the proxy {proxy} does not allow {place}")
            }
            Self::Answer(AnswerError::Refused { code: code @ (502..=504), .. }) => {
                format!("the proxy {proxy} cannot reach {place}: it answers {code}")
            }
            Self::Answer(e) => format!("the proxy {proxy} opens no way to {place}: {e}"),
        }
    }
}

#[cfg(test)]
mod tests;
