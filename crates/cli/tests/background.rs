//! `launch` in the background: the real daemon in namespaces of its own, which end with it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why it skips"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{done, prints, refused, weave};
use tempfile::TempDir;

/// A place for one daemon, which is ended when the test ends in whatever way.
struct Host {
    directory: TempDir,
}

impl Host {
    /// None, when this machine cannot have one; says why.
    fn new_or_skip() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may launch");
            return None;
        }
        if !Path::new("/dev/net/tun").exists() {
            eprintln!("skipped: no /dev/net/tun");
            return None;
        }
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    fn weave(&self, words: &[&str]) -> Command {
        let mut command = weave(&self.run_dir());
        command.args(words);
        command
    }

    /// `launch` in new namespaces. The daemon stays in them and is reached through its socket.
    fn launch(&self, words: &[&str]) -> Command {
        let own = self.weave(&["launch"]);
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount"]).arg(own.get_program()).args(own.get_args());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let state_dir = self.directory.path().join("state");
        command.arg("--state-dir").arg(state_dir).args(["--status-addr", ""]).args(words);
        command
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.run_dir().join("weave.pid")).unwrap().trim().to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.run_dir().join("weave.sock").exists() {
            let _ = self.weave(&["stop"]).output();
        }
    }
}

#[test]
fn launch_returns_when_the_router_serves_and_stop_when_it_is_gone() {
    let Some(host) = Host::new_or_skip() else { return };
    let (code, stdout, stderr) = done(&mut host.launch(&["--nickname=-odd name"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let name = stdout.trim_end();
    assert_eq!((name.len(), stdout.lines().count()), ("7a:00:00:00:00:01".len(), 1), "{stdout}");
    let (_, status, _) = done(&mut host.weave(&["status"]));
    assert!(status.contains(&format!("Name: {name}(-odd name)\n")), "{status}");
    let pid = host.pid();
    let line = format!("weave is already running on this host as process {pid}, peer name {name}(-odd name)");
    refused(&mut host.launch(&[]), 1, &line);
    prints(&mut host.weave(&["stop"]), "");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    let not_running = "weave is not running on this host: start it with `weave launch`";
    refused(&mut host.weave(&["stop"]), 1, not_running);
    let (_, again, _) = done(&mut host.launch(&["--json"]));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&again).unwrap()["Name"],
        name,
        "the identity stays"
    );
}

#[test]
fn no_password_shows_in_the_list_of_processes() {
    let Some(host) = Host::new_or_skip() else { return };
    let file = host.directory.path().join("passwords");
    std::fs::write(&file, "of-the-file\n").unwrap();
    let mut launch = host.launch(&["--password-file", &file.display().to_string()]);
    assert_eq!(done(launch.env("WEAVE_PASSWORD", "of-the-environment")).0, 0);
    for about in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{about}", host.pid())).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("of-the-"), "{about}: {text}");
    }
    let (_, report, _) = done(&mut host.weave(&["report"]));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["Router"]["Passwords"], 2);
}

#[test]
fn the_proxy_is_shown_without_its_password_and_further_ports_are_listened_on() {
    let Some(host) = Host::new_or_skip() else { return };
    let mut launch = host.launch(&["--listen", "*:443", "--listen", "127.0.0.1:8443"]);
    launch.env("https_proxy", "http://user:of-the-proxy@198.18.0.1:3128").env("no_proxy", "*");
    let (code, _, stderr) = done(&mut launch);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for about in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{about}", host.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("of-the-proxy"), "{about}");
    }
    let (_, status, _) = done(&mut host.weave(&["status"]));
    assert!(status.contains("Listening: *:6783 *:443 127.0.0.1:8443\n"), "{status}");
    assert!(status.contains("Proxy: http://198.18.0.1:3128\n") && !status.contains("of-the-"), "{status}");
    let (_, report, _) = done(&mut host.weave(&["report"]));
    assert!(!report.contains("of-the-"), "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["Router"]["Listening"], serde_json::json!(["*:6783", "*:443", "127.0.0.1:8443"]));
    // /proc/net/tcp and tcp6 of the daemon's network; 0A is LISTEN.
    let sockets =
        ["tcp", "tcp6"].map(|file| std::fs::read_to_string(format!("/proc/{}/net/{file}", host.pid())));
    let sockets = sockets.map(Result::unwrap).concat();
    for port in [6783, 443, 8443] {
        let listens =
            sockets.lines().any(|line| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A "));
        assert!(listens, "{port}: {sockets}");
    }
}

#[test]
fn what_cannot_be_done_about_links_is_named_and_nothing_runs() {
    let Some(host) = Host::new_or_skip() else { return };
    let socks = [("https_proxy", "socks5://user:of-the-proxy@proxy:1080")];
    for (words, variables, said) in [
        (
            &["--listen", "*:443", "--listen", "*:443"][..],
            &[][..],
            "--listen *:443: the router listens there already",
        ),
        (&["--listen", "*:6783"], &[], "--listen *:6783: the router listens there already"),
        (&["--listen", "127.0.0.1:6783"], &[], "TCP 127.0.0.1:6783 is in use"),
        (&["--tls-congestion", "no-such"], &[], "no TCP congestion control `no-such`"),
        (&[], &socks, "https_proxy: `socks5://proxy:1080` is a proxy of another kind"),
    ] {
        let mut launch = host.launch(words);
        launch.envs(variables.iter().copied());
        let (code, stdout, stderr) = done(&mut launch);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains(said) && !stderr.contains("of-the-proxy"), "{stderr}");
        assert!(!host.run_dir().join("weave.sock").exists());
    }
}

#[test]
fn the_daemon_holds_nothing_of_its_caller() {
    let Some(host) = Host::new_or_skip() else { return };
    let lock = host.directory.path().join("lock");
    let launch = host.launch(&[]);
    let mut script = Command::new("sh");
    script.args(["-c", "exec 9>\"$0\" && flock 9 && exec \"$@\""]).arg(&lock);
    script.arg(launch.get_program()).args(launch.get_args());
    for (name, value) in launch.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        script.env(name, value);
    }
    // Its output is read to the end: that comes only when the daemon has let go of it.
    assert_eq!(done(&mut script).0, 0);
    let pid = host.pid();
    let held = Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap();
    assert!(held.success(), "the lock is free again");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, pid, "it leads a session of its own");
}

#[test]
fn a_daemon_that_cannot_serve_is_told_in_its_own_words() {
    let Some(host) = Host::new_or_skip() else { return };
    let (code, stdout, stderr) = done(&mut host.launch(&["--name", "no-name"]));
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.starts_with("weave: ") && stderr.lines().count() <= 2, "{stderr}");
    assert!(stderr.contains("no-name") && !stderr.contains("ended before it served"), "{stderr}");
    let log = host.run_dir().join("weave.log");
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(host.run_dir().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let first = stderr.lines().next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains(first), "the log has it too");
}
