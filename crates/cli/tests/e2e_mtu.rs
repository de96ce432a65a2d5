//! Containers whose MTU is smaller than that of the network.

use std::time::Duration;

use testbed::{Lab, Transfer, Underlay, serve_random_file};

#[test]
fn tcp_gets_to_and_from_a_container_with_a_smaller_mtu_over_udp() {
    tcp_both_ways("udp");
}

#[test]
fn tcp_gets_to_and_from_a_container_with_a_smaller_mtu_over_tls() {
    tcp_both_ways("tls");
}

fn tcp_both_ways(transport: &str) {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave")).joined_over(transport);
    let (host1, host2) = (lab.host(1), lab.host(2));
    let sums = [host1, host2].map(|host| serve_random_file(host, "web", 20));
    // IPv6 goes with no smaller one (RFC 8200 section 5). Host 1's container keeps the network's MTU.
    for (mtu, ipv6) in [("1280", true), ("1200", false)] {
        // By the host, as the container is not allowed to.
        let pid = host2.docker(&["inspect", "-f", "{{.State.Pid}}", "web"]).ok();
        let set = format!("nsenter --net=/proc/{pid}/ns/net ip link set ethwe mtu {mtu}");
        host2.sh(&set).ok();
        for (from, to, sum) in [(host1, host2, &sums[0]), (host2, host1, &sums[1])] {
            let address = if ipv6 { format!("[{}]", from.overlay6()) } else { from.overlay() };
            let received = Transfer::start(to, "web", &address).sum(Duration::from_secs(30));
            assert_eq!(&received, sum, "from {address} to {to}, MTU {mtu}");
        }
    }
}
