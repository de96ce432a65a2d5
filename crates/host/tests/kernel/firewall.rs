//! The rules, as the kernel has them and as packets meet them.

use host::expose::expose;
use host::firewall::FirewallState;
use host::{docker_forward, firewall};

use crate::support::{BRIDGE, Container, Host, attached, connect, listen, networks, wait_until};

fn state(exposed: &[&str]) -> FirewallState {
    FirewallState {
        bridge: BRIDGE.to_owned(),
        exposed: networks(exposed),
        router_port: 6783,
        further_ports: Vec::new(),
    }
}

/// A host with a container on the overlay, another machine behind `eth0`, and one on Docker's bridge. The host is the
/// default gateway of the latter two and forwards; nobody else knows a route into the overlay or out of it.
struct Neighbourhood {
    host: Host,
    container: Container,
    machine: Container,
    docker: Container,
}

impl Neighbourhood {
    fn new() -> Option<Self> {
        let host = Host::with_bridge()?;
        let (container, machine, docker) = (host.container(true), host.container(true), host.container(true));
        attached(&host, &container, "ct1", &["10.1.1.1/24"]);
        host.sh("ip link add docker0 type bridge && ip link set docker0 up && ip address add 172.17.0.1/16 dev docker0");
        host.sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", machine.pid()));
        host.sh("ip address add 198.51.100.1/24 dev eth0 && ip link set eth0 up");
        machine.sh("ip address add 198.51.100.2/24 dev eth0 && ip link set eth0 up");
        machine.sh("ip route add default via 198.51.100.1");
        host.sh(&format!("ip link add dport type veth peer name eth0 netns {}", docker.pid()));
        host.sh("ip link set dport master docker0 up");
        docker.sh("ip address add 172.17.0.2/16 dev eth0 && ip link set eth0 up && ip route add default via 172.17.0.1");
        host.run(|| async { expose(BRIDGE, networks(&["10.1.1.100/24"])[0]).await.unwrap() });
        wait_until("the machine reaches the host", || machine.pings("198.51.100.1"));
        wait_until("Docker's container reaches the host", || docker.pings("172.17.0.1"));
        Some(Self { host, container, machine, docker })
    }

    fn apply(&self) {
        self.host.run(|| async { firewall::apply(&state(&["10.1.1.100/24"])).await.unwrap() });
    }
}

fn connects(from: &Container, to: &str) -> bool {
    let to = to.parse().unwrap();
    from.run(move || std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(700)).is_ok())
}

/// Shows frames that cross a bridge to the firewall, as Docker has it, and tells whether the kernel can.
fn filter_bridges(host: &Host) -> bool {
    let written = host.run(|| async { std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1") });
    if let Err(error) = &written {
        eprintln!("without br_netfilter this shows less: {error}");
    }
    written.is_ok()
}

#[test]
fn the_kernel_lists_the_rules_it_was_given() {
    let Some(host) = Host::with_bridge() else { return };
    host.run(|| async { firewall::apply(&state(&["10.1.1.100/24", "fd00::100/64"])).await.unwrap() });
    let listed = host.sh("nft list table inet weave");
    for rule in [
        "type nat hook postrouting priority srcnat; policy accept;",
        r#"oifname != "weave" ip saddr 10.1.1.0/24 ip daddr != 10.1.1.0/24 ip daddr != 224.0.0.0/4 masquerade"#,
        r#"oifname "weave" iif != 0 iifname != "weave" ip daddr 10.1.1.0/24 ip saddr != 10.1.1.0/24 masquerade"#,
        r#"oifname != "weave" ip6 saddr fd00::/64 ip6 daddr != fd00::/64 ip6 daddr != ff00::/8 masquerade"#,
        "type filter hook forward priority filter; policy accept;",
        "ct state established,related accept",
        r#"iifname "docker*" oifname "weave" drop"#,
        r#"iifname "br-*" oifname "weave" drop"#,
    ] {
        assert!(listed.contains(rule), "no `{rule}` in {listed}");
    }
    assert!(!listed.contains("hook input"), "each packet of the underlay would pass it: {listed}");
    let listed = host.sh("nft list table netdev weave");
    for rule in [
        r#"type filter hook ingress device "weave" priority filter; policy accept;"#,
        "jump ports",
        "meta l4proto { tcp, udp } th dport 6783 fib daddr type != unicast drop",
    ] {
        assert!(listed.contains(rule), "no `{rule}` in {listed}");
    }
}

#[test]
fn applying_replaces_and_removing_may_be_repeated() {
    let Some(host) = Host::with_bridge() else { return };
    host.sh("nft add table inet other");
    host.run(|| async {
        assert!(!firewall::present(BRIDGE).await.unwrap());
        firewall::apply(&state(&["10.1.1.100/24"])).await.unwrap();
        firewall::apply(&state(&["10.2.2.100/24"])).await.unwrap();
        assert!(firewall::present(BRIDGE).await.unwrap());
    });
    let listed = host.sh("nft list ruleset");
    assert!(listed.contains("10.2.2.0/24") && !listed.contains("10.1.1.0/24"), "{listed}");
    for table in ["inet weave", "netdev weave"] {
        host.sh(&format!("nft flush table {table}"));
        host.run(|| async {
            assert!(!firewall::present(BRIDGE).await.unwrap(), "{table}");
            firewall::apply(&state(&[])).await.unwrap();
            assert!(firewall::present(BRIDGE).await.unwrap(), "{table}");
        });
    }
    host.run(|| async {
        firewall::remove().await.unwrap();
        firewall::remove().await.unwrap();
    });
    assert_eq!(
        host.sh("nft list ruleset").split_whitespace().collect::<Vec<_>>().join(" "),
        "table inet other { }"
    );
}

#[test]
fn rules_that_nft_refuses_leave_the_old_ones_in_force_and_say_why() {
    let Some(host) = Host::with_bridge() else { return };
    host.run(|| async { firewall::apply(&state(&["10.1.1.100/24"])).await.unwrap() });
    let before = host.sh("nft list ruleset");
    let broken = FirewallState { bridge: "a-name-that-is-far-too-long".to_owned(), ..state(&[]) };
    let error = host.run(|| async { firewall::apply(&broken).await.unwrap_err().to_string() });
    assert!(error.starts_with("`nft` could not set up the firewall: ") && error.len() > 60, "{error}");
    assert_eq!(host.sh("nft list ruleset"), before);
}

#[test]
fn other_machines_and_containers_of_an_exposed_subnet_reach_each_other() {
    let Some(hood) = Neighbourhood::new() else { return };
    // The container has no route back, and no route out.
    assert!(!hood.machine.pings("10.1.1.1"));
    hood.apply();
    assert!(hood.machine.pings("10.1.1.1"));
    hood.container.sh("ip route add default via 10.1.1.100");
    // The machine knows no way to 10.1.1.0/24 from here on, so that only the host's own address can bring an answer.
    hood.machine.sh("ip route delete default");
    assert!(hood.container.pings("198.51.100.2"));
}

#[test]
fn containers_of_docker_do_not_reach_the_overlay_by_way_of_the_host() {
    let Some(hood) = Neighbourhood::new() else { return };
    hood.container.sh("ip route add default via 10.1.1.100");
    assert!(hood.docker.pings("10.1.1.1"), "without rules the host routes between them");
    hood.apply();
    assert!(!hood.docker.pings("10.1.1.1"));
    assert!(hood.docker.pings("172.17.0.1"));
    assert!(hood.container.pings("172.17.0.2"), "answers to the overlay's own questions pass");
}

#[test]
fn containers_do_not_reach_the_routers_port() {
    let Some(hood) = Neighbourhood::new() else { return };
    let mut listeners = Vec::new();
    hood.host.run(|| async {
        for port in [6783, 6784] {
            listeners.push(std::net::TcpListener::bind(("0.0.0.0", port)).unwrap());
        }
    });
    assert!(connects(&hood.docker, "172.17.0.1:6783"));
    hood.apply();
    assert!(!connects(&hood.docker, "172.17.0.1:6783"));
    assert!(!connects(&hood.container, "10.1.1.100:6783"));
    assert!(connects(&hood.docker, "172.17.0.1:6784"));
    assert!(connects(&hood.container, "10.1.1.100:6784"));
    assert!(connects(&hood.machine, "198.51.100.1:6783"), "peers come this way");
    assert!(!connects(&hood.docker, "198.51.100.1:6783"), "whichever address of the host they take");
    let theirs = hood.machine.run(|| listen("198.51.100.2:6783"));
    assert!(
        connects(&hood.docker, "198.51.100.2:6783"),
        "the same port of somebody else is not ours to close"
    );
    drop(theirs);
}

#[test]
fn datagrams_of_containers_do_not_reach_the_router_however_they_are_sent() {
    let Some(hood) = Neighbourhood::new() else { return };
    hood.docker.sh("ip address add fd17::2/64 dev eth0 nodad");
    hood.host.sh("ip address add fd17::1/64 dev docker0 nodad");
    let mut socket = None;
    hood.host.run(|| async { socket = Some(std::net::UdpSocket::bind("[::]:6783").unwrap()) });
    let socket = socket.unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    // Several times, since the first ones may fall to the search for a neighbour.
    let arrives = |to: &'static str, length: usize| {
        hood.docker.run(move || {
            let from = std::net::UdpSocket::bind("[::]:0").unwrap();
            from.set_broadcast(true).unwrap();
            for _ in 0..3 {
                from.send_to(&vec![0; length], to).unwrap();
            }
        });
        let arrived = std::iter::from_fn(|| socket.recv(&mut [0; 9000]).ok()).count();
        arrived > 0
    };
    // One of 4000 bytes travels in fragments, of which only the first has a port.
    let ways = [
        ("[::ffff:172.17.0.1]:6783", 10),
        ("[::ffff:172.17.0.1]:6783", 4000),
        ("[::ffff:198.51.100.1]:6783", 10),
        ("[::ffff:172.17.255.255]:6783", 10),
        ("[fd17::1]:6783", 10),
        ("[fd17::1]:6783", 4000),
    ];
    for (to, length) in ways {
        assert!(arrives(to, length), "{length} bytes to {to}");
    }
    hood.apply();
    for (to, length) in ways {
        assert!(!arrives(to, length), "{length} bytes to {to}");
    }
}

#[test]
fn a_bridge_that_docker_makes_later_is_noticed_and_closed() {
    let Some(hood) = Neighbourhood::new() else { return };
    let present = || hood.host.run(|| async { firewall::present(BRIDGE).await.unwrap() });
    hood.apply();
    assert!(present());
    hood.host.run(|| async {
        let mut watch = firewall::NewBridges::start().unwrap();
        let mut made = std::process::Command::new("ip");
        made.args(["link", "add", "br-0123456789ab", "type", "bridge"]);
        assert!(made.status().unwrap().success());
        let within = std::time::Duration::from_secs(5);
        tokio::time::timeout(within, watch.changed()).await.unwrap().unwrap();
        assert!(!firewall::present(BRIDGE).await.unwrap());
    });
    hood.apply();
    assert!(present());
    assert!(hood.host.sh("nft list table netdev weave").contains(r#"device "br-0123456789ab""#));
    hood.host.sh("ip link delete br-0123456789ab");
    assert!(present(), "what is gone needs no rule");

    // Another one of the same name. The kernel took the chain away with the first one; newer ones keep it for the next.
    hood.host.sh("ip link delete docker0 && ip link add docker0 type bridge && ip link set docker0 up");
    hood.host.sh("ip address add 172.17.0.1/16 dev docker0 && ip link set dport master docker0");
    if !present() {
        hood.apply();
    }
    let mut listeners = Vec::new();
    hood.host.run(|| async {
        listeners.extend([6783, 6784].map(|port| std::net::TcpListener::bind(("0.0.0.0", port)).unwrap()));
    });
    wait_until("the container reaches the host again", || connects(&hood.docker, "172.17.0.1:6784"));
    assert!(!connects(&hood.docker, "172.17.0.1:6783"));
}

#[test]
fn a_frame_that_only_crosses_the_bridge_keeps_its_source() {
    let Some(hood) = Neighbourhood::new() else { return };
    let other = hood.host.container(true);
    attached(&hood.host, &other, "ct2", &["10.1.2.1/24"]);
    // Two subnets on one link, without the host between them.
    hood.container.sh("ip route add 10.1.2.0/24 dev ethwe");
    other.sh("ip route add 10.1.1.0/24 dev ethwe");
    filter_bridges(&hood.host);
    hood.apply();
    let listener = hood.container.run(|| listen("10.1.1.1:7000"));
    let _stream = other.run(|| connect("10.1.1.1:7000"));
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "10.1.2.1");
}

#[test]
fn dockers_forward_policy_does_not_stop_the_overlay() {
    let Some(hood) = Neighbourhood::new() else { return };
    hood.apply();
    hood.host.sh("iptables -w 10 -P FORWARD DROP");
    assert!(!hood.machine.pings("10.1.1.1"), "this is what Docker does");
    hood.host.run(|| async { docker_forward::ensure(&state(&["10.1.1.100/24"])).await.unwrap() });
    assert!(hood.machine.pings("10.1.1.1"));
    hood.container.sh("ip route add default via 10.1.1.100");
    assert!(hood.container.pings("198.51.100.2"));
    assert!(!hood.docker.pings("10.1.1.1"));
}

#[test]
fn frames_between_ports_pass_dockers_policy_also_where_bridges_are_filtered() {
    let Some(hood) = Neighbourhood::new() else { return };
    let other = hood.host.container(true);
    attached(&hood.host, &other, "ct2", &["10.1.1.2/24"]);
    let filtered = filter_bridges(&hood.host);
    hood.host.sh("iptables -w 10 -P FORWARD DROP");
    hood.apply();
    assert_eq!(hood.container.pings("10.1.1.2"), !filtered);
    hood.host.run(|| async { docker_forward::ensure(&state(&["10.1.1.100/24"])).await.unwrap() });
    assert!(hood.container.pings("10.1.1.2"));
}

#[test]
fn the_chain_is_made_once_found_again_and_removed() {
    let Some(host) = Host::with_bridge() else { return };
    host.sh("iptables -w 10 -N OTHERS && iptables -w 10 -A FORWARD -j OTHERS");
    host.run(|| async {
        assert!(!docker_forward::present(BRIDGE).await.unwrap());
        docker_forward::ensure(&state(&[])).await.unwrap();
        docker_forward::ensure(&state(&["10.1.1.100/24"])).await.unwrap();
        assert!(docker_forward::present(BRIDGE).await.unwrap());
    });
    let listed = host.sh("iptables -w 10 -S");
    assert_eq!(listed.matches("-A FORWARD -j WEAVE").count(), 1, "{listed}");
    assert_eq!(listed.matches("-A WEAVE -i weave -o weave -j ACCEPT").count(), 1, "{listed}");
    assert!(listed.contains("-A WEAVE -d 10.1.1.0/24 -o weave -j ACCEPT"), "{listed}");
    let first = listed.lines().find(|line| line.starts_with("-A FORWARD")).unwrap();
    assert_eq!(first, "-A FORWARD -j WEAVE");

    host.sh("iptables -w 10 -F FORWARD");
    assert!(!host.run(|| async { docker_forward::present(BRIDGE).await.unwrap() }));
    host.run(|| async { docker_forward::ensure(&state(&[])).await.unwrap() });
    host.sh("iptables -w 10 -F WEAVE");
    assert!(!host.run(|| async { docker_forward::present(BRIDGE).await.unwrap() }));

    host.run(|| async {
        docker_forward::remove().await.unwrap();
        docker_forward::remove().await.unwrap();
    });
    for program in ["iptables", "ip6tables"] {
        assert!(!host.sh(&format!("{program} -w 10 -S")).contains("WEAVE"));
    }
    assert!(host.sh("iptables -w 10 -S").contains("-N OTHERS"));
}
