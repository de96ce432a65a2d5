//! What is wrong with one thing of a host costs what depends on it, and nothing else.

use std::time::Duration;

use testbed::{Lab, Underlay, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_card_that_is_full_costs_frames_and_not_the_way() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    let (host1, host2) = (lab.host(1), lab.host(2));
    host1.launch(&[]);
    host2.launch(&[&host1.address()]);
    host2.await_peers(2, "udp");
    for host in [host1, host2] {
        host.weave(&["expose", &format!("{}/24", host.overlay())]).ok();
    }
    eventually("the hosts reach each other", Duration::from_secs(10), || {
        let ping = host2.exec(&["ping", "-c", "1", "-W", "1", &host1.overlay()]);
        if ping.code == 0 { Ok(()) } else { Err(ping.to_string()) }
    });
    let serving = host1.spawn(&["iperf3", "--server", "--forceflush"]);
    eventually("iperf3 serves", Duration::from_secs(10), || {
        let said = serving.stdout();
        if said.contains("listening") { Ok(()) } else { Err(said) }
    });
    // Its queue holds 30 kB and drops the rest, which the kernel tells as ENOBUFS.
    host2.sh("tc qdisc add dev eth0 root tbf rate 50mbit burst 20kb limit 30kb").ok();
    // Longer than three of the probes that a path sends while it works.
    host2.exec(&["iperf3", "--client", &host1.overlay(), "--time", "10"]).ok();

    let metrics = host2.exec(&["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:6782/metrics"]).ok();
    let of = |part: &str| metrics.lines().filter(|line| line.contains(part)).collect::<Vec<_>>();
    assert!(!of(r#"weave_path_changes_total{from="none""#).is_empty(), "{metrics}");
    assert_eq!(of(r#"{from="udp""#), [""; 0], "frames took another way");
    let dropped = of(r#"weave_drops_total{reason="queue_full"}"#);
    let dropped: f64 = dropped.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(dropped > 0.0, "all had room: {metrics}");
    assert_eq!(of(r#"reason="send_error""#), [""; 0], "{metrics}");
}

#[test]
fn a_router_that_lost_its_tap_device_answers_all_others_at_once() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    let (host1, host2) = (lab.host(1), lab.host(2));
    host1.launch(&[]);
    host2.launch(&[&host1.address()]);
    host2.await_peers(2, "udp");
    host1.exec(&["ip", "link", "del", "vethwe-bridge"]).ok();
    // Some of the probes that a path sends while it works: it may have been up before.
    std::thread::sleep(Duration::from_secs(10));
    eventually("probes are answered at once, and not only when the TAP was looked at", PATIENCE, || {
        let report = host2.ask()?;
        let micros = report["Router"]["Connections"][0]["RttMicros"].as_u64().unwrap_or(u64::MAX);
        if micros < 40_000 { Ok(()) } else { Err(format!("{micros} us: {report}")) }
    });
}
