//! Wrong use and bad luck on real hosts: one clear line, the right exit code, nothing changed.

use std::time::Duration;

use testbed::{Host, Lab, Output, Underlay, eventually};

const WEAVE: &str = env!("CARGO_BIN_EXE_weave");

#[test]
fn a_second_launch_says_what_runs_already() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    let name = host.launch(&[]);
    let said = refused(host.weave(&["launch"]));
    assert!(said.contains("already running") && said.contains(&name), "{said}");
    let said = refused(host.weave(&["launch", "--foreground"]));
    assert!(said.contains("already running"), "{said}");
    assert!(host.weave(&["status"]).ok().contains(&name));
}

#[test]
fn without_root_nothing_is_started_or_told() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.sh("install -m 755 $(command -v weave) /run/weave-for-all").ok();
    let as_nobody = |verb: &[&str]| {
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/run/weave-for-all"];
        host.exec(&[&user[..], verb].concat())
    };
    let said = refused(as_nobody(&["launch"]));
    assert!(said.contains("root"), "{said}");
    host.launch(&[]);
    for verb in
        [&["stop"][..], &["reset"], &["status"], &["connect", "198.18.0.2"], &["expose", "10.9.0.1/24"]]
    {
        let said = refused(as_nobody(verb));
        assert!(said.contains("root"), "{verb:?}: {said}");
    }
    host.weave(&["status"]).ok();
}

#[test]
fn without_the_tun_device_launch_says_what_is_missing() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.sh("mount -t tmpfs tmpfs /dev/net").ok();
    let said = refused(host.weave(&["launch"]));
    assert!(said.contains("/dev/net/tun"), "{said}");
    assert_eq!(traces(host), "");
    host.sh("umount /dev/net").ok();
    host.launch(&[]);
}

#[test]
fn a_port_in_use_is_named() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    for (kind, port, options) in [
        ("STREAM", "6783", &[][..]),
        ("DGRAM", "6783", &[]),
        ("STREAM", "6782", &[]),
        ("STREAM", "7000", &["--port", "7000"]),
    ] {
        let squat = format!(
            "use Socket; socket(S, PF_INET, SOCK_{kind}, 0); bind(S, sockaddr_in({port}, INADDR_LOOPBACK));
             listen(S, 1); sleep 1000"
        );
        let _squatter = host.spawn(&["perl", "-e", &squat]);
        eventually("somebody listens", Duration::from_secs(5), || {
            if host.sh(&format!("ss -ltun | grep -q :{port}")).code == 0 {
                Ok(())
            } else {
                Err("not yet".into())
            }
        });
        let said = refused(host.weave(&[&["launch"], options].concat()));
        assert!(said.contains(port) && said.contains("use"), "{said}");
        assert_eq!(traces(host), "", "after port {port} {kind}");
    }
    host.launch(&[]);
}

#[test]
fn more_passwords_than_can_be_valid_at_once_are_refused_before_anything_is_made() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let words: Vec<_> = ["a", "b", "c", "d", "e"].iter().flat_map(|p| ["--password", p]).collect();
    let said = refused(lab.host(1).weave(&[&["launch"], &words[..]].concat()));
    assert!(said.contains("at most 4"), "{said}");
    assert_eq!(traces(lab.host(1)), "");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.sh("mkdir /run/ro && mount -t tmpfs -o ro tmpfs /run/ro; touch /run/file").ok();
    for dir in ["/run/file", "/run/file/below", "/run/ro/state", "/run/ro"] {
        let said = refused(host.weave(&["launch", "--state-dir", dir]));
        assert!(said.contains(dir), "{said}");
        assert_eq!(traces(host), "");
    }
    host.launch(&[]);
    host.weave(&["stop"]).ok();
    for (file, bytes) in [("identity", "half a key"), ("state.redb", "no database")] {
        host.sh(&format!("cp -a /var/lib/weave /run/broken && echo {bytes} >/run/broken/{file}")).ok();
        let said = refused(host.weave(&["launch", "--state-dir", "/run/broken"]));
        assert!(said.contains(file), "{said}");
        assert_eq!(
            host.sh(&format!("cat /run/broken/{file}; rm -r /run/broken")).ok(),
            bytes,
            "it is left alone"
        );
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_done_that_could_not_be_saved() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.sh("mkdir /run/tiny && mount -t tmpfs -o size=4k tmpfs /run/tiny").ok();
    let said = refused(host.weave(&["launch", "--state-dir", "/run/tiny/state"]));
    assert!(said.contains("/run/tiny/state"), "{said}");

    host.sh("umount /run/tiny && mount -t tmpfs -o size=8m tmpfs /run/tiny").ok();
    host.launch(&["--state-dir", "/run/tiny/state"]);
    host.weave(&["expose", "10.9.0.1/24"]).ok();
    host.sh("dd if=/dev/zero of=/run/tiny/fill bs=4k 2>/dev/null; true").ok();
    // The database has some room inside its file; as many targets as this do not fit.
    let many: Vec<_> = (0..20_000).map(|i| format!("198.18.{}.{}:7777", 1 + i / 250, 1 + i % 250)).collect();
    let before = host.weave(&["status", "targets"]).ok();
    let mut words = vec!["connect"];
    words.extend(many.iter().map(String::as_str));
    let said = refused(host.weave(&words));
    assert!(said.contains("/run/tiny/state"), "{said}");
    assert_eq!(host.weave(&["status", "targets"]).ok(), before);

    host.sh("rm /run/tiny/fill").ok();
    host.weave(&["expose", "10.9.0.2/24"]).ok();
    host.kill_router();
    host.launch(&["--state-dir", "/run/tiny/state"]);
    let exposed = host.sh("ip addr show dev weave").ok();
    assert!(exposed.contains("10.9.0.1/24") && exposed.contains("10.9.0.2/24"), "{exposed}");
}

#[test]
fn peers_that_cannot_be_reached_as_given_are_refused_or_explained() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.launch(&["--no-discovery"]);
    for (peer, what) in [
        ("no-such-host.example", "no-such-host.example"),
        ("198.18.0.2:99999", "99999"),
        ("198.18.0.2:port", "port"),
        ("[fd00::1", "fd00::1"),
        ("", "not a peer"),
        ("198.18.0.1", "itself"),
        ("host1", "itself"),
        ("[fd00:198:18::1]", "itself"),
    ] {
        let said = refused(host.weave(&["connect", peer]));
        assert!(said.contains(what), "{peer}: {said}");
        assert_eq!(host.weave(&["status", "targets"]).ok(), "", "{peer}");
    }
    // Nobody listens on host 2: that may change at any time.
    host.weave(&["connect", "198.18.0.2"]).ok();
    host.await_trouble("refused");
}

#[test]
fn a_wrong_password_is_told_at_both_ends() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    lab.host(1).launch(&["--password", "the right one"]);
    for options in [&["--password", "a wrong one"][..], &[]] {
        lab.host(2).launch(&[options, &["198.18.0.1"]].concat());
        lab.host(1).await_trouble("password");
        lab.host(2).await_trouble("password");
        assert!(lab.host(1).weave(&["status"]).ok().contains("Peers: 1"));
        lab.host(2).weave(&["stop"]).ok();
    }
    lab.host(2).launch(&["--password", "a new one", "--password", "the right one", "198.18.0.1"]);
    lab.host(2).await_peers(2, "udp");
}

#[test]
fn two_peers_with_one_copied_identity_are_told_so() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    lab.host(1).launch(&[]);
    let name = lab.host(2).launch(&["198.18.0.1"]);
    lab.host(2).await_peers(2, "udp");
    // Hosts share the machine's files outside /run and /var/lib.
    let copy = std::env::temp_dir().join(format!("{}-identity", lab.name()));
    let copy = copy.to_string_lossy();
    lab.host(2).sh(&format!("cp /var/lib/weave/identity {copy}")).ok();
    lab.host(3).sh(&format!("mkdir -m 700 /var/lib/weave && mv {copy} /var/lib/weave/identity")).ok();
    assert_eq!(lab.host(3).launch(&["198.18.0.1"]), name);
    lab.host(1).await_trouble("two hosts share the identity");
    lab.host(2).await_trouble("another host");
    lab.host(3).await_trouble("is in use");
    lab.host(2).await_peers(2, "udp");
}

#[test]
fn containers_that_cannot_be_attached_are_refused_with_the_reason() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(WEAVE);
    let host = lab.host(1);
    host.launch(&[]);
    host.run_shell("first", "10.9.0.1/24");
    host.sh("docker run -dti --name plain busybox:lab sh && docker create --name stopped busybox:lab sh &&
         docker run -dti --name paused busybox:lab sh && docker pause paused &&
         docker run -dti --name hostnet --net host busybox:lab sh")
        .ok();
    let listed = host.weave(&["ps"]).ok();
    for (container, reason) in [
        ("nobody", "no such container"),
        ("stopped", "not running"),
        ("paused", "paused"),
        ("hostnet", "host's network"),
    ] {
        let said = refused(host.weave(&["attach", "10.9.0.7/24", container]));
        assert!(said.contains(container) && said.contains(reason), "{container}: {said}");
    }
    for (address, reason) in [
        ("10.9.0.1/24", "first"),
        ("10.9.0.0/24", "network itself"),
        ("10.9.0.255/24", "broadcast"),
        ("10.9.0.9/33", "prefix"),
        ("10.9.0.9", "prefix"),
        ("10.9.0.300/24", "10.9.0.300"),
    ] {
        let said = refused(host.weave(&["attach", address, "plain"]));
        assert!(said.contains(reason), "{address}: {said}");
    }
    let before = host.docker(&["ps", "-aq"]).ok();
    let said = refused(host.weave(&["run", "10.9.0.1/24", "-ti", "--name", "late", "busybox:lab", "sh"]));
    assert!(said.contains("first"), "{said}");
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), before, "no container is started in vain");
    assert_eq!(host.weave(&["ps"]).ok(), listed);
    assert!(!host.inside("plain", &["ip", "link"]).ok().contains("ethwe"));

    // What is not there need not be taken away.
    assert_eq!(host.weave(&["detach", "10.9.0.7/24", "plain"]).ok(), "10.9.0.7");
    assert_eq!(host.weave(&["hide", "10.9.0.8/24"]).ok(), "10.9.0.8");
}

#[test]
fn without_docker_only_the_verbs_about_containers_fail() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_weave(WEAVE);
    let host = lab.host(1);
    host.launch(&[]);
    for verb in [
        &["run", "10.9.0.1/24", "busybox:lab"][..],
        &["attach", "10.9.0.1/24", "box"],
        &["detach", "10.9.0.1/24", "box"],
        &["start", "box"],
    ] {
        let said = refused(host.weave(verb));
        assert!(said.contains("Docker"), "{verb:?}: {said}");
    }
    host.weave(&["expose", "10.9.0.100/24"]).ok();
    host.weave(&["connect", "198.18.0.2"]).ok();
    let status = host.weave(&["status"]).ok();
    assert!(status.contains("not reachable"), "{status}");
    // It is found as soon as it is there.
    host.start_docker();
    host.run_shell("box", "10.9.0.1/24");
    assert!(host.pings("10.9.0.1"));
}

/// A refusal: exit code 1, one line on stderr and perhaps a hint, nothing on stdout.
#[track_caller]
fn refused(output: Output) -> String {
    let shown = output.to_string();
    assert_eq!(output.stdout, "", "{shown}");
    let said = output.fails_with(1);
    let lines: Vec<_> = said.lines().collect();
    let hint_only = lines.iter().skip(1).all(|line| line.starts_with("hint: "));
    assert!(
        lines.first().is_some_and(|line| line.starts_with("weave: ")) && lines.len() <= 2 && hint_only,
        "{shown}"
    );
    said
}

/// What a launch that failed must not leave behind.
fn traces(host: &Host) -> String {
    host.sh("ip -o link | grep weave; nft list tables | grep weave; iptables-save | grep -i weave; ls /run/weave/weave.sock 2>/dev/null").stdout
}
