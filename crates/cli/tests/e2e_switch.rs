//! UDP falls silent in the middle of a transfer and comes back: nothing is broken, the gap is short, nothing is delivered twice.

use std::thread;
use std::time::{Duration, Instant};

use testbed::{Host, Lab, Transfer, Underlay, eventually, serve_random_file, slow_down};

/// A silent path is noticed by what does not come back (P4.12); a machine that has other things to do makes it longer.
const GAP: Duration = Duration::from_secs(7);
/// From when UDP is whole again until frames take it.
const BACK: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_transfer_and_pings_go_on_while_udp_falls_silent_and_comes_back() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let [one, two] = [lab.host(1), lab.host(2)];
    let name = one.launch(&[]);
    two.launch(&["198.18.0.1"]);
    for host in lab.hosts() {
        host.run_web("web", &(host.overlay() + "/24"));
        host.run_shell("box", &(beside(host) + "/24"));
        host.await_peers(2, "udp");
    }
    two.await_ping("box", &beside(one));
    two.keep_neighbour("box", &beside(one));
    one.keep_neighbour("box", &beside(two));
    let sum = serve_random_file(one, "web", 100);
    slow_down(one, "web", 70);
    let transfer = Transfer::start(two, "web", &one.overlay());
    transfer.await_progress();
    let pings = two.keep_pinging("box", &beside(one));
    thread::sleep(Duration::from_secs(1));

    two.sh(
        "nft add table inet block; nft add chain inet block in '{ type filter hook input priority -10; }'",
    )
    .ok();
    two.sh("nft add rule inet block in udp dport 6783 drop").ok();
    for host in lab.hosts() {
        host.await_peers(2, "tls");
        assert!(way(host).contains("no answer to UDP probes"), "{}", way(host));
    }
    assert!(transfer.is_running(), "the transfer is too fast for this test");
    two.sh("nft delete table inet block").ok();
    let whole = Instant::now();
    for host in lab.hosts() {
        eventually("UDP is taken up again", BACK, || {
            let way = way(host);
            if way.contains(" udp ") { Ok(()) } else { Err(way) }
        });
    }
    let back = whole.elapsed();
    assert_eq!(transfer.sum(PATIENCE), sum, "not a byte is changed");
    let outage = pings.stop();
    eprintln!("UDP falls silent: {outage:?}; back on it after {back:?}");
    assert!(outage.longest <= GAP, "{outage:?}");
    assert_eq!(outage.twice, 0, "no frame is delivered twice: {outage:?}");
    let story = two.weave(&["why", &name]).ok();
    assert!(story.contains("from udp to tls: no answer to UDP probes"), "{story}");
    assert!(story.contains("from tls to udp: UDP works again and has proved itself"), "{story}");
    assert!(story.contains("records went both ways"), "{story}");
}

fn way(host: &Host) -> String {
    host.weave(&["status", "connections"]).ok()
}

/// The address of the container that pings, beside the one with the file.
fn beside(host: &Host) -> String {
    format!("10.9.0.{}", 100 + host.number())
}
