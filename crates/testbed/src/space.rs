//! A network without a name: a namespace that lasts as long as this process holds it, with all that runs in it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, panic, process, thread};

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Folder, Output, Process};

/// A network namespace of its own. Nothing of it is left when this process ends, however it ends: it has no name, and what
/// was started in it dies with the thread that started it.
pub struct Space {
    name: String,
    file: File,
    folder: Arc<Folder>,
}

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Space {
    /// Makes one, with its loopback up. Files of what runs in it go to `folder`.
    pub fn new(name: &str, folder: &Arc<Folder>) -> Self {
        let made = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("no network namespace: {e}"));
            File::open("/proc/thread-self/ns/net").unwrap_or_else(|e| panic!("its file: {e}"))
        };
        let file = on_a_thread(made);
        let space = Self { name: name.into(), file, folder: folder.clone() };
        space.sh("ip link set lo up");
        space
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.run_within(PATIENCE, words)
    }

    /// Runs a command that may take longer, or must not take as long, as others: it is killed then.
    pub fn run_within(&self, patience: Duration, words: &[&str]) -> Output {
        let seconds = patience.as_secs_f64().to_string();
        let mut command = self.command(&["timeout", "--kill-after=1", &seconds]);
        command.args(words);
        Output::of(command, format!("{self}# {}", words.join(" ")))
    }

    /// Runs a script of the shell, which must succeed, and gives what it said. It ends at its first failure.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-ec", script]).ok()
    }

    /// Starts a command and leaves it running. It is killed when the result is dropped, and when this thread ends.
    pub fn start(&self, words: &[&str]) -> Process {
        Process::start(self.command(words), &format!("{self}# {}", words.join(" ")), &self.folder)
    }

    /// Does something on a thread that is in this network. A socket stays in the network it was made in.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("setns: {e}"));
            work()
        })
    }

    /// Lays a cable: an interface `here` of this network whose other end is `there` of another one. Both are up.
    pub fn cable(&self, here: &str, other: &Self, there: &str, mtu: u32) {
        self.sh(&format!(
            "ip link add {here} mtu {mtu} type veth peer name {there} mtu {mtu} netns {}
            ip link set {here} up",
            other.path()
        ));
        other.sh(&format!("ip link set {there} up"));
    }

    /// What ip(8) and nsenter(1) know it by.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", &format!("--net={}", self.path()), "--"]);
        command.args(words).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.starts_with("weave_") || text.ends_with("_proxy") || text.starts_with("docker_") {
                command.env_remove(name);
            }
        }
        // No container of this machine is ours.
        command.env("DOCKER_HOST", "unix:///nowhere");
        command
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
}
