//! A daemon that remembers what it was asked, and the real binary to ask it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use api::*;
use tempfile::TempDir;
use tokio::sync::Notify;

/// The binary with nothing of the caller's settings, looking for its daemon in `run_dir`.
pub(crate) fn weave(run_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEAVE_") {
            command.env_remove(name);
        }
    }
    command.env("WEAVE_RUN_DIR", run_dir).env("DOCKER_HOST", "unix:///nowhere");
    command
}

/// What a finished command has left: exit code, stdout, stderr.
pub(crate) fn done(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Asserts that a command fails with this code and this first line, and prints no data.
#[track_caller]
pub(crate) fn refused(command: &mut Command, code: i32, first_line: &str) {
    let (exit, stdout, stderr) = done(command);
    assert_eq!(stderr.lines().next().unwrap_or_default(), format!("weave: {first_line}"), "{stderr}");
    assert!(stderr.lines().skip(1).all(|line| line.starts_with("hint: ")), "{stderr}");
    assert!(stderr.lines().count() <= 2, "{stderr}");
    assert_eq!((exit, stdout.as_str()), (code, ""));
}

/// Asserts that a command succeeds, says nothing on stderr and prints exactly this.
#[track_caller]
pub(crate) fn prints(command: &mut Command, expected: &str) {
    let (exit, stdout, stderr) = done(command);
    assert_eq!((exit, stdout.as_str(), stderr.as_str()), (0, expected, ""));
}

/// A fake daemon behind `run_dir/weave.sock`, in a thread of the test.
pub(crate) struct Daemon {
    directory: TempDir,
    state: Fake,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    end: Arc<Notify>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = Fake::default();
        let socket = directory.path().join("weave.sock");
        let served = state.clone();
        let (bound, wait) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let end = served.end.clone();
                let shutdown = async move { end.notified().await };
                let serving = serve_unix(&socket, control_router(served), shutdown).await.unwrap();
                bound.send(()).unwrap();
                serving.await.unwrap();
            });
        });
        wait.recv().unwrap();
        Self { directory, state, thread: Some(thread) }
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn weave<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = weave(self.run_dir());
        command.args(arguments);
        command
    }

    /// What it was asked to do, oldest first.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.state.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Fake {
    fn note(&self, request: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{request:?}"));
    }
}

impl Control for Fake {
    async fn report(&self) -> Result<Report, ControlError> {
        Ok(report())
    }
    async fn connect(&self, request: Connect) -> Result<(), ControlError> {
        if request.peers == ["nowhere.invalid"] {
            return Err(ControlError::bad_request("nowhere.invalid does not resolve: no such host"));
        }
        self.note(request);
        Ok(())
    }
    async fn forget(&self, request: Forget) -> Result<(), ControlError> {
        self.note(request);
        Ok(())
    }
    async fn remove_peers(&self, request: RemovePeers) -> Result<RemovedPeers, ControlError> {
        let known = |given: &str| match given {
            "host2" => Ok(Some("7a:00:00:00:00:02".to_owned())),
            "host3" => Err(ControlError::conflict("host3 runs: it is linked to host1")),
            _ => Ok(None),
        };
        let peer = |given: &String| Ok(RemovedPeer { given: given.clone(), name: known(given)? });
        let peers = request.peers.iter().map(peer).collect::<Result<_, ControlError>>()?;
        self.note(request);
        Ok(RemovedPeers { peers })
    }
    async fn why(&self, request: Why) -> Result<WhyReport, ControlError> {
        if request.peer != "host2" {
            return Err(ControlError::not_found(format!("no peer is known as {}", request.peer)));
        }
        let peer = PeerRef { name: "7a:00:00:00:00:02".into(), nickname: "host2".into() };
        let nothing = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (connections, candidates, seen, changes) = nothing;
        Ok(WhyReport {
            peer,
            connections,
            route: None,
            candidates,
            seen,
            port_mapping: None,
            nat: None,
            meeting: None,
            path: Vec::new(),
            changes,
        })
    }
    async fn attach(&self, request: Attach) -> Result<Addresses, ControlError> {
        if request.addresses == ["10.0.0.66/24"] {
            return Err(ControlError::conflict("10.0.0.66 was taken meanwhile"));
        }
        let answer = bare(&request.addresses);
        self.note(request);
        Ok(answer)
    }
    async fn detach(&self, request: Detach) -> Result<Addresses, ControlError> {
        if request.container == "nope" {
            return Err(ControlError::not_found("no such container: nope").with_hint("`weave ps` lists them"));
        }
        let answer = bare(&request.addresses);
        self.note(request);
        Ok(answer)
    }
    async fn check(&self, request: Check) -> Result<(), ControlError> {
        if request.addresses == ["10.0.0.99/24"] {
            return Err(ControlError::conflict("10.0.0.99 is on container other already"));
        }
        self.note(request);
        Ok(())
    }
    async fn expose(&self, request: Expose) -> Result<Addresses, ControlError> {
        let answer = bare(&request.addresses);
        self.note(request);
        Ok(answer)
    }
    async fn hide(&self, request: Hide) -> Result<Addresses, ControlError> {
        let answer = bare(&request.addresses);
        self.note(request);
        Ok(answer)
    }
    async fn ps(&self, containers: Vec<String>) -> Result<Vec<PsEntry>, ControlError> {
        self.note(containers);
        Ok(report().attachments)
    }
    async fn stop(&self) -> Result<(), ControlError> {
        self.note("stop");
        self.end.notify_one();
        Ok(())
    }
    async fn metrics(&self) -> String {
        String::new()
    }
}

fn bare(addresses: &[String]) -> Addresses {
    let addresses = addresses.iter().map(|text| address::parse(text).unwrap().ip().to_string());
    Addresses { addresses: addresses.collect(), warnings: Vec::new() }
}

/// A lone router with one container.
pub(crate) fn report() -> Report {
    Report {
        ready: true,
        version: "0.9.9".into(),
        router: RouterReport {
            protocol_min: 1,
            protocol_max: 1,
            name: "7a:00:00:00:00:01".into(),
            nickname: "host1".into(),
            identity: "00ff".into(),
            interface: "weave".into(),
            host: String::new(),
            port: 6783,
            listening: vec!["*:6783".into()],
            http_proxy: String::new(),
            started: 1_800_000_000,
            authentication: Authentication::Password,
            passwords: 1,
            transport: TransportMode::Auto,
            cipher: "AES-256-GCM".into(),
            discovery: true,
            conn_limit: 200,
            mtu: 1376,
            offloads: Offloads::default(),
            targets: vec![TargetReport {
                target: "198.18.0.2".into(),
                state: ConnectionState::Retrying,
                last_error: None,
                retry_in_secs: Some(4),
            }],
            connections: vec![],
            peers: vec![PeerReport {
                name: "7a:00:00:00:00:01".into(),
                nickname: "host1".into(),
                uid: "01".into(),
                version: "0.9.9".into(),
                connections: vec![],
            }],
            routes: Vec::new(),
            macs: vec![],
            drops: Default::default(),
            warnings: vec![],
        },
        docker: DockerReport { reachable: true, detail: "20.10.24".into() },
        exposed: vec![],
        attachments: vec![PsEntry {
            id: "0123456789ab".into(),
            mac: "02:00:00:00:00:0a".into(),
            addresses: vec!["192.168.122.1/24".into(), "192.168.123.1/24".into()],
        }],
    }
}

/// A `docker` command for PATH that notes its arguments, and obeys the environment: FAKE_VERSION, FAKE_RUN and
/// FAKE_RUNNING say what it answers.
pub(crate) struct FakeDocker {
    directory: TempDir,
}

impl FakeDocker {
    pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            r#"#!/bin/sh
{{ for word in "$@"; do printf '[%s]' "$word"; done; echo; }} >>'{log}'
case "$1" in
version) [ -z "$FAKE_DOWN" ] || {{ echo 'Cannot connect to the Docker daemon' >&2; exit 1; }}; echo 20.10 ;;
run) [ -z "$FAKE_NO_RUN" ] || {{ echo 'docker: no such image' >&2; exit 125; }}; echo 'Pulling' >&2; echo {id} ;;
inspect) [ "$6" != nope ] || {{ echo 'Error: No such container: nope' >&2; exit 1; }}; echo "${{FAKE_RUNNING:-false}}" ;;
start|stop|rm) echo "$2" ;;
esac
"#,
            log = directory.path().join("log").display(),
            id = Self::ID,
        );
        let path = directory.path().join("docker");
        std::fs::write(&path, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
        Self { directory }
    }

    /// PATH with this command first.
    pub(crate) fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.directory.path().display())
    }

    /// The arguments of each call so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log: PathBuf = self.directory.path().join("log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(log);
        text.lines().map(String::from).collect()
    }
}
