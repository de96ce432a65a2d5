//! Containers do not talk to the router, whose ports are for peers.

use std::time::Duration;

use testbed::{Host, Lab, Underlay, eventually};

#[test]
fn a_docker_network_that_is_made_later_does_not_reach_the_routers_ports() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    host.launch(&["--listen", "*:443"]);
    let network = ["network", "create", "--subnet", "172.30.0.0/24", "--gateway", "172.30.0.1", "later"];
    let id = host.docker(&network).ok();
    let bridge = format!("\"br-{}\"", id.get(..12).unwrap());
    // Far sooner than the rules are looked at anyway: the kernel told of the bridge.
    eventually("the rules name the new bridge", Duration::from_secs(3), || {
        let rules = host.sh("nft list table netdev weave").ok();
        if rules.contains(&bridge) { Ok(()) } else { Err(format!("no {bridge} in {rules}")) }
    });
    host.docker(&["run", "-d", "--network", "later", "--name", "c1", "busybox:lab", "sleep", "1000"]).ok();
    eventually("the container reaches the host", Duration::from_secs(10), || {
        refused(host, "172.30.0.1:6785")
    });
    for port in [6783, 443] {
        silent(host, &format!("172.30.0.1:{port}")).unwrap();
    }
    silent(host, &format!("{}:6783", host.address())).unwrap();
}

#[test]
fn a_kernel_that_cannot_filter_at_bridges_keeps_containers_away_nevertheless() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    // What such a kernel has `nft` say.
    host.sh(r#"mkdir -p /run/old && cat > /run/old/nft <<'EOF' && chmod +x /run/old/nft
#!/bin/sh
input=$(cat)
case "$* $input" in
*netdev*) echo "Error: Could not process rule: Operation not supported" >&2; exit 1 ;;
esac
printf %s "$input" | exec "$NFT" "$@"
EOF"#)
        .ok();
    host.sh("NFT=$(command -v nft) PATH=/run/old:$PATH weave launch").ok();
    lab.host(2).launch(&["198.18.0.1"]);
    lab.host(2).await_peers(2, "udp");
    let rules = host.sh("nft list ruleset").ok();
    assert!(rules.contains("hook input") && !rules.contains("netdev"), "{rules}");
    // It is logged once, however often the rules are made.
    host.weave(&["expose", "192.168.122.100/24"]).ok();
    let says = host.sh("grep -ac 'cannot filter at bridges.*Operation not supported' /run/weave/weave.log");
    assert_eq!(says.stdout.trim(), "1");
    host.docker(&["run", "-d", "--name", "c1", "busybox:lab", "sleep", "1000"]).ok();
    let gateway = host.sh("ip -4 -o addr show docker0 | sed 's/.* inet //; s/[/].*//'").ok();
    eventually("the container reaches the host", Duration::from_secs(10), || {
        refused(host, &format!("{gateway}:6785"))
    });
    silent(host, &format!("{gateway}:6783")).unwrap();
    host.weave(&["stop"]).ok();
    host.sh("NFT=$(command -v nft) PATH=/run/old:$PATH weave reset").ok();
    assert_eq!(host.sh("nft list tables | grep weave").stdout, "");
}

/// Whether the host says to container c1 that nothing listens there.
fn refused(host: &Host, to: &str) -> Result<(), String> {
    let said = dial(host, to);
    if said.contains("refused") { Ok(()) } else { Err(said) }
}

/// Whether nothing comes back from there to container c1.
fn silent(host: &Host, to: &str) -> Result<(), String> {
    let said = dial(host, to);
    if said.contains("timed out") { Ok(()) } else { Err(said) }
}

/// What becomes of a connection from container c1.
fn dial(host: &Host, to: &str) -> String {
    let (ip, port) = to.split_once(':').unwrap_or((to, ""));
    host.inside("c1", &["nc", "-w", "1", ip, port]).to_string()
}
