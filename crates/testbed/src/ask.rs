//! What a router tells, asked without a process of its own: for tests that ask many routers often.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::Host;

impl Host {
    /// As [`report`](Host::report), but straight from the router's socket.
    ///
    /// # Errors
    /// No router serves there, or what it says is no report.
    pub fn ask(&self) -> Result<Value, String> {
        report_of(&self.path_of("run/weave/weave.sock")).map_err(|e| format!("{self}: {e}"))
    }

    /// Where a file of this host is on this machine. A path from the root, without the first slash.
    pub fn path_of(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(path)
    }
}

/// The report of the router that serves at a socket.
pub(crate) fn report_of(socket: &Path) -> Result<Value, String> {
    let answer = get(socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(head.lines().next().unwrap_or("no answer").into());
    }
    serde_json::from_str(body).map_err(|e| format!("{e}: {body}"))
}

fn get(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /report HTTP/1.1\r\nHost: weave\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A router that does not answer for so long is not well.
const PATIENCE: Duration = Duration::from_secs(10);
