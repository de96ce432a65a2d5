//! Every verb of the real binary against a daemon that remembers what it was asked.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use api::{Attach, Check, Connect, Detach, Expose, Forget, Hide, render};
use common::{Daemon, FakeDocker, done, prints, refused, report};
use serde_json::{Value, json};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

#[test]
fn connect_and_forget_pass_targets_on_exactly_as_given_and_print_nothing() {
    let daemon = Daemon::start();
    prints(&mut daemon.weave(["connect", "host2", "[fd00::2]:7000"]), "");
    prints(&mut daemon.weave(["connect", "--replace"]), "");
    prints(&mut daemon.weave(["connect", "--replace", "host3"]), "");
    prints(&mut daemon.weave(["forget", "host2"]), "");
    let connect = |peers: &[&str], replace| format!("{:?}", Connect { peers: words(peers), replace });
    assert_eq!(
        daemon.asked(),
        [
            connect(&["host2", "[fd00::2]:7000"], false),
            connect(&[], true),
            connect(&["host3"], true),
            format!("{:?}", Forget { peers: words(&["host2"]) }),
        ]
    );
    refused(
        &mut daemon.weave(["connect", "nowhere.invalid"]),
        1,
        "nowhere.invalid does not resolve: no such host",
    );
}

#[test]
fn rmpeer_says_what_became_of_each_and_may_be_repeated() {
    let daemon = Daemon::start();
    let said =
        "host2: 7a:00:00:00:00:02 is removed\nnobody: no such peer is known, so there is nothing to remove\n";
    for _ in 0..2 {
        prints(&mut daemon.weave(["rmpeer", "host2", "nobody"]), said);
    }
    refused(&mut daemon.weave(["rmpeer", "host3"]), 1, "host3 runs: it is linked to host1");
    let (code, stdout, _) = done(&mut daemon.weave(["rmpeer", "--json", "host2"]));
    assert_eq!(code, 0);
    let printed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(printed, json!({"Peers": [{"Given": "host2", "Name": "7a:00:00:00:00:02"}]}));
}

#[test]
fn why_tells_the_story_of_one_peer() {
    let daemon = Daemon::start();
    prints(&mut daemon.weave(["why", "host2"]), "7a:00:00:00:00:02(host2)\n  nothing carries frames to it\n");
    refused(&mut daemon.weave(["why", "nobody"]), 1, "no peer is known as nobody");
    let (code, stdout, _) = done(&mut daemon.weave(["why", "--json", "host2"]));
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["Peer"]["NickName"], "host2");
}

#[test]
fn attach_detach_expose_and_hide_print_bare_addresses_on_one_line() {
    let daemon = Daemon::start();
    let two = ["192.168.122.1/24", "ip:fd00::1/64"];
    prints(&mut daemon.weave(["attach", two[0], two[1], "c1"]), "192.168.122.1 fd00::1\n");
    prints(&mut daemon.weave(["detach", two[0], "c1"]), "192.168.122.1\n");
    prints(&mut daemon.weave(["expose", two[0], two[1]]), "192.168.122.1 fd00::1\n");
    prints(&mut daemon.weave(["hide", two[0]]), "192.168.122.1\n");
    assert_eq!(
        daemon.asked(),
        [
            format!("{:?}", Attach { container: "c1".into(), addresses: words(&two) }),
            format!("{:?}", Detach { container: "c1".into(), addresses: words(&two[..1]) }),
            format!("{:?}", Expose { addresses: words(&two) }),
            format!("{:?}", Hide { addresses: words(&two[..1]) }),
        ]
    );
    for (verb, more) in [("attach", Some("c1")), ("detach", Some("c1")), ("expose", None), ("hide", None)] {
        let (code, stdout, _) =
            done(&mut daemon.weave([Some(verb), Some("--json"), Some(two[0]), more].iter().flatten()));
        assert_eq!(code, 0);
        let printed: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(printed, json!({"Addresses": ["192.168.122.1"]}), "{verb}");
    }
}

#[test]
fn a_refusal_is_one_line_with_the_daemons_hint_below() {
    let daemon = Daemon::start();
    let (code, stdout, stderr) = done(&mut daemon.weave(["detach", "10.0.0.1/24", "nope"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "weave: no such container: nope\nhint: `weave ps` lists them\n");
}

#[test]
fn pages_come_as_text_and_as_json() {
    let daemon = Daemon::start();
    prints(&mut daemon.weave(["status"]), &render::status(&report()));
    prints(&mut daemon.weave(["status", "peers"]), "7a:00:00:00:00:01(host1)\n");
    prints(&mut daemon.weave(["status", "targets"]), "198.18.0.2\n");
    prints(&mut daemon.weave(["status", "connections"]), "");
    let printed =
        |words: &[&str]| -> Value { serde_json::from_str(&done(&mut daemon.weave(words)).1).unwrap() };
    let whole = serde_json::to_value(report()).unwrap();
    assert_eq!(printed(&["status", "--json"]), whole);
    assert_eq!(printed(&["report"]), whole);
    assert_eq!(printed(&["report", "--json"]), whole);
    assert_eq!(printed(&["status", "peers", "--json"]), whole["Router"]["Peers"]);
    assert_eq!(printed(&["status", "targets", "--json"]), whole["Router"]["Targets"]);
    assert_eq!(printed(&["status", "connections", "--json"]), whole["Router"]["Connections"]);
    assert_eq!(printed(&["ps", "--json"]), whole["Attachments"]);
}

#[test]
fn ps_asks_for_the_containers_named() {
    let daemon = Daemon::start();
    prints(
        &mut daemon.weave(["ps", "c1", "c2"]),
        "0123456789ab 02:00:00:00:00:0a 192.168.122.1/24 192.168.123.1/24\n",
    );
    assert_eq!(daemon.asked(), [format!("{:?}", ["c1", "c2"])]);
}

#[test]
fn a_setting_in_the_environment_counts_as_its_flag() {
    let daemon = Daemon::start();
    let (_, stdout, _) = done(daemon.weave(["ps"]).env("WEAVE_JSON", "1"));
    assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{stdout}");
    prints(daemon.weave(["status", "targets"]).env("WEAVE_JSON", "no"), "198.18.0.2\n");
}

#[test]
fn version_has_two_lines_with_and_without_a_router() {
    let daemon = Daemon::start();
    let own = env!("CARGO_PKG_VERSION");
    prints(&mut daemon.weave(["version"]), &format!("weave {own}\nrouter 0.9.9\n"));
    let nowhere = tempfile::tempdir().unwrap();
    prints(common::weave(nowhere.path()).arg("version"), &format!("weave {own}\nrouter: not running\n"));
    let (_, stdout, _) = done(common::weave(nowhere.path()).args(["version", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), json!({"Client": own, "Router": null}));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let daemon = Daemon::start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = daemon.weave(["report"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = daemon.weave(["report"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "a full disk is one");
}

#[test]
fn run_gives_docker_its_arguments_untouched_and_prints_the_id_alone() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    let mut command =
        daemon.weave(["run", "192.168.122.1/24", "ip:192.168.123.1/24", "-ti", "--name", "cct1"]);
    command
        .args(["-e", "A=x y", "busybox:lab", "sh", "-c", "echo 10.0.0.1/24 --json", ""])
        .env("PATH", docker.path());
    let (code, stdout, stderr) = done(&mut command);
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (0, format!("{}\n", FakeDocker::ID).as_str(), "Pulling\n")
    );
    let ours = words(&["192.168.122.1/24", "ip:192.168.123.1/24"]);
    assert_eq!(
        docker.calls()[1],
        "[run][-d][-ti][--name][cct1][-e][A=x y][busybox:lab][sh][-c][echo 10.0.0.1/24 --json][]"
    );
    assert_eq!(
        daemon.asked(),
        [
            format!("{:?}", Check { addresses: ours.clone(), container: None }),
            format!("{:?}", Attach { container: FakeDocker::ID.into(), addresses: ours }),
        ]
    );
}

#[test]
fn run_starts_nothing_when_something_is_wrong_beforehand() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    let run = |words: &[&str]| {
        let mut command = daemon.weave(["run"]);
        command.args(words).env("PATH", docker.path());
        command
    };
    refused(&mut run(&["-ti", "busybox"]), 2, "no address given: name one, as in 192.168.122.1/24");
    refused(
        &mut run(&["10.0.0.1/24"]),
        2,
        "no image given: the arguments of `docker run` come after the addresses",
    );
    refused(&mut run(&["10.0.0.99/24", "busybox"]), 1, "10.0.0.99 is on container other already");
    refused(
        &mut run(&["10.0.0.255/24", "busybox"]),
        1,
        "10.0.0.255/24 is the broadcast address of its network: take one inside it",
    );
    refused(
        &mut run(&["net:default", "busybox"]),
        1,
        "net:default asks for an address to be chosen, and automatic allocation is not built yet: name one, as in 192.168.122.1/24",
    );
    assert_eq!(docker.calls(), [""; 0]);
    refused(
        run(&["10.0.0.1/24", "busybox"]).env("FAKE_DOWN", "1"),
        1,
        "Docker is not running: Cannot connect to the Docker daemon",
    );
    refused(
        run(&["10.0.0.1/24", "busybox"]).env("PATH", "/nowhere"),
        1,
        "the docker command is not installed",
    );
    assert_eq!(docker.calls().len(), 1, "the version was asked for and no more");
}

#[test]
fn run_removes_its_container_when_it_cannot_be_attached() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    let mut command = daemon.weave(["run", "10.0.0.66/24", "busybox"]);
    let (code, stdout, stderr) = done(command.env("PATH", docker.path()));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "Pulling\nweave: 10.0.0.66 was taken meanwhile\n");
    assert_eq!(docker.calls().last().unwrap(), &format!("[rm][-f][{}]", FakeDocker::ID));
}

#[test]
fn run_attaches_nothing_when_docker_fails() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    let mut command = daemon.weave(["run", "10.0.0.1/24", "busybox"]);
    let (code, stdout, stderr) = done(command.env("PATH", docker.path()).env("FAKE_NO_RUN", "1"));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(
        stderr,
        "docker: no such image\nweave: docker failed, for the reason it gives above (exit status: 125)\n"
    );
    assert_eq!(daemon.asked().len(), 1, "the addresses were checked and no more");
}

#[test]
fn start_starts_and_attaches() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    prints(daemon.weave(["start", "10.0.0.1/24", "c1"]).env("PATH", docker.path()), "c1\n");
    assert_eq!(docker.calls()[2], "[start][c1]");
    let addresses = words(&["10.0.0.1/24"]);
    let check = Check { addresses: addresses.clone(), container: Some("c1".into()) };
    let attach = Attach { container: "c1".into(), addresses };
    assert_eq!(daemon.asked(), [format!("{check:?}"), format!("{attach:?}")]);
}

#[test]
fn start_without_addresses_waits_for_the_remembered_ones() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    prints(daemon.weave(["start", "c1"]).env("PATH", docker.path()), "c1\n");
    assert_eq!(docker.calls()[1], "[start][c1]");
    assert_eq!(daemon.asked(), [format!("{:?}", ["c1"])], "it was asked for the container's addresses");
}

#[test]
fn start_leaves_a_container_as_it_was_when_it_cannot_be_attached() {
    let (daemon, docker) = (Daemon::start(), FakeDocker::new());
    let start = || {
        let mut command = daemon.weave(["start", "10.0.0.66/24", "c1"]);
        command.env("PATH", docker.path());
        command
    };
    refused(&mut start(), 1, "10.0.0.66 was taken meanwhile");
    assert_eq!(docker.calls().last().unwrap(), "[stop][c1]");
    refused(start().env("FAKE_RUNNING", "true"), 1, "10.0.0.66 was taken meanwhile");
    assert_eq!(docker.calls().last().unwrap(), "[start][c1]");
    let mut unknown = daemon.weave(["start", "10.0.0.1/24", "nope"]);
    refused(unknown.env("PATH", docker.path()), 1, "No such container: nope");
}

#[test]
fn a_second_launch_says_what_runs_and_changes_nothing() {
    let daemon = Daemon::start();
    let pid = std::process::id();
    let line =
        format!("weave is already running on this host as process {pid}, peer name 7a:00:00:00:00:01(host1)");
    refused(&mut daemon.weave(["launch"]), 1, &line);
    refused(&mut daemon.weave(["launch", "--foreground"]), 1, &line);
    assert!(!daemon.run_dir().join("weave.log").exists());
}
