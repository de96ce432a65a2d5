//! What an operator and his monitoring can see.

use serde_json::Value;
use testbed::{Host, Lab, Underlay};

#[test]
fn status_metrics_and_report_tell_what_goes_on() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let (host1, host2) = (lab.host(1), lab.host(2));
    host1.launch(&[]);
    let name2 = host2.launch(&["198.18.0.1"]);
    host1.run_shell("c1", "10.9.0.1/24");
    host2.run_shell("c2", "10.9.0.2/24");
    host1.await_peers(2, "udp");
    host1.await_ping("c1", "10.9.0.2");

    let connections = host1.weave(&["status", "connections"]).ok();
    for word in ["<- 198.18.0.2", "established", "encrypted", "udp", &name2, "(host2)", "mtu=", "rtt="] {
        assert!(connections.contains(word), "{word} is missing: {connections}");
    }
    assert_eq!(get(host1, "/status/connections"), connections);
    assert!(get(host1, "/status").contains("Peers: 2"));
    let report: Value = serde_json::from_str(&get(host1, "/report")).unwrap();
    assert_eq!(report["Ready"], true);

    let before = frames(host1, &name2);
    host1.inside("c1", &["ping", "-c", "20", "-i", "0.1", "10.9.0.2"]).ok();
    let after = frames(host1, &name2);
    assert!(after >= before + 40.0, "20 requests and 20 answers: {before} before, {after} after");
    assert!(
        get(host1, "/metrics").contains("weave_connections{"),
        "scripts made for the original find this one"
    );
}

#[test]
fn the_status_address_changes_nothing_and_is_for_this_host_only() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    host.launch(&[]);
    get(host, "/status");
    let from_outside = lab.host(2).sh("busybox wget -q -T 2 -O - http://198.18.0.1:6782/status");
    assert_ne!(from_outside.code, 0);
    for path in ["/connect", "/stop", "/attach"] {
        let post = format!(
            "busybox wget -q -O - --post-data '{{\"Peers\":[\"198.18.0.2\"]}}' http://127.0.0.1:6782{path}"
        );
        assert_ne!(host.sh(&post).code, 0, "{path}");
    }
    assert_eq!(host.weave(&["status", "targets"]).ok(), "");
    let modes = host.sh("stat -c '%a %U' /run/weave/weave.sock /var/lib/weave /var/lib/weave/identity").ok();
    assert_eq!(modes, "600 root\n700 root\n600 root");

    host.weave(&["stop"]).ok();
    host.launch(&["--status-addr", ""]);
    assert_ne!(host.sh("busybox wget -q -O - http://127.0.0.1:6782/status").code, 0);
}

#[test]
fn every_verb_that_prints_can_print_json() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    for (verb, key) in [
        (&["launch", "--json"][..], "Name"),
        (&["run", "--json", "10.9.0.1/24", "-ti", "--name", "box", "busybox:lab", "sh"], "Container"),
        (&["attach", "--json", "10.8.0.1/24", "box"], "Addresses"),
        (&["detach", "--json", "10.8.0.1/24", "box"], "Addresses"),
        (&["expose", "--json", "10.9.0.100/24"], "Addresses"),
        (&["hide", "--json", "10.9.0.100/24"], "Addresses"),
        (&["status", "--json"], "Router"),
        (&["report", "--json"], "Router"),
        (&["version", "--json"], "Router"),
    ] {
        let printed = host.weave(verb).ok();
        let value: Value =
            serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{verb:?}: {e}: {printed}"));
        assert!(!value[key].is_null(), "{verb:?} lacks {key}: {printed}");
    }
    for verb in [&["ps", "--json"][..], &["status", "peers", "--json"], &["status", "targets", "--json"]] {
        let printed = host.weave(verb).ok();
        assert!(
            serde_json::from_str::<Value>(&printed).is_ok_and(|value| value.is_array()),
            "{verb:?}: {printed}"
        );
    }
}

#[track_caller]
fn get(host: &Host, path: &str) -> String {
    host.exec(&["busybox", "wget", "-q", "-O", "-", &format!("http://127.0.0.1:6782{path}")]).ok()
}

/// How many frames have gone to and come from a peer, by the metrics.
fn frames(host: &Host, peer: &str) -> f64 {
    let metrics = get(host, "/metrics");
    let counts: Vec<f64> = metrics
        .lines()
        .filter(|line| line.starts_with("weave_") && line.contains("frames") && line.contains(peer))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    assert!(!counts.is_empty(), "no counters of frames for {peer}: {metrics}");
    counts.iter().sum()
}
