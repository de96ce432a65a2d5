//! More than two hosts: to know any one of the others is enough.

use std::time::Duration;

use testbed::{Host, Lab, Underlay, eventually};

#[test]
fn hosts_that_each_know_only_the_one_before_become_one_network() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    lab.host(1).launch(&[]);
    lab.host(2).launch(&["198.18.0.1"]);
    lab.host(3).launch(&["198.18.0.2"]);
    for host in lab.hosts() {
        host.run_shell("box", &address(host, 24));
    }
    for host in lab.hosts() {
        host.await_peers(3, "udp");
        let peers = host.weave(&["status", "peers"]).ok();
        for name in ["(host1)", "(host2)", "(host3)"] {
            assert!(peers.contains(name), "{name} is missing on {host}: {peers}");
        }
    }
    everyone_reaches_everyone(&lab);

    // The one that the others were told about goes. They have found each other and need it no more.
    lab.host(2).weave(&["stop"]).ok();
    assert!(lab.host(1).container_pings("box", "10.9.0.3"));
    eventually("the gone peer is out of the connections", Duration::from_secs(20), || {
        let connections = lab.host(1).weave(&["status", "connections"]).ok();
        let established = connections.lines().filter(|line| line.contains("established")).count();
        if established == 1 { Ok(()) } else { Err(connections) }
    });
    lab.host(2).launch(&["--resume"]);
    lab.host(2).await_peers(3, "udp");
    everyone_reaches_everyone(&lab);
}

#[test]
fn peers_can_be_given_by_name_by_ipv6_address_and_with_a_port() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    lab.host(1).launch(&["--port", "7001", "--no-discovery"]);
    lab.host(2).launch(&["--no-discovery", "host1:7001"]);
    lab.host(3).launch(&["--no-discovery", "[fd00:198:18::1]:7001"]);
    for host in lab.hosts() {
        host.run_shell("box", &address(host, 24));
    }
    lab.host(1).await_peers(3, "udp");
    lab.host(2).await_ping("box", "10.9.0.1");
    lab.host(3).await_ping("box", "10.9.0.1");
    assert_eq!(lab.host(3).weave(&["status", "targets"]).ok(), "[fd00:198:18::1]:7001");
    // Without discovery nobody dials whom he was not told about.
    let connections = lab.host(2).weave(&["status", "connections"]).ok();
    assert_eq!(connections.lines().count(), 1, "{connections}");
}

#[test]
fn a_name_is_resolved_anew_at_every_dial() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    lab.host(2).sh("echo 198.18.0.77 wanderer >>/etc/hosts").ok();
    lab.host(1).launch(&[]);
    lab.host(2).launch(&["wanderer"]);
    let router = lab.host(2).report();
    assert_eq!(router["Router"]["Targets"][0]["Target"], "wanderer");
    lab.host(2)
        .sh("sed 's/198.18.0.77/198.18.0.1/' /etc/hosts >/run/hosts && cat /run/hosts >/etc/hosts")
        .ok();
    lab.host(2).await_peers(2, "udp");
}

#[test]
fn a_forgotten_target_stays_connected_but_is_not_dialled_again() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    lab.host(1).launch(&["--no-discovery"]);
    lab.host(2).launch(&["--no-discovery", "198.18.0.1"]);
    lab.host(2).await_peers(2, "udp");
    assert_eq!(lab.host(2).weave(&["forget", "198.18.0.1"]).ok(), "");
    assert_eq!(lab.host(2).weave(&["forget", "198.18.0.1", "never-heard-of"]).ok(), "");
    assert_eq!(lab.host(2).weave(&["status", "targets"]).ok(), "");
    lab.host(2).await_peers(2, "udp");

    lab.host(1).kill_router();
    lab.host(1).launch(&["--no-discovery"]);
    eventually("nobody is connected", Duration::from_secs(20), || {
        let connections = lab.host(2).weave(&["status", "connections"]).ok();
        if connections.contains("established") { Err(connections) } else { Ok(()) }
    });
}

fn everyone_reaches_everyone(lab: &Lab) {
    for from in lab.hosts() {
        for to in lab.hosts().iter().filter(|to| to.number() != from.number()) {
            from.await_ping("box", address(to, 24).trim_end_matches("/24"));
        }
    }
}

fn address(host: &Host, prefix: u8) -> String {
    format!("10.9.0.{}/{prefix}", host.number())
}
