//! One host, and what can be done on it.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use crate::lab::script;
use crate::{Capture, Output, Running};

/// How long a command may take: far longer than any does on a machine that is busy, far shorter than a test run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Linux host of a lab.
pub struct Host {
    lab: String,
    k: usize,
    path: OsString,
}

impl Host {
    pub(crate) fn new(lab: &str, k: usize) -> Self {
        Self { lab: lab.into(), k, path: env::var_os("PATH").unwrap_or_default() }
    }

    pub(crate) fn prefer_programs_in(&mut self, folder: &Path) {
        let mut folders = vec![folder.to_path_buf()];
        folders.extend(env::split_paths(&self.path));
        self.path = env::join_paths(folders).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    }

    /// Runs a command to its end; one that takes a minute is a failure.
    ///
    /// Its output is what the command itself and those it waited for have written: a daemon that it leaves behind does
    /// not hold this up.
    pub fn exec(&self, command: &[&str]) -> Output {
        self.exec_within(PATIENCE, command)
    }

    /// Runs a command that may take longer, or must not take as long, as others.
    pub fn exec_within(&self, patience: Duration, command: &[&str]) -> Output {
        let seconds = patience.as_secs_f64().to_string();
        let mut words = vec!["timeout", "--kill-after=5", &seconds];
        words.extend(command);
        let output = Output::of(self.command(&words), format!("host{}# {}", self.k, command.join(" ")));
        assert!(output.code != TIMED_OUT, "not done after {seconds} s: {output}");
        output
    }

    /// Runs a script of the shell.
    pub fn sh(&self, script: &str) -> Output {
        self.exec(&["sh", "-c", script])
    }

    /// Runs the Docker CLI against this host's engine.
    pub fn docker(&self, args: &[&str]) -> Output {
        self.exec(&[&["docker"], args].concat())
    }

    /// Runs a command in a container.
    pub fn inside(&self, container: &str, command: &[&str]) -> Output {
        self.exec(&[&into(container), command].concat())
    }

    /// Starts a command in a container and leaves it running.
    pub fn spawn_inside(&self, container: &str, command: &[&str]) -> Running<'_> {
        self.spawn(&[&into(container), command].concat())
    }

    /// Runs `weave`: the one given to [`Lab::with_weave`](crate::Lab::with_weave).
    pub fn weave(&self, args: &[&str]) -> Output {
        self.exec(&[&["weave"], args].concat())
    }

    /// Whether an echo request sent by this host is answered within a second.
    pub fn pings(&self, to: &str) -> bool {
        self.exec(&["ping", "-c", "1", "-W", "1", to]).code == 0
    }

    /// Whether an echo request sent by a container of this host is answered within a second.
    pub fn container_pings(&self, container: &str, to: &str) -> bool {
        self.inside(container, &["ping", "-c", "1", "-W", "1", to]).code == 0
    }

    /// Starts a command and leaves it running; it is killed when the result is dropped.
    pub fn spawn(&self, command: &[&str]) -> Running<'_> {
        Running::start(self, command)
    }

    /// Records what crosses an interface of this host; `filter` as tcpdump takes it.
    pub fn capture(&self, interface: &str, filter: &str) -> Capture<'_> {
        Capture::start(self, interface, filter)
    }

    /// Starts the Docker Engine, if it does not run, and gives it the images `busybox:lab` and `web:lab`.
    pub fn start_docker(&self) {
        let mut command = script(&self.lab);
        command.args(["docker", &self.k.to_string()]);
        Output::of(command, format!("docker {}", self.k)).ok();
    }

    /// Ends the Docker Engine and with it all containers.
    pub fn stop_docker(&self) {
        // Killed beforehand, as the engine would do after it has waited in vain for a shell to heed SIGTERM.
        self.sh("docker ps -q | xargs -r docker kill").ok();
        self.sh("pid=$(cat /run/docker.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done")
            .ok();
    }

    /// The name of its lab.
    pub(crate) fn lab(&self) -> &str {
        &self.lab
    }

    /// The lab's number for this host.
    pub fn number(&self) -> usize {
        self.k
    }

    /// Its address on the underlay.
    pub fn address(&self) -> String {
        format!("198.18.0.{}", if self.k == 0 { 254 } else { self.k })
    }

    /// Its IPv6 address on the underlay.
    pub fn address6(&self) -> String {
        if self.k == 0 { "fd00:198:18::fe".into() } else { format!("fd00:198:18::{}", self.k) }
    }

    /// The command that runs `words` on this host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = script(&self.lab);
        command.env("PATH", &self.path).stdin(Stdio::null());
        command.args(["exec", &self.k.to_string()]).args(words);
        command
    }
}

/// What leads a command into a container. `docker exec` now and then loses what a command wrote, and reports success (moby/moby#27289).
fn into(container: &str) -> [&str; 4] {
    let enter = "exec nsenter --target $(docker inspect -f '{{.State.Pid}}' \"$0\") --all -- \"$@\"";
    ["sh", "-c", enter, container]
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "host{}", self.k)
    }
}

/// The exit code of timeout(1) when time ran out.
const TIMED_OUT: i32 = 124;

/// Reads a file that a command is writing.
pub(crate) fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
