//! The hosts that are measured: a lab of `lab/hosts.sh`, which goes away with this process, however that ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, process};

use anyhow::{Context, Result, bail, ensure};

use crate::results::Underlay;

/// How long setting something up may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Hosts on one switch; host k has 198.18.0.k. Taken down on drop.
pub(crate) struct Hosts {
    lab: String,
}

/// Where a command runs: a host, and a network namespace of its, or its own.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) host: usize,
    pub(crate) namespace: Option<String>,
}

impl Place {
    /// In the network of host `k` itself.
    pub(crate) fn host(k: usize) -> Self {
        Self { host: k, namespace: None }
    }

    pub(crate) fn namespace(k: usize, name: &str) -> Self {
        Self { host: k, namespace: Some(name.into()) }
    }
}

impl Hosts {
    /// Makes `n` hosts.
    pub(crate) fn up(n: usize, underlay: Underlay) -> Result<Self> {
        let hosts = Self { lab: format!("weave-bench-{}-{}", process::id(), underlay.name()) };
        let mut up = hosts.script();
        up.args(["up", &n.to_string()]).env("LAB_OWNER", process::id().to_string());
        if underlay == Underlay::Plain {
            up.arg("plain");
        }
        finish(up, "making the hosts")?;
        let folder = hosts.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(hosts)
    }

    /// A folder that all hosts see and that is removed with them.
    pub(crate) fn folder(&self) -> PathBuf {
        env::temp_dir().join(&self.lab).join("bench")
    }

    /// Runs a command to its end and gives what it wrote to standard output.
    ///
    /// # Errors
    /// It failed, or was not done in time; with what it said.
    pub(crate) fn run(&self, place: &Place, within: Duration, words: &[&str]) -> Result<String> {
        finish(self.command(place, within, words), &words.join(" "))
    }

    /// Runs a script of the shell in the network of host `k`.
    pub(crate) fn shell(&self, k: usize, script: &str) -> Result<String> {
        let command = self.command(&Place::host(k), PATIENCE, &["sh", "-c", script]);
        finish(command, &format!("setting up host {k}"))
    }

    /// Starts a command whose standard output can be read; it ends by itself, at the latest when time is up.
    pub(crate) fn start(&self, place: &Place, within: Duration, words: &[&str]) -> Result<Child> {
        let mut command = self.command(place, within, words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("cannot run {}", words.join(" ")))
    }

    /// `host` 0 is the switch.
    fn command(&self, place: &Place, within: Duration, words: &[&str]) -> Command {
        let mut command = self.script();
        command.args(["exec", &place.host.to_string()]);
        command.args(["timeout", "--kill-after=2", &within.as_secs_f64().to_string()]);
        if let Some(namespace) = &place.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.args(words).stdin(Stdio::null());
        command
    }

    fn script(&self) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/hosts.sh"));
        command.env("LAB", &self.lab).env("PATH", search_path());
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The lab goes down with this process anyway.
        let _ = self.script().arg("down").output();
    }
}

/// Output goes by way of files: reading a pipe to its end would also wait for every daemon that inherited it.
fn finish(mut command: Command, what: &str) -> Result<String> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let status = command.status().with_context(|| format!("cannot run {what}"))?;
    let (stdout, stderr) = (text(&mut stdout)?, text(&mut stderr)?);
    if status.code() == Some(TIMED_OUT) {
        bail!("{what}: not done in time{}", said(&stderr, &stdout));
    }
    ensure!(status.success(), "{what}: {status}{}", said(&stderr, &stdout));
    Ok(stdout)
}

/// The last lines of what a command said, as the end of a message.
fn said(stderr: &str, stdout: &str) -> String {
    let told = if stderr.trim().is_empty() { stdout } else { stderr };
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [] => String::new(),
        lines => format!(": {}", lines[lines.len().saturating_sub(3)..].join("; ")),
    }
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The exit code of timeout(1) when time ran out.
const TIMED_OUT: i32 = 124;

/// PATH, and where cargo installs.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(env::home_dir().map(|home| home.join(".cargo/bin")));
    env::join_paths(folders).unwrap_or(path)
}

/// Whether a program of this name is in the search path.
pub(crate) fn installed(program: &str) -> bool {
    env::split_paths(&search_path()).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_the_last_lines_of_what_was_said() {
        assert_eq!(said("", ""), "");
        assert_eq!(said("\n", "only this\n"), ": only this");
        assert_eq!(said("a\nb\n\nc\nd\n", "x"), ": b; c; d");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_reason() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = finish(command, "a try").unwrap_err().to_string();
        assert_eq!(error, "a try: exit status: 3: no such thing");
    }

    #[test]
    fn a_daemon_left_behind_does_not_hold_up_the_end() {
        let start = std::time::Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo $!"]);
        let pid = finish(command, "a try").unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "waited for the daemon");
        Command::new("kill").arg(pid.trim()).status().unwrap();
    }
}
