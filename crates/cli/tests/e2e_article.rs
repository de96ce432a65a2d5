//! Two Docker hosts become one Ethernet: the article that made Weave Net known, re-enacted on real Docker Engines.
//!
//! Subnet A is 192.168.122.0/24, subnet B 192.168.123.0/24. Host 1 has A.1, A.4 and B.2; host 2 has A.2, A.3, B.4 and
//! B.3. The letters and numbers in comments are those of the acceptance list that the project works from.

use testbed::{Host, Lab, Underlay};

#[test]
fn the_article_over_udp() {
    article("udp", &["--transport", "udp"]);
}

#[test]
fn the_article_over_tls() {
    article("tls", &["--transport", "tls"]);
}

#[test]
fn the_article_with_a_password() {
    article("udp", &["--password", "correct horse battery staple"]);
}

fn article(transport: &str, options: &[&str]) {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let (host1, host2) = (lab.host(1), lab.host(2));

    launch_makes_a_bridge_and_leaves_docker_alone(host1, options);
    launch_makes_a_bridge_and_leaves_docker_alone(host2, options);
    seven_containers(host1, host2);
    connecting_makes_one_network(host1, host2, transport);
    subnets_are_apart(host1, host2);
    a_running_container_moves_between_subnets(host1, host2);
    the_host_takes_part(&lab);
    the_router_may_be_down_for_a_while(host1, transport, options);
    reset_leaves_nothing(host1);
}

/// A2, A4, A5.
fn launch_makes_a_bridge_and_leaves_docker_alone(host: &Host, options: &[&str]) {
    let docker_bridge = || host.sh("ip -o link show docker0; ip -o addr show docker0").ok();
    let before = docker_bridge();
    let name = host.launch(options);
    assert!(is_peer_name(&name), "launch printed {name:?}");
    assert_eq!(host.sh("cat /sys/class/net/weave/bridge/stp_state").ok(), "0");
    assert_eq!(docker_bridge(), before);
}

/// A6 to A11.
fn seven_containers(host1: &Host, host2: &Host) {
    let script = "c1=$(weave run 192.168.122.1/24 -ti --name cct1 busybox:lab /bin/sh) && docker inspect $c1 >/dev/null && echo $c1";
    let id = host1.sh(script).ok();
    assert_eq!(id, host1.docker(&["inspect", "-f", "{{.Id}}", "cct1"]).ok());
    assert_eq!(
        host1.docker(&["inspect", "-f", "{{.State.Running}} {{.Config.Tty}}", "cct1"]).ok(),
        "true true"
    );

    host1.run_shell("cct2", "192.168.122.4/24");
    host1.run_web("cct3", "192.168.123.2/24");
    assert_eq!(host1.docker(&["ps", "-aq"]).ok().lines().count(), 3, "no helper is left behind");

    host2.run_shell("cct1", "192.168.122.2/24");
    host2.run_shell("cct2", "192.168.122.3/24");
    host2.run_web("cct3", "192.168.123.4/24");
    host2.run_web("cct4", "192.168.123.3/24");

    let interface = host1.inside("cct1", &["ip", "-4", "addr", "show", "dev", "ethwe"]).ok();
    assert!(interface.contains("192.168.122.1/24"), "{interface}");
    host1.inside("cct1", &["ip", "link", "show", "dev", "eth0"]).ok();
    let listed = host1.weave(&["ps", "cct1"]).ok();
    let fields: Vec<_> = listed.split(' ').collect();
    assert_eq!([fields[0], fields[2]], [&id[..12], "192.168.122.1/24"], "{listed}");

    // A container that ends takes nobody else with it.
    host2.weave(&["run", "192.168.123.5/24", "--name", "short", "busybox:lab", "sleep", "2"]).ok();
    host2.docker(&["wait", "short"]).ok();
    assert!(host2.container_pings("cct3", "192.168.123.3"));
    host2.docker(&["rm", "short"]).ok();
}

/// A12, A13.
fn connecting_makes_one_network(host1: &Host, host2: &Host, transport: &str) {
    assert_eq!(host2.weave(&["connect", &host1.address()]).ok(), "");
    for host in [host1, host2] {
        host.await_peers(2, transport);
        let status = host.weave(&["status"]).ok();
        assert!(status.contains("Peers: 2"), "{status}");
        let peers = host.weave(&["status", "peers"]).ok();
        assert!(peers.contains("(host1)") && peers.contains("(host2)"), "{peers}");
    }
    assert_eq!(host2.weave(&["status", "targets"]).ok(), host1.address());
}

/// A15 to A18.
fn subnets_are_apart(host1: &Host, host2: &Host) {
    host1.await_ping("cct3", "192.168.123.4");
    host2.await_ping("cct3", "192.168.123.2");
    host1.await_ping("cct1", "192.168.122.3");
    host2.await_ping("cct2", "192.168.122.1");
    assert!(host1.container_pings("cct1", "192.168.122.4"));
    assert!(host2.container_pings("cct1", "192.168.122.3"));
    assert!(host2.container_pings("cct3", "192.168.123.3"));
    let page = host1.inside("cct3", &["wget", "-q", "-O", "-", "http://192.168.123.4/"]).ok();
    assert_eq!(page, host2.inside("cct3", &["hostname"]).ok());

    assert!(!host1.container_pings("cct1", "192.168.123.4"));
    assert!(!host2.container_pings("cct3", "192.168.122.1"));
    assert!(!host1.container_pings("cct1", "192.168.123.2"));
}

/// A19 to A21.
fn a_running_container_moves_between_subnets(host1: &Host, host2: &Host) {
    let id = host1.run_shell("mover", "192.168.122.12/24");
    let process = || host1.docker(&["inspect", "-f", "{{.State.Pid}}", "mover"]).ok();
    let before = process();
    host1.await_ping("mover", "192.168.122.3");

    assert_eq!(host1.weave(&["detach", "192.168.122.12/24", &id]).ok(), "192.168.122.12");
    assert!(!host1.container_pings("mover", "192.168.122.3"));
    assert!(!host2.container_pings("cct2", "192.168.122.12"));

    assert_eq!(host1.weave(&["attach", "192.168.123.12/24", &id]).ok(), "192.168.123.12");
    host1.await_ping("mover", "192.168.123.4");
    assert!(!host1.container_pings("mover", "192.168.122.3"));
    assert_eq!(process(), before, "the container was not restarted");
}

/// A22 to A27.
fn the_host_takes_part(lab: &Lab) {
    let (host1, host2) = (lab.host(1), lab.host(2));
    let everyone_in_a = ["192.168.122.1", "192.168.122.2", "192.168.122.3", "192.168.122.4"];
    assert!(!host1.pings(everyone_in_a[0]), "nothing is exposed yet");

    for _again in 0..2 {
        assert_eq!(host1.weave(&["expose", "192.168.122.100/24"]).ok(), "192.168.122.100");
    }
    let bridge = host1.sh("ip -4 addr show dev weave").ok();
    assert_eq!(bridge.matches("192.168.122.100/24").count(), 1, "{bridge}");
    for address in everyone_in_a {
        assert!(host1.pings(address), "host1 does not reach {address}");
    }
    assert!(!host1.pings("192.168.123.2"), "subnet B is not exposed");
    assert!(
        !host1.container_pings("cct3", "192.168.122.1"),
        "the host is no way around the isolation of subnets"
    );
    assert!(host2.container_pings("cct2", "192.168.122.100"));

    // Hosts beyond know no way to subnet A: they answer to the exposing host, which hands the answer on.
    let options =
        ["--net=none", "--cap-add=NET_ADMIN", "--name", "traveller", "busybox:lab", "sleep", "1000"];
    host2.weave(&[&["run", "192.168.122.50/24"], &options[..]].concat()).ok();
    host2.inside("traveller", &["ip", "route", "add", "default", "via", "192.168.122.100"]).ok();
    host2.await_ping("traveller", &lab.world().address());

    for _again in 0..2 {
        assert_eq!(host1.weave(&["hide", "192.168.122.100/24"]).ok(), "192.168.122.100");
    }
    assert!(!host1.pings(everyone_in_a[0]) && !host1.pings(everyone_in_a[2]));
}

/// A28.
fn the_router_may_be_down_for_a_while(host1: &Host, transport: &str, options: &[&str]) {
    host1.weave(&["stop"]).ok();
    assert!(host1.container_pings("cct1", "192.168.122.4"));
    assert!(!host1.container_pings("cct1", "192.168.122.3"));
    host1.launch(options);
    host1.await_peers(2, transport);
    host1.await_ping("cct1", "192.168.122.3");
}

/// A30.
fn reset_leaves_nothing(host: &Host) {
    host.weave(&["stop"]).ok();
    host.weave(&["reset"]).ok();
    let left =
        "ip -o link | grep -e weave -e vethwe; nft list tables | grep weave; iptables-save | grep -i weave;
        ls -A /var/lib/weave /run/weave 2>/dev/null";
    assert_eq!(host.sh(left).stdout, "");
    let interfaces = host.inside("cct1", &["ip", "-o", "link"]).ok();
    assert!(!interfaces.contains("ethwe"), "{interfaces}");
    assert_eq!(host.docker(&["ps", "-q"]).ok().lines().count(), 4, "containers are not ours to end");
}

fn is_peer_name(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
