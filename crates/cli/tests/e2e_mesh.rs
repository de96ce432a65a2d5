//! Hosts of which not everyone can reach everyone. They are one network all the same, and those in between learn nothing.

use std::time::Duration;

use testbed::{Cut, Host, Lab, Listeners, Transfer, Underlay, eventually, serve_random_file};

const CHAIN: [(usize, usize); 4] = [(1, 2), (2, 3), (3, 4), (4, 5)];
const RING: [(usize, usize); 5] = [(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)];

/// What a payload is filled with: long enough not to turn up in random bytes.
const SECRET: &str = "the ford is passable at low water only";

#[test]
fn the_ends_of_a_chain_of_five_hosts_reach_each_other_through_hosts_that_have_no_container() {
    let Some(lab) = lab(5) else { return };
    let _wires = lab.wired(&CHAIN);
    let names = lab.launch_all(&[], the_one_before);
    let (first, last) = (lab.host(1), lab.host(5));
    for end in [first, last] {
        end.run_web("web", &(end.overlay() + "/24"));
    }
    // Everyone knows the whole network, and shows it.
    lab.await_links(&names, &CHAIN);
    for host in lab.hosts() {
        let peers = host.weave(&["status", "peers"]).ok();
        assert!(names.iter().all(|name| peers.contains(name)), "{host}: {peers}");
    }
    // The first frame there is gets through: nothing has to be set up that somebody would wait for.
    assert!(first.container_pings("web", &last.overlay()));
    assert!(last.container_pings("web", &first.overlay()));
    let sum = serve_random_file(first, "web", 100);
    assert_eq!(Transfer::start(last, "web", &first.overlay()).sum(Duration::from_secs(60)), sum);
    through(first, &names[4], &["host2", "host3", "host4"]);
    through(last, &names[0], &["host4", "host3", "host2"]);
}

/// Asserts that a router tells, to people and to programs, that it reaches a peer through these others.
fn through(host: &Host, peer: &str, between: &[&str]) {
    let page = host.weave(&["status", "routes"]).ok();
    let line = page.lines().find(|line| line.starts_with(peer)).unwrap_or_else(|| panic!("{host}: {page}"));
    let (before, via) = line.split_once(" via ").unwrap_or_else(|| panic!("{host}: {line}"));
    assert!(before.trim_end().ends_with(" relay"), "{host}: {line}");
    let places: Vec<_> = between.iter().map(|one| via.find(&format!("({one})"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{host}, not {between:?}: {line}");
    let report = host.report();
    let routes = report["Router"]["Routes"].as_array();
    let route = routes.into_iter().flatten().find(|route| route["Peer"]["Name"] == peer);
    let hops = route.and_then(|route| route["Hops"].as_array()).into_iter().flatten();
    let hops: Vec<_> = hops.filter_map(|hop| hop["NickName"].as_str()).collect();
    assert_eq!(hops.split_last().map(|(_, hops)| hops), Some(between), "{host}: {route:?}");
}

#[test]
fn a_relay_sees_nothing_of_what_it_carries_over_udp() {
    a_relay_sees_nothing("udp");
}

#[test]
fn a_relay_sees_nothing_of_what_it_carries_over_tls() {
    a_relay_sees_nothing("tls");
}

fn a_relay_sees_nothing(transport: &str) {
    let Some(lab) = lab(3) else { return };
    let pairs = [(1, 2), (2, 3)];
    let wires = lab.wired(&pairs);
    let names = lab.launch_all(&["--transport", transport], the_one_before);
    let (first, relay, last) = (lab.host(1), lab.host(2), lab.host(3));
    for end in [first, last] {
        end.run_web("web", &(end.overlay() + "/24"));
    }
    lab.await_links(&names, &pairs);
    last.await_ping("web", &first.overlay());

    let (wire, tap) = (relay.capture("eth0", ""), relay.capture("vethwe-bridge", ""));
    let before = wires.crossed(2, 3);
    let write = format!("for i in $(seq 2000); do echo '{SECRET}'; done >/www/plan");
    first.inside("web", &["sh", "-c", &write]).ok();
    let page =
        last.inside("web", &["wget", "-q", "-O", "-", &format!("http://{}/plan", first.overlay())]).ok();
    assert!(page.lines().count() == 2000 && page.starts_with(SECRET));
    last.inside("web", &["ping", "-c", "20", "-i", "0.1", "-p", "5a", &first.overlay()]).ok();
    // Nobody has this address: the question for it goes to everybody, and shows that the recordings work.
    last.inside("web", &["ping", "-c", "2", "-W", "1", "10.9.0.77"]);
    let (wire, tap) = (wire.stop(), tap.stop());

    assert!(wires.crossed(2, 3) - before > page.len() as u64, "it went through the relay");
    let shown = |packets: &[Vec<u8>]| {
        packets.iter().any(|packet| contains(packet, SECRET.as_bytes()) || contains(packet, &[0x5a; 16]))
    };
    assert!(wire.len() > 50, "only {} packets on the relay's wire", wire.len());
    assert!(!shown(&wire), "in what the relay sends and receives");
    assert!(!shown(&tap), "on the relay's bridge");
    let (to_all, to_one): (Vec<_>, Vec<_>) = tap.iter().partition(|frame| frame[0] & 1 == 1);
    assert!(to_all.iter().any(|frame| contains(frame, &[10, 9, 0, 77])), "{} frames to all", to_all.len());
    let ends = [&[10, 9, 0, 1][..], &[10, 9, 0, 3]];
    let strangers = to_one.iter().filter(|frame| ends.iter().all(|end| contains(frame, end)));
    assert_eq!(strangers.count(), 0, "frames of the ends for each other on the relay's bridge");
}

/// P6.4: names and a tag make a relayed record longer than others. Here those pass over UDP, and it does not.
#[test]
fn relayed_records_that_are_too_long_for_the_underlay_take_the_link() {
    let Some(lab) = lab(3) else { return };
    let pairs = [(1, 2), (2, 3)];
    let _wires = lab.wired(&pairs);
    for host in lab.hosts() {
        host.sh("ip link set eth0 mtu 1485").ok();
    }
    let names = lab.launch_all(&[], the_one_before);
    let ends = [lab.host(1), lab.host(3)];
    for end in ends {
        end.run_web("web", &(end.overlay() + "/24"));
    }
    lab.await_links(&names, &pairs);
    ends[1].await_ping("web", &ends[0].overlay());
    for host in lab.hosts() {
        eventually(&format!("all links of {host} have UDP"), Duration::from_secs(10), || {
            let page = host.weave(&["status", "connections"]).ok();
            let lines = page.lines().filter(|line| line.contains("established"));
            if lines.clone().all(|line| line.contains(" udp ")) { Ok(()) } else { Err(page) }
        });
    }
    let largest = ["ping", "-c", "3", "-W", "1", "-s", "1348", &ends[0].overlay()];
    let said = ends[1].inside("web", &largest).ok();
    assert!(said.contains(" 0% packet loss"), "packets of the full inner MTU: {said}");
    let sum = serve_random_file(ends[0], "web", 50);
    assert_eq!(Transfer::start(ends[1], "web", &ends[0].overlay()).sum(Duration::from_secs(60)), sum);
}

#[test]
fn a_chain_whose_routers_are_all_killed_at_once_becomes_one_network_again() {
    let Some(lab) = lab(5) else { return };
    let _wires = lab.wired(&CHAIN);
    let names = lab.launch_all(&[], the_one_before);
    for k in [1, 5] {
        lab.host(k).run_shell("box", &(lab.host(k).overlay() + "/24"));
    }
    lab.await_links(&names, &CHAIN);
    lab.host(1).await_ping("box", "10.9.0.5");
    lab.hosts().iter().for_each(Host::kill_router);
    assert_eq!(lab.launch_all(&["--resume"], |_| vec![]), names);
    lab.await_links(&names, &CHAIN);
    lab.host(1).await_ping("box", "10.9.0.5");
    lab.host(5).await_ping("box", "10.9.0.1");
}

#[test]
fn broadcast_and_multicast_are_heard_once_on_every_host_of_a_chain() {
    heard_once(&CHAIN);
}

#[test]
fn broadcast_and_multicast_are_heard_once_on_every_host_of_a_ring() {
    heard_once(&RING);
}

fn heard_once(pairs: &[(usize, usize)]) {
    let Some(lab) = lab(5) else { return };
    let _wires = lab.wired(pairs);
    let targets = |k| pairs.iter().filter(|(_, to)| *to == k).map(|(from, _)| *from).collect();
    let names = lab.launch_all(&[], targets);
    for host in lab.hosts() {
        host.run_shell("box", &(host.overlay() + "/24"));
    }
    lab.await_links(&names, pairs);
    for group in ["10.9.0.255", "239.1.2.3"] {
        let listeners = Listeners::on(lab.hosts(), "box", group);
        for from in [1, 3] {
            let heard = listeners.heard_from(lab.host(from), "box", 5);
            assert_eq!(heard, vec![vec![0, 1, 2, 3, 4]; 5], "{group} from host {from}");
        }
    }
}

#[test]
fn hosts_that_reach_each_other_in_one_direction_only_talk_through_a_third_and_status_says_why() {
    let Some(lab) = lab(3) else { return };
    let wires = lab.wired(&[(1, 2), (1, 3), (2, 3)]);
    wires.cut(1, 2, Cut::OneWay);
    let names = lab.launch_all(&[], |k| if k == 3 { vec![1, 2] } else { vec![] });
    for host in &lab.hosts()[..2] {
        host.run_shell("box", &(host.overlay() + "/24"));
    }
    lab.await_links(&names, &[(1, 3), (2, 3)]);
    lab.host(1).await_ping("box", "10.9.0.2");
    lab.host(2).await_ping("box", "10.9.0.1");
    for (host, other) in [(lab.host(1), &names[1]), (lab.host(2), &names[0])] {
        host.await_trouble("reachable only through");
        let status = host.weave(&["status"]).ok();
        let line = status.lines().find(|line| line.contains("reachable only through"));
        let line = line.unwrap_or_else(|| panic!("{host}: {status}"));
        assert!(line.contains(other.as_str()) && line.contains("host3"), "{host}: {line}");
    }

    wires.mend(1, 2);
    eventually("they have a link of their own", Duration::from_secs(60), || {
        let status = lab.host(1).weave(&["status"]).ok();
        if status.contains("reachable only through") { Err(status) } else { Ok(()) }
    });
    lab.await_links(&names, &[(1, 2), (1, 3), (2, 3)]);
}

#[test]
fn a_peer_that_is_gone_can_be_removed_from_any_host_and_more_than_once() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    let names = lab.launch_all(&[], the_one_before);
    lab.await_links(&names, &[(1, 2), (1, 3), (2, 3)]);
    let (one, two, gone) = (lab.host(1), lab.host(2), lab.host(3));
    let refused = one.weave(&["rmpeer", &names[2]]).fails_with(1);
    assert!(refused.contains(&names[2]) && refused.contains("runs"), "{refused}");
    lab.await_links(&names, &[(1, 2), (1, 3), (2, 3)]);

    gone.kill_router();
    for host in [one, two] {
        host.await_links(&names, &[(1, 2)]);
    }
    let said = two.weave(&["rmpeer", "host3"]).ok();
    assert!(said.contains(&names[2]) && said.contains("removed"), "{said}");
    for host in [one, two] {
        // Much sooner than a peer that nobody removes is forgotten: P5.7.
        let start = std::time::Instant::now();
        host.await_links(&names[..2], &[(1, 2)]);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    for again in [one, two, two] {
        again.weave(&["rmpeer", &names[2]]).ok();
    }
    let unknown = one.weave(&["rmpeer", "nobody"]).ok();
    assert!(unknown.contains("no such peer"), "{unknown}");

    // Who comes back is let in.
    gone.launch(&["--resume"]);
    lab.await_links(&names, &[(1, 2), (1, 3), (2, 3)]);
}

fn lab(n: usize) -> Option<Lab> {
    Some(Lab::up_or_skip(n, Underlay::Offload)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave")))
}

/// The hosts that a host of a chain is told of.
fn the_one_before(k: usize) -> Vec<usize> {
    (k > 1).then(|| k - 1).into_iter().collect()
}

fn contains(packet: &[u8], bytes: &[u8]) -> bool {
    packet.windows(bytes.len()).any(|window| window == bytes)
}
