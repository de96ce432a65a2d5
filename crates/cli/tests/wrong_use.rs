//! Wrong use of the real binary: one clear line, the right exit code, nothing on stdout.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::{done, refused, weave};

/// The user and group of no one.
const NOBODY: u32 = 65534;

const NOT_RUNNING: &str = "weave is not running on this host: start it with `weave launch`";

fn in_nowhere(words: &[&str]) -> Command {
    let mut command = weave(Path::new("/nowhere"));
    command.args(words);
    command
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn an_unknown_verb_names_the_nearest() {
    refused(&mut in_nowhere(&["launhc"]), 2, "unknown verb 'launhc': did you mean 'launch'?");
    refused(&mut in_nowhere(&["xyzzy"]), 2, "unknown verb 'xyzzy'");
}

#[test]
fn a_name_for_an_exposed_address_is_refused_rather_than_answered_with_help() {
    refused(
        &mut in_nowhere(&["expose", "192.168.122.100/24", "-h", "db.weave.local"]),
        2,
        "unknown argument '-h'",
    );
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    refused(
        &mut in_nowhere(&["launch", "--pasword", "x"]),
        2,
        "unknown argument '--pasword': did you mean '--password'?",
    );
    refused(&mut in_nowhere(&["connect", "--json", "a"]), 2, "unknown argument '--json'");
    refused(&mut in_nowhere(&["stop", "now"]), 2, "unknown argument 'now'");
    refused(
        &mut in_nowhere(&["status", "conections"]),
        2,
        "unknown value 'conections': did you mean 'connections'?",
    );
}

#[test]
fn missing_and_impossible_values_are_wrong_usage() {
    for words in [
        &["connect"][..],
        &["forget"],
        &["rmpeer"],
        &["why"],
        &["attach"],
        &["detach"],
        &["expose"],
        &["hide"],
        &["run"],
        &["start"],
        &["status", "nonsense"],
        &["launch", "--port", "0"],
        &["launch", "--port", "65536"],
        &["launch", "--mtu", "100"],
        &["launch", "--mtu", "9001"],
        &["launch", "--transport", "pigeon"],
        &["launch", "--log-level", "loud"],
        &["launch", "--host", "localhost"],
        &["launch", "--status-addr", "6782"],
        &["launch", "--conn-limit", "-1"],
        &["launch", "--listen", "443"],
        &["launch", "--listen", "*:0"],
        &["launch", "--listen", "host1:443"],
        &["launch", "--http-proxy", "socks5://proxy:1080"],
        &["launch", "--http-proxy", "http://"],
        &["launch", "--tls-server-name", "198.18.0.1"],
        &["launch", "--tls-alpn", "h2,,http/1.1"],
        &["launch", "--resume", "198.18.0.2"],
        &["attach", "10.0.0.1/24"],
        &["attach", "c1"],
        &["start", "10.0.0.1/24"],
    ] {
        let (code, stdout, stderr) = done(&mut in_nowhere(words));
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.starts_with("weave: ") && stderr.lines().count() <= 2, "{words:?}: {stderr}");
    }
}

#[test]
fn a_proxy_that_cannot_be_is_refused_without_repeating_its_password() {
    for url in
        ["http://user:hunter2@proxy/path", "https://user:hunter2@proxy:443", "http://user:hunter2%@proxy:1"]
    {
        let (code, stdout, stderr) = done(&mut in_nowhere(&["launch", "--http-proxy", url]));
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains("--http-proxy: ") && !stderr.contains("hunter2"), "{stderr}");
    }
    let (_, help, _) =
        done(in_nowhere(&["help", "launch"]).env("WEAVE_HTTP_PROXY", "http://u:hunter2@proxy:1"));
    assert!(help.contains("WEAVE_HTTP_PROXY") && !help.contains("hunter2"), "{help}");
}

#[test]
fn no_verb_at_all_shows_the_verbs_and_fails() {
    let (code, stdout, stderr) = done(&mut in_nowhere(&[]));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("launch") && stderr.contains("expose"), "{stderr}");
}

#[test]
fn help_is_data() {
    for words in [&["help"][..], &["--help"], &["help", "run"], &["run", "--help"], &["--version"]] {
        let (code, stdout, stderr) = done(&mut in_nowhere(words));
        assert_eq!((code, stderr.as_str()), (0, ""), "{words:?}");
        assert!(stdout.contains("weave"), "{stdout}");
    }
    let (_, stdout, _) = done(in_nowhere(&["help", "launch"]).env("WEAVE_PASSWORD", "hunter2"));
    assert!(
        stdout.contains("WEAVE_PASSWORD") && !stdout.contains("hunter2") && !stdout.contains("spawned"),
        "{stdout}"
    );
}

#[test]
fn a_bad_address_is_refused_before_anyone_is_asked() {
    let cases = [
        ("10.0.0.1", "10.0.0.1 has no prefix length: write it as in 10.0.0.1/24"),
        (
            "10.0.0.1/33",
            "10.0.0.1/33 has a bad prefix length: it is a number from 1 to 32, as in 192.168.122.1/24",
        ),
        ("10.0.0.300/24", "\"10.0.0.300/24\" is not an address: write it as in 192.168.122.1/24"),
        ("10.0.0.0/24", "10.0.0.0/24 is the address of the network itself: take one inside it"),
        ("10.0.0.255/24", "10.0.0.255/24 is the broadcast address of its network: take one inside it"),
        ("127.0.0.1/8", "127.0.0.1/8 is a loopback address: it never leaves a host"),
        ("224.0.0.1/24", "224.0.0.1/24 is a multicast address: no interface can have it"),
    ];
    for (address, line) in cases {
        for words in [
            &["attach", address, "c1"][..],
            &["detach", address, "c1"],
            &["expose", address],
            &["hide", address],
            &["run", address, "busybox"],
            &["start", address, "c1"],
        ] {
            refused(&mut in_nowhere(words), 1, line);
        }
    }
}

#[test]
fn without_a_router_every_verb_says_so() {
    for words in [
        &["connect", "a"][..],
        &["forget", "a"],
        &["rmpeer", "a"],
        &["why", "a"],
        &["attach", "10.0.0.1/24", "c1"],
        &["detach", "10.0.0.1/24", "c1"],
        &["expose", "10.0.0.1/24"],
        &["hide", "10.0.0.1/24"],
        &["run", "10.0.0.1/24", "busybox"],
        &["start", "c1"],
        &["status"],
        &["status", "peers", "--json"],
        &["ps"],
        &["report"],
        &["stop"],
    ] {
        refused(&mut in_nowhere(words), 1, NOT_RUNNING);
    }
}

#[test]
fn reset_without_a_router_asks_for_force() {
    if !is_root() {
        eprintln!("skipped: only root gets that far");
        return;
    }
    let (code, stdout, stderr) = done(&mut in_nowhere(&["reset"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with(
            "weave: weave was not stopped on this host, and does not run\nhint: `weave reset --force`"
        ),
        "{stderr}"
    );
}

#[test]
fn only_root_may() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    // Built files may lie where others cannot go: take a copy that anyone can run.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = directory.path().join("weave");
    std::fs::copy(env!("CARGO_BIN_EXE_weave"), &binary).unwrap();
    let run_dir = directory.path().join("run");
    std::fs::create_dir(&run_dir).unwrap();
    let socket = run_dir.join("weave.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(words).env_clear().env("WEAVE_RUN_DIR", &run_dir).uid(NOBODY).gid(NOBODY);
        command
    };
    refused(&mut as_nobody(&["launch"]), 1, "`weave launch` needs root: run it with sudo");
    refused(&mut as_nobody(&["reset", "--force"]), 1, "`weave reset` needs root: run it with sudo");
    let line = format!("this needs root: only root may open {}", socket.display());
    for words in [&["status"][..], &["ps"], &["connect", "a"], &["expose", "10.0.0.1/24"], &["stop"]] {
        refused(&mut as_nobody(words), 1, &line);
    }
    let (code, stdout, _) = done(&mut as_nobody(&["version"]));
    assert_eq!(code, 0);
    assert!(stdout.ends_with("router: only root may ask it\n"), "{stdout}");
}

#[test]
fn impossible_passwords_are_refused_at_launch() {
    if !is_root() {
        eprintln!("skipped: only root gets that far");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("passwords");
    let path = file.display().to_string();
    let launch = |words: &[&str]| in_nowhere(&[&["launch"], words].concat());
    let empty = "a password is empty: leave the option and WEAVE_PASSWORD out to go without";
    refused(&mut launch(&["--password", ""]), 1, empty);
    refused(launch(&[]).env("WEAVE_PASSWORD", ""), 1, empty);
    refused(
        &mut launch(&["--password-file", &path]),
        1,
        &format!("cannot read the password file {path}: No such file or directory (os error 2)"),
    );
    std::fs::write(&file, "\n\n").unwrap();
    refused(
        &mut launch(&["--password-file", &path]),
        1,
        &format!("the password file {path} holds no password"),
    );
    std::fs::write(&file, "a\nb\nc\nd\na\n").unwrap();
    let five = ["--password-file", &path, "--password", "e"];
    refused(&mut launch(&five), 1, "5 passwords given: at most 4 are valid at once");
}
