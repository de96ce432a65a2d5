//! Ways between hosts on which packets that are too long vanish, and nobody tells: from the start, or after a while.
#![expect(clippy::print_stderr, reason = "figures are told, also where they are good enough")]

use std::time::Duration;

use testbed::{Host, Lab, Transfer, Underlay, eventually, serve_random_file, slow_down};

/// What passes.
const WAY: u32 = 1280;
/// The record that fills it over IPv4: what the headers of IPv4 and UDP leave.
const RECORD: u32 = WAY - 20 - 8;

#[test]
fn frames_cross_a_narrow_way_over_udp_in_shorter_records() {
    let Some(lab) = narrow_from_the_start("auto", "udp") else { return };
    for host in lab.hosts() {
        await_size(host);
    }
    both_cross(&lab);
    for host in lab.hosts() {
        let mtu = host.report()["Router"]["Connections"][0]["MTU"].as_u64();
        // Record header, tag, slice header, Ethernet header.
        assert_eq!(mtu, Some(u64::from(RECORD) - 13 - 16 - 12 - 14), "{host}");
        let drops = &host.report()["Router"]["Drops"];
        assert!(drops["too_big"].is_null(), "what does not fit takes the link: {drops}");
    }
}

#[test]
fn nobody_is_told_a_smaller_size_than_the_way_has_while_that_is_being_found_out() {
    let Some(lab) = lab() else { return };
    lab.hosts().iter().for_each(narrow);
    for host in lab.hosts() {
        host.launch(&["--transport", "auto"]);
        host.run_web("web", &format!("{}/24", host.overlay()));
    }
    let (host1, host2) = (lab.host(1), lab.host(2));
    // Long packets go all the time; the first arrive as soon as there is a link.
    let pings = [(host1, host2), (host2, host1)].map(|(from, to)| {
        let ping = format!("while :; do ping -c 1 -W 1 -s 1348 {} > /dev/null; done", to.overlay());
        from.spawn_inside("web", &["sh", "-c", &ping])
    });
    host2.weave(&["connect", &host1.address()]).ok();
    await_size(host1);
    await_size(host2);
    for (from, to) in [(host1, host2), (host2, host1)] {
        // Record header, tag, slice header, Ethernet header.
        let known = format!(" mtu {}", RECORD - 13 - 16 - 12 - 14);
        eventually(&format!("{from} learns{known}"), Duration::from_secs(5), || {
            let route = told(from, &to.overlay());
            assert!(!route.contains(" mtu ") || route.contains(&known), "{route}{}", story(from));
            if route.contains(&known) { Ok(()) } else { Err(route) }
        });
    }
    drop(pings);
}

#[test]
fn frames_cross_a_narrow_way_over_tls_in_short_segments() {
    let Some(lab) = narrow_from_the_start("tls", "tls") else { return };
    both_cross(&lab);
}

#[test]
fn frames_cross_a_narrow_way_over_udp_alone() {
    let Some(lab) = narrow_from_the_start("udp", "udp") else { return };
    for host in lab.hosts() {
        await_size(host);
    }
    both_cross(&lab);
}

#[test]
fn tcp_that_is_relayed_by_a_narrow_way_over_udp_alone_is_made_to_fit_it() {
    let Some(lab) = lab_of(3) else { return };
    // The first two have nothing in common, so that frames go through the third.
    for (host, allowed) in lab.hosts().iter().zip(["udp", "tls", "auto"]) {
        let target = lab.host(1).address();
        let target: &[&str] = if host.number() == 1 { &[] } else { &[&target] };
        host.launch(&[&["--transport", allowed], target].concat());
        host.run_web("web", &format!("{}/24", host.overlay()));
    }
    lab.host(2).await_ping("web", &lab.host(1).overlay());
    narrow(lab.host(1));
    narrow(lab.host(3));
    await_size(lab.host(1));
    both_transfer(&lab);
}

#[test]
fn a_way_that_becomes_narrow_is_noticed_over_udp_before_anything_is_lost_for_long() {
    let Some(lab) = lab() else { return };
    join(&lab, "auto", "udp");
    let gap = shrinks_during_a_transfer(&lab, "udp");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    await_size(lab.host(1));
    let story = story(lab.host(1));
    let change = format!("ago over udp: records of up to {RECORD} bytes pass, ");
    assert!(story.contains(&change) && story.contains(" vanished while short ones were answered"), "{story}");
    both_cross(&lab);
}

#[test]
fn a_link_that_stalls_because_the_way_became_narrow_is_made_anew_with_short_segments() {
    let Some(lab) = lab() else { return };
    join(&lab, "tls", "tls");
    let gap = shrinks_during_a_transfer(&lab, "tls");
    // Silence of 6.5 s (P2.11), and a dial at once, in which short segments get through (P2.12).
    assert!(gap <= Duration::from_secs(7), "{gap:?}");
    both_cross(&lab);
}

fn lab() -> Option<Lab> {
    lab_of(2)
}

fn lab_of(hosts: usize) -> Option<Lab> {
    // What crosses whole is as long as a train of what would cross singly.
    let lab = Lab::up_or_skip(hosts, Underlay::Plain)?;
    Some(lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave")))
}

fn narrow_from_the_start(allowed: &str, expected: &str) -> Option<Lab> {
    let lab = lab()?;
    lab.hosts().iter().for_each(narrow);
    join(&lab, allowed, expected);
    Some(lab)
}

/// Joins both hosts, of which either may use what is `allowed`, and waits until frames take what is `expected`.
fn join(lab: &Lab, allowed: &str, expected: &str) {
    let target = lab.host(1).address();
    for host in lab.hosts() {
        let target: &[&str] = if host.number() == 1 { &[] } else { &[&target] };
        host.launch(&[&["--transport", allowed], target].concat());
        host.run_web("web", &format!("{}/24", host.overlay()));
    }
    for host in lab.hosts() {
        host.await_peers(2, expected);
    }
    lab.host(2).await_ping("web", &lab.host(1).overlay());
}

/// From now on nothing longer reaches a host, in silence.
fn narrow(host: &Host) {
    host.sh(
        "nft add table inet narrow; nft add chain inet narrow in '{ type filter hook input priority -10; }'",
    )
    .ok();
    host.sh(&format!("nft add rule inet narrow in iifname eth0 meta length gt {WAY} drop")).ok();
}

fn await_size(host: &Host) {
    let words = format!("records of up to {RECORD} bytes pass");
    eventually(&words, Duration::from_secs(10), || {
        let status = host.weave(&["status", "connections"]).ok();
        if status.contains(&words) { Ok(()) } else { Err(status) }
    });
}

/// What a host tells of its way to the other one.
fn story(host: &Host) -> String {
    let report = host.report();
    let peer = report["Router"]["Connections"][0]["Peer"]["Name"].as_str().unwrap_or_default();
    host.weave(&["why", peer]).ok()
}

/// What the container of a host knows of the way to another one, the MTU that it was told included.
fn told(host: &Host, to: &str) -> String {
    let enter = "nsenter --net=/proc/$(docker inspect -f '{{.State.Pid}}' web)/ns/net";
    host.sh(&format!("{enter} ip route get {to}")).ok()
}

/// Packets as long as the containers' network has them, and 20 MB each way.
fn both_cross(lab: &Lab) {
    let (host1, host2) = (lab.host(1), lab.host(2));
    for (from, to) in [(host1, host2), (host2, host1)] {
        // The first is answered with the size that fits. A link that fell silent is made anew 6.5 s after the way became narrow, and
        // what is sent at that moment may get lost.
        let pinged = to.inside("web", &["ping", "-c", "5", "-W", "2", "-s", "1348", &from.overlay()]);
        assert_eq!(pinged.code, 0, "{pinged}{}{}", story(host1), story(host2));
    }
    both_transfer(lab);
}

/// 20 MB each way.
fn both_transfer(lab: &Lab) {
    let (host1, host2) = (lab.host(1), lab.host(2));
    for (from, to) in [(host1, host2), (host2, host1)] {
        let sum = serve_random_file(from, "web", 20);
        let received = Transfer::start(to, "web", &from.overlay()).sum(Duration::from_secs(30));
        assert_eq!(received, sum, "from {from} to {to}");
    }
}

/// Has the way become narrow while something large is fetched and pings go. Gives how long nothing got through.
fn shrinks_during_a_transfer(lab: &Lab, transport: &str) -> Duration {
    let (host1, host2) = (lab.host(1), lab.host(2));
    host2.await_peers(2, transport);
    let sum = serve_random_file(host1, "web", 20);
    slow_down(host1, "web", 40);
    host2.keep_neighbour("web", &host1.overlay());
    let transfer = Transfer::start(host2, "web", &host1.overlay());
    let pings = host2.keep_pinging("web", &host1.overlay());
    transfer.await_progress();
    lab.hosts().iter().for_each(narrow);
    assert_eq!(transfer.sum(Duration::from_secs(40)), sum);
    let outage = pings.stop();
    eprintln!("over {transport}, a way that became narrow: {outage:?}");
    outage.longest
}
