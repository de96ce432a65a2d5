//! Large transfers arrive whole, whatever happens to the routers meanwhile.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use testbed::{Lab, Transfer, Underlay, eventually, serve_random_file};

/// Enough that no path and no queue holds all of it.
const MEGABYTES: u32 = 200;

/// A transfer takes seconds; after a router was killed TCP waits up to some ten seconds before it tries again.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn two_hundred_megabytes_arrive_unchanged_both_ways_at_once_over_udp() {
    both_ways_at_once("udp", Underlay::Offload);
}

#[test]
fn two_hundred_megabytes_arrive_unchanged_both_ways_at_once_over_tls() {
    both_ways_at_once("tls", Underlay::Offload);
}

#[test]
fn two_hundred_megabytes_arrive_unchanged_both_ways_at_once_over_udp_on_a_plain_cable() {
    both_ways_at_once("udp", Underlay::Plain);
}

#[test]
fn two_hundred_megabytes_arrive_unchanged_both_ways_at_once_over_tls_on_a_plain_cable() {
    both_ways_at_once("tls", Underlay::Plain);
}

#[test]
fn a_transfer_outlives_a_router_that_is_killed_over_udp() {
    while_routers_are_killed("udp");
}

#[test]
fn a_transfer_outlives_a_router_that_is_killed_over_tls() {
    while_routers_are_killed("tls");
}

/// One way over IPv4, the other way over IPv6.
fn both_ways_at_once(transport: &str, underlay: Underlay) {
    let Some(lab) = joined(transport, underlay) else { return };
    let (host1, host2) = (lab.host(1), lab.host(2));
    let [sum1, sum2] = thread::scope(|scope| {
        [host1, host2]
            .map(|host| scope.spawn(|| serve_random_file(host, "web", MEGABYTES)))
            .map(|made| made.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let to_host2 = Transfer::start(host2, "web", &host1.overlay());
    let to_host1 = Transfer::start(host1, "web", &format!("[{}]", host2.overlay6()));
    assert_eq!(to_host2.sum(PATIENCE), sum1, "over IPv4");
    assert_eq!(to_host1.sum(PATIENCE), sum2, "over IPv6");
}

fn while_routers_are_killed(transport: &str) {
    let Some(lab) = joined(transport, Underlay::Offload) else { return };
    let sum = serve_random_file(lab.host(1), "web", 70);
    // Six seconds' worth: else it would be over before anything could happen to it.
    lab.host(1).sh("tc qdisc add dev eth0 root tbf rate 100mbit burst 256kb latency 50ms").ok();
    let transfer = Transfer::start(lab.host(2), "web", "10.9.0.1");
    for host in lab.hosts() {
        has_begun(&lab);
        host.kill_router();
        thread::sleep(Duration::from_secs(1));
        assert!(transfer.is_running());
        host.launch(&["--transport", transport, "--resume"]);
        lab.host(2).await_peers(2, transport);
    }
    assert_eq!(transfer.sum(PATIENCE), sum);
}

/// Waits until a few megabytes have arrived at host 2.
fn has_begun(lab: &Lab) {
    let received = || {
        let count = lab.host(2).inside("web", &["cat", "/sys/class/net/ethwe/statistics/rx_bytes"]).ok();
        count.parse::<u64>().unwrap_or(0)
    };
    let before = received();
    eventually("the transfer goes on", PATIENCE, || {
        let more = received() - before;
        if more > 5_000_000 { Ok(()) } else { Err(format!("only {more} bytes since")) }
    });
}

fn joined(transport: &str, underlay: Underlay) -> Option<Lab> {
    let lab = Lab::up_or_skip(2, underlay)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    Some(lab.joined_over(transport))
}
