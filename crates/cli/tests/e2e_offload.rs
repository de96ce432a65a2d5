//! Offloads that do harm are found out and done without; and they can be forbidden.

use std::time::{Duration, Instant};

use testbed::{Host, Lab, Transfer, UdpEnd, Underlay, eventually, serve_random_file};

/// A transfer of 50 MB takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a network that loses trains may go unnoticed: one probe to see it, two comparisons, and TCP's own time-outs.
const NOTICED: Duration = Duration::from_secs(15);

#[test]
fn a_transfer_recovers_when_the_network_begins_to_lose_trains() {
    let Some(lab) = lab() else { return };
    let lab = lab.joined_over("udp");
    let (host1, host2) = (lab.host(1), lab.host(2));
    // BBR, where a machine has it as its default, takes a stall of a second for the width of the way and feels its way up from
    // there for a minute, with and without us.
    let reno = || std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    host1.network_of("web").within(reno).expect("every kernel has it, and every network may choose it");
    let sum = serve_random_file(host1, "web", 50);
    let fetch = format!("while wget -q -O - http://{}/big | sha256sum; do :; done", host1.overlay());
    let downloads = host2.spawn(&["docker", "exec", "web", "sh", "-c", &fetch]);
    flows(host2);
    // TCP finds out what the way bears by losing some, so a comparison may be under way; it comes to nothing.
    eventually("all is well", NOTICED, || {
        let line = connections(host1);
        if line.contains("trains") { Err(line) } else { Ok(()) }
    });
    assert_eq!(metric(host1, "reason=\"lossy\"}"), 0.0);

    // As a hypervisor that mangles what its guests send as one (peers of ours have met such): whatever is longer than a
    // packet of the wire is gone.
    let rule = "meta protocol ip meta l4proto udp meta length > 1600 counter drop";
    let table = format!(
        "table netdev hypervisor {{
            chain in {{
                type filter hook ingress device eth0 priority 0
                {rule}
            }}
        }}"
    );
    host2.exec(&["nft", &table]).ok();
    let since = Instant::now();
    eventually("the loss is put down to trains", NOTICED, || {
        let line = connections(host1);
        if line.contains("(no trains: they lose ") {
            return Ok(());
        }
        Err(line + &host1.sh("grep -a trains /run/weave/weave.log").stdout)
    });
    let noticed = since.elapsed();
    flows(host2);
    let recovered = since.elapsed();
    let dropped = host2.exec(&["nft", "list", "table", "netdev", "hypervisor"]).ok();
    assert!(!dropped.contains("packets 0 "), "the network did its part: {dropped}");
    assert!(recovered < NOTICED, "noticed after {noticed:?}, recovered after {recovered:?}");
    assert_eq!(metric(host1, "weave_path_trains{"), 0.0);
    assert_eq!(metric(host1, "reason=\"lossy\"}"), 1.0);
    assert_eq!(
        metric(host2, "reason=\"lossy\"}"),
        0.0,
        "the other way nothing is wrong: {}",
        connections(host2)
    );

    let sums = downloads.stdout();
    assert!(
        sums.lines().all(|one| one == sum),
        "whatever was lost, nothing arrived wrong: {sums} instead of {sum}"
    );
}

#[test]
fn a_router_without_offloads_and_one_with_them_are_one_network() {
    let Some(lab) = lab() else { return };
    let (host1, host2) = (lab.host(1), lab.host(2));
    host1.launch(&["--offload", "off"]);
    host2.launch(&[&host1.address()]);
    for host in [host1, host2] {
        let (address, address6) = (host.overlay() + "/24", host.overlay6() + "/64");
        host.weave(&["run", &address, &address6, "--name", "web", "web:lab"]).ok();
    }
    host1.await_peers(2, "udp");
    host2.await_peers(2, "udp");
    host2.await_ping("web", &host1.overlay6());
    let status = host1.weave(&["status"]).ok();
    assert!(status.contains("Offload: off (--offload off)") && !status.contains("super-frames"), "{status}");
    assert!(connections(host1).contains("(no trains: --offload off)"), "{}", connections(host1));
    assert!(!connections(host2).contains("trains"), "{}", connections(host2));

    let seen = host1.capture("vethwe-bridge", "tcp");
    for (from, to) in [(host1, host2), (host2, host1)] {
        let sum = serve_random_file(from, "web", 50);
        for address in [from.overlay(), format!("[{}]", from.overlay6())] {
            assert_eq!(Transfer::start(to, "web", &address).sum(PATIENCE), sum, "{to} from {address}");
        }
    }
    let longest = seen.stop().iter().map(Vec::len).max().unwrap_or(0);
    assert!((1000..=1390).contains(&longest), "each packet by itself, not {longest} bytes at once");

    // One way a super-frame of UDP, its checksum open, meets a TAP that takes neither; the other way it is cut at once.
    for (from, to) in [(host1, host2), (host2, host1)] {
        let [sender, mut receiver] =
            [from, to].map(|host| UdpEnd::bind(&host.network_of("web"), &host.overlay(), 7001));
        sender.connect(&receiver);
        let sent: Vec<u8> = (0..12_300_u32).map(|n| (n / 7) as u8).collect();
        sender.send_train(&sent, 1200);
        let mut received = Vec::new();
        while received.len() < sent.len() {
            received.extend(receiver.receive().expect("none is lost").bytes);
        }
        assert!(received == sent);
    }
}

/// Waits until 20 MB more have come to the container of this host.
fn flows(host: &Host) {
    let received = || {
        let count = host.inside("web", &["cat", "/sys/class/net/ethwe/statistics/rx_bytes"]).ok();
        count.parse::<u64>().unwrap_or(0)
    };
    let before = received();
    eventually("the transfer goes on", PATIENCE, || {
        let more = received() - before;
        if more > 20_000_000 { Ok(()) } else { Err(format!("only {more} bytes since")) }
    });
}

fn connections(host: &Host) -> String {
    host.weave(&["status", "connections"]).ok()
}

/// The value of the first series whose name and labels contain `part`.
fn metric(host: &Host, part: &str) -> f64 {
    let all = host.exec(&["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:6782/metrics"]).ok();
    let line = all.lines().find(|line| !line.starts_with('#') && line.contains(part));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {part} in: {all}"))
}

fn lab() -> Option<Lab> {
    Some(Lab::up_or_skip(2, Underlay::Offload)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave")))
}
