//! What was asked for once stays in force, whatever is restarted or killed.

use std::time::Duration;

use testbed::{Host, Lab, Underlay, eventually};

#[test]
fn a_container_gets_its_addresses_back_when_docker_restarts_it() {
    let Some(lab) = joined() else { return };
    let host = lab.host(1);
    host.weave(&["attach", "10.8.0.1/24", "c1"]).ok();
    host.docker(&["restart", "-t", "0", "c1"]).ok();
    awaits_addresses(host, "c1", &["10.9.0.1/24", "10.8.0.1/24"]);
    lab.host(2).await_ping("c2", "10.9.0.1");

    // A detached address is not given back.
    host.weave(&["detach", "10.8.0.1/24", "c1"]).ok();
    host.docker(&["stop", "-t", "0", "c1"]).ok();
    host.docker(&["start", "c1"]).ok();
    awaits_addresses(host, "c1", &["10.9.0.1/24"]);
}

#[test]
fn weave_start_brings_a_stopped_container_back_with_its_addresses() {
    let Some(lab) = joined() else { return };
    let host = lab.host(1);
    host.docker(&["stop", "-t", "0", "c1"]).ok();
    assert_eq!(host.weave(&["ps", "c1"]).stdout, "", "a stopped container has no addresses");
    assert_eq!(host.weave(&["start", "10.8.0.1/24", "c1"]).ok(), "c1");
    awaits_addresses(host, "c1", &["10.9.0.1/24", "10.8.0.1/24"]);
    lab.host(2).await_ping("c2", "10.9.0.1");
}

#[test]
fn a_killed_router_takes_up_everything_when_it_is_launched_again() {
    let Some(lab) = joined() else { return };
    let host = lab.host(2);
    host.weave(&["expose", "10.9.0.200/24"]).ok();
    let name = host.report()["Router"]["Name"].clone();
    host.kill_router();
    // While nobody watched: one container was restarted, the kernel has lost what the router had set up.
    host.docker(&["restart", "-t", "0", "c2"]).ok();
    host.sh("ip link delete weave; nft delete table inet weave").ok();

    host.launch(&[]);
    assert_eq!(host.report()["Router"]["Name"], name, "the identity is the same");
    awaits_addresses(host, "c2", &["10.9.0.2/24"]);
    assert_eq!(host.weave(&["status", "targets"]).ok(), "198.18.0.1");
    host.await_peers(2, "udp");
    host.await_ping("c2", "10.9.0.1");
    assert!(host.pings("10.9.0.1"), "the exposed address works again");
}

#[test]
fn stop_forgets_the_targets_and_resume_brings_them_back() {
    let Some(lab) = joined() else { return };
    let host = lab.host(2);
    host.weave(&["expose", "10.9.0.200/24"]).ok();
    host.weave(&["stop"]).ok();
    assert!(host.weave(&["status"]).fails_with(1).contains("not running"));
    host.launch(&["--no-discovery"]);
    assert_eq!(host.weave(&["status", "targets"]).ok(), "");
    assert!(host.sh("ip addr show dev weave").ok().contains("10.9.0.200/24"), "exposed addresses stay");

    host.weave(&["connect", "198.18.0.1"]).ok();
    host.weave(&["stop"]).ok();
    host.launch(&["--resume"]);
    assert_eq!(host.weave(&["status", "targets"]).ok(), "198.18.0.1");
    host.await_peers(2, "udp");
    host.await_ping("c2", "10.9.0.1");
}

#[test]
fn containers_of_one_host_talk_while_the_router_is_down() {
    let Some(lab) = joined() else { return };
    let host = lab.host(1);
    host.run_shell("c3", "10.9.0.3/24");
    for end in [Host::kill_router as fn(&Host), |host| drop(host.weave(&["stop"]).ok())] {
        end(host);
        assert!(host.container_pings("c1", "10.9.0.3"));
        assert!(!host.container_pings("c1", "10.9.0.2"));
        host.launch(&["--resume"]);
        host.await_peers(2, "udp");
        host.await_ping("c1", "10.9.0.2");
    }
}

#[test]
fn a_container_that_is_removed_leaves_its_address_to_others() {
    let Some(lab) = joined() else { return };
    let host = lab.host(1);
    host.docker(&["rm", "-f", "c1"]).ok();
    eventually("the address is free", Duration::from_secs(10), || {
        let run = host.weave(&["run", "10.9.0.1/24", "-ti", "--name", "heir", "busybox:lab", "/bin/sh"]);
        if run.code == 0 { Ok(()) } else { Err(run.to_string()) }
    });
    lab.host(2).await_ping("c2", "10.9.0.1");
    let ports = host.sh("ip -o link show master weave").ok();
    let others = ports.lines().filter(|line| !line.contains("vethwe-bridge")).count();
    assert!(others <= 1, "no port is left behind: {ports}");
}

#[test]
fn without_docker_the_network_stands_and_with_docker_containers_come_back() {
    let Some(lab) = joined() else { return };
    let host = lab.host(1);
    host.docker(&["update", "--restart", "always", "c1"]).ok();
    host.stop_docker();
    host.weave(&["status"]).ok();
    host.await_peers(2, "udp");
    let said = host.weave(&["attach", "10.9.0.9/24", "c1"]).fails_with(1);
    assert!(said.contains("Docker"), "{said}");
    host.weave(&["expose", "10.9.0.200/24"]).ok();
    assert!(host.pings("10.9.0.2"));

    host.start_docker();
    host.docker(&["start", "c1"]).ok();
    awaits_addresses(host, "c1", &["10.9.0.1/24"]);
    host.await_ping("c1", "10.9.0.2");
}

/// Two hosts, joined, with c1 at 10.9.0.1 on host 1 and c2 at 10.9.0.2 on host 2. Host 2 has dialled.
fn joined() -> Option<Lab> {
    let lab = Lab::up_or_skip(2, Underlay::Offload)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    lab.host(1).launch(&[]);
    lab.host(2).launch(&["198.18.0.1"]);
    lab.host(1).run_shell("c1", "10.9.0.1/24");
    lab.host(2).run_shell("c2", "10.9.0.2/24");
    lab.host(2).await_peers(2, "udp");
    lab.host(2).await_ping("c2", "10.9.0.1");
    Some(lab)
}

/// Waits until a container has exactly these addresses, by the word of the router and of the kernel.
#[track_caller]
fn awaits_addresses(host: &Host, container: &str, addresses: &[&str]) {
    eventually(&format!("{container} has {addresses:?}"), Duration::from_secs(15), || {
        let listed = host.weave(&["ps", container]);
        let kernel = host.inside(container, &["ip", "-4", "-o", "addr", "show", "dev", "ethwe"]);
        let mut has: Vec<_> = listed.stdout.split_whitespace().skip(2).collect();
        let mut should = addresses.to_vec();
        has.sort_unstable();
        should.sort_unstable();
        let in_kernel = addresses.iter().all(|address| kernel.stdout.contains(address));
        let no_more = kernel.stdout.lines().count() == addresses.len();
        if has == should && in_kernel && no_more { Ok(()) } else { Err(format!("{listed}\n{kernel}")) }
    });
}
