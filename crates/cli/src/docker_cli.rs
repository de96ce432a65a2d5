//! The real `docker` command, which `run` and `start` hand a user's arguments to.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// Refuses when there is no docker command or it reaches no engine. Docker tells the latter in several lines.
pub(crate) fn check() -> Result<(), Failure> {
    let output = command(["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null()).output();
    let output = output.map_err(unusable)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("Docker is not running: {}", last_words(&output))))
}

/// Runs docker with the user's stdin and stderr, and returns what it printed.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, Failure> {
    let mut command = command(arguments);
    let output = command.stdin(Stdio::inherit()).stderr(Stdio::inherit()).output().map_err(unusable)?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "docker failed, for the reason it gives above ({})",
            output.status
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Runs docker without a word to the user, and returns what it printed.
pub(crate) fn quietly<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, Failure> {
    let output = command(arguments).stdin(Stdio::null()).output().map_err(unusable)?;
    if !output.status.success() {
        return Err(Failure::new(last_words(&output)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

fn unusable(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new("the docker command is not installed")
            .with_hint("start the container by other means, then give it its address with `weave attach`"),
        _ => Failure::new(format!("cannot run the docker command: {error}")),
    }
}

/// Docker's own reason, without what it puts before every one.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => {
            line.trim_start_matches("Error: ").trim_start_matches("Error response from daemon: ").into()
        }
        None => format!("docker failed with {}", output.status),
    }
}
