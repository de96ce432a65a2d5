//! Against a real engine of our own, without networks, in namespaces that end with it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker::{Docker, DockerError, Event, State};
use futures::StreamExt;
use tempfile::TempDir;

/// A dockerd on its own socket, with the image `busybox:test`.
struct Engine {
    directory: TempDir,
    process: Child,
}

impl Engine {
    fn start() -> Result<Self, String> {
        for needed in ["dockerd", "docker", "unshare", "tar"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {needed}")]).output();
            if !found.is_ok_and(|output| output.status.success()) {
                return Err(format!("{needed} is not installed"));
            }
        }
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
            return Err("only root can start dockerd".into());
        }
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let process = Self::spawn(directory.path())?;
        let mut engine = Self { directory, process };
        engine.wait()?;
        engine.import();
        Ok(engine)
    }

    fn spawn(directory: &Path) -> Result<Child, String> {
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log"));
        let log = log.map_err(|error| error.to_string())?;
        let at = |name: &str| directory.join(name).display().to_string();
        Command::new("unshare")
            .args(["--mount", "--net", "dockerd", "--bridge", "none", "--iptables=false"])
            .args(["--storage-driver", "vfs", "--log-level", "warn"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["-H", &format!("unix://{}", at("sock"))])
            .args(["--cgroup-parent", &format!("/{}", cgroup())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())
    }

    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.try_docker(&["version"]) {
            let ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                return Err(format!(
                    "dockerd does not start here: {}",
                    log.lines().last().unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn import(&self) {
        let root = self.directory.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        std::fs::copy(busybox.expect("busybox is installed"), root.join("bin/busybox")).unwrap();
        let import =
            format!("tar -C '{}' -c . | docker -H {} import - busybox:test", root.display(), self.host());
        assert!(Command::new("sh").args(["-c", &import]).output().unwrap().status.success());
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("sock").display())
    }

    fn try_docker(&self, args: &[&str]) -> bool {
        Command::new("docker")
            .args(["-H", &self.host()])
            .args(args)
            .output()
            .is_ok_and(|done| done.status.success())
    }

    fn docker(&self, args: &[&str]) -> String {
        let output = Command::new("docker").args(["-H", &self.host()]).args(args).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    fn run(&self, args: &[&str]) -> String {
        let sleeping = ["busybox:test", "/bin/busybox", "sleep", "600"];
        self.docker(&[&["run", "-d"], args, &sleeping].concat())
    }

    /// Ends dockerd as its service manager does, and waits for that.
    fn stop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").arg(&id).status();
        let _ = self.process.wait();
    }

    fn restart(&mut self) {
        self.stop();
        self.process = Self::spawn(self.directory.path()).unwrap();
        self.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        for below in ["exec", "data"] {
            // What dockerd has mounted is gone with its mount namespace.
            let _ = std::fs::remove_dir_all(self.directory.path().join(below));
        }
        // Version 2 has one tree, version 1 one for each controller.
        let controllers = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for tree in controllers.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            let _ = std::fs::remove_dir(tree.join(cgroup()));
        }
    }
}

fn cgroup() -> String {
    format!("docker-test-{}", std::process::id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_engine_is_understood() {
    let mut engine = match Engine::start() {
        Ok(engine) => engine,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let docker = Docker::at(engine.host());
    assert!(docker.version().await.unwrap().contains('.'));
    let mut events = docker.events();
    assert_eq!(events.next().await, Some(Event::Resynced));

    let id = engine.run(&["--net", "none", "--name", "c1"]);
    assert_eq!(events.next().await, Some(Event::Started { id: id.clone() }));
    for name in ["c1", &id, &id[..12]] {
        let container = docker.running_target(name).await.unwrap();
        assert_eq!((&container.id, container.name.as_str()), (&id, "c1"));
        let pid = container.pid.unwrap();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(command.starts_with(b"/bin/busybox\0sleep"), "the pid is the host's");
    }

    engine.run(&["--net", "host", "--name", "on-host"]);
    assert!(matches!(docker.running_target("on-host").await, Err(DockerError::HostNetwork { .. })));
    engine.run(&["--net", "container:c1", "--name", "sharing"]);
    assert!(matches!(docker.running_target("sharing").await, Err(DockerError::SharedNetwork { .. })));
    engine.docker(&["create", "--name", "created", "busybox:test", "/bin/busybox", "true"]);
    assert_eq!(docker.inspect("created").await.unwrap().state, State::Stopped("created".into()));
    assert!(matches!(docker.inspect("nope").await, Err(DockerError::NoSuchContainer(_))));
    let mut running: Vec<_> = docker.list_running().await.unwrap().into_iter().map(|one| one.name).collect();
    running.sort();
    assert_eq!(running, ["c1", "on-host", "sharing"]);

    engine.docker(&["rm", "-f", "sharing", "on-host"]);
    engine.docker(&["stop", "-t", "0", "c1"]);
    let error = docker.running_target("c1").await.unwrap_err().to_string();
    assert!(error.starts_with("container c1 is not running (exited)"), "{error}");
    engine.docker(&["rm", "c1"]);
    let destroyed = Event::Destroyed { id };
    while events.next().await.unwrap() != destroyed {}

    engine.restart();
    assert!(matches!(events.next().await, Some(Event::Lost { .. })));
    assert_eq!(events.next().await, Some(Event::Resynced));
    let again = engine.run(&["--net", "none", "--name", "c2"]);
    assert_eq!(events.next().await, Some(Event::Started { id: again }));
    engine.docker(&["rm", "-f", "c2"]);
}
