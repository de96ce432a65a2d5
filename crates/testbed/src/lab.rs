//! The hosts of one test.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs, thread};

use crate::Host;

/// What the wire between the hosts can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underlay {
    /// Segments of up to 64 KiB cross it whole, as between the virtual machines of one hypervisor.
    Offload,
    /// Nothing longer than 1514 bytes crosses it, as on a real cable.
    Plain,
    /// As plain, and what arrives is put together again to segments of up to 64 KiB before the host sees it, as network
    /// cards and their drivers do (GRO).
    Merging,
}

/// Hosts on one switch; taken down on drop.
pub struct Lab {
    name: String,
    /// `hosts[0]` is the machine on the far side of the switch, `hosts[k]` is host k.
    hosts: Vec<Host>,
    /// Two labs on a small machine at once would only fail each other's deadlines. Tests of one process take turns;
    /// between processes that is the test runner's affair.
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Says why a lab cannot be made here, if so.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn available() -> Result<(), String> {
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() != 0) {
            return Err("a lab needs root".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("a lab needs /dev/net/tun".into());
        }
        match TOOLS.iter().find(|tool| !in_path(tool)) {
            Some(tool) => Err(format!("a lab needs {tool}: lab/prepare.sh installs it")),
            None => Ok(()),
        }
    }

    /// Makes `n` hosts; where that cannot be done it prints why and gives nothing, and the test returns.
    ///
    /// With `LAB_REQUIRED` set (`make test` does so) it panics instead: no green run without having run.
    pub fn up_or_skip(n: usize, underlay: Underlay) -> Option<Self> {
        match Self::available() {
            Ok(()) => Some(Self::up(n, underlay)),
            Err(reason) if env::var_os("LAB_REQUIRED").is_some() => panic!("no lab: {reason}"),
            Err(reason) => {
                #[expect(clippy::print_stderr, reason = "a skipped test has nothing else to say it with")]
                {
                    eprintln!("skipped: {reason}");
                }
                None
            }
        }
    }

    /// Makes `n` hosts. Docker runs on none of them yet. `LAB_PREFIX` sets what the lab's name begins with.
    pub fn up(n: usize, underlay: Underlay) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static TURN: Mutex<()> = Mutex::new(());

        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = env::var("LAB_PREFIX").unwrap_or_else(|_| "weave-test".into());
        let name = format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut up = script(&name);
        up.args(["up", &n.to_string()]).env("LAB_OWNER", std::process::id().to_string());
        if underlay == Underlay::Plain {
            up.arg("plain");
        }
        let made = up.output().unwrap_or_else(|e| panic!("cannot run {}: {e}", script_path().display()));
        assert!(made.status.success(), "no lab: {}", String::from_utf8_lossy(&made.stderr));
        let lab = Self { hosts: (0..=n).map(|k| Host::new(&name, k)).collect(), name, _turn: turn };
        if underlay == Underlay::Merging {
            lab.merge();
        }
        lab
    }

    /// Has every command of every host find `program` before others of its name, so that scripts can say `weave`.
    ///
    /// The environment variable `WEAVE_BIN` replaces `program`: the same tests then judge a release build.
    pub fn with_weave(mut self, program: &str) -> Self {
        let program = env::var_os("WEAVE_BIN").map_or_else(|| PathBuf::from(program), PathBuf::from);
        let program = program.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let folder = program.parent().unwrap_or(Path::new("/"));
        for host in &mut self.hosts {
            host.prefer_programs_in(folder);
        }
        self
    }

    /// Starts the Docker Engine of every host.
    pub fn with_docker(self) -> Self {
        thread::scope(|scope| {
            for host in &self.hosts[1..] {
                scope.spawn(|| host.start_docker());
            }
        });
        self
    }

    /// Has what crosses the switch cut before it and put together behind it.
    fn merge(&self) {
        for host in self.hosts() {
            let cut = "tso off gso off tx-udp-segmentation off";
            host.sh(&format!("ethtool -K eth0 {cut} gro on")).ok();
            // A veth whose other end can send segments does not merge what comes from there.
            self.world().sh(&format!("ethtool -K port{} {cut}", host.number())).ok();
        }
    }

    /// What the lab is called: `LAB` for the lab script.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Host `k`, counted from 1.
    pub fn host(&self, k: usize) -> &Host {
        assert!(k >= 1 && k < self.hosts.len(), "this lab has hosts 1 to {}, not {k}", self.hosts.len() - 1);
        &self.hosts[k]
    }

    /// All hosts, host 1 first.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts[1..]
    }

    /// The machine on the far side of the switch: the rest of the world, 198.18.0.254. It knows no way to anything
    /// behind a host.
    pub fn world(&self) -> &Host {
        &self.hosts[0]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failure here must not hide the test's own; and the lab goes down with this process anyway.
        let _ = script(&self.name).arg("down").output();
    }
}

/// The lab script, told which lab is meant.
pub(crate) fn script(lab: &str) -> Command {
    let mut command = Command::new(script_path());
    command.env("LAB", lab);
    command
}

const TOOLS: [&str; 8] = ["ip", "unshare", "nsenter", "ethtool", "dockerd", "docker", "busybox", "tcpdump"];

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/hosts.sh")
}

pub(crate) fn in_path(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
