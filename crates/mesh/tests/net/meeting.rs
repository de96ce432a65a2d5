//! Two peers that nobody can dial agree, through a third, to connect to each other at the same moment (P6.6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh::{LinkId, LinkUp, LinkWay, Meet, MeetingPoint};
use wire::Uid;

use crate::harness::{Net, config};

fn point(n: u8) -> MeetingPoint {
    MeetingPoint { local: ([10, 0, 0, n], 40_000).into(), seen: seen(n) }
}

fn seen(n: u8) -> SocketAddr {
    ([203, 0, 113, n], 40_000).into()
}

/// 1 in the middle; 0 and 2 can only dial, and have keys with each other.
fn hidden() -> Net {
    let mut net = Net::new(1);
    for n in 1..=3 {
        let mut config = config(n);
        if n != 2 {
            config.port = 0;
        }
        net.add(config);
    }
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(10.0);
    let to = net.name(2);
    net.with(0, |mesh, now| mesh.want_session(now, to));
    net.run(2.0);
    for (host, n) in [(0, 1), (2, 3)] {
        net.with(host, |mesh, _| mesh.set_meeting_points([point(n)]));
    }
    net
}

/// As the daemon does while frames go through others.
fn want(net: &mut Net, seconds: u32) -> [Vec<(Instant, Meet)>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..seconds {
        for (host, other) in [(0, 2), (2, 0)] {
            let peer = net.name(other);
            net.with(host, |mesh, now| {
                mesh.session_used(now, peer);
                mesh.want_link(now, peer);
            });
        }
        // Sooner than a parcel travels.
        for _ in 0..1000 {
            net.run(0.001);
            for (n, host) in [0, 2].into_iter().enumerate() {
                while let Some(meet) = net.hosts[host].mesh.poll_meeting() {
                    found[n].push((net.now, meet));
                }
            }
        }
    }
    found
}

fn fail(net: &mut Net) {
    for (host, other) in [(0, 2), (2, 0)] {
        let peer = net.name(other);
        net.with(host, |mesh, now| mesh.handle_met(now, peer, Some("no answer")));
    }
}

#[test]
fn both_connect_at_the_same_moment_each_to_where_the_other_is_seen() {
    let mut net = hidden();
    let met = want(&mut net, 4);
    let [one, two] = met.map(|mut meetings| {
        assert_eq!(meetings.len(), 1, "{meetings:?}");
        meetings.remove(0)
    });
    assert_eq!(one.1.ways, [(point(1).local, seen(3))]);
    assert_eq!(two.1.ways, [(point(3).local, seen(1))]);
    assert_eq!((one.1.peer, two.1.peer), (net.name(2), net.name(0)));
    // The one that called begins when the other one hears it, as far as the way there is as long as the way back.
    let (first, last) = (one.1.at.max(one.0).min(two.1.at.max(two.0)), one.1.at.max(two.1.at));
    assert!(last.saturating_duration_since(first) < Duration::from_millis(60), "{:?}", last - first);
}

#[test]
fn what_fails_is_tried_again_and_again_but_less_and_less_often() {
    let mut net = hidden();
    let mut begun = Vec::new();
    for second in 0..1200 {
        let [one, two] = want(&mut net, 1);
        assert_eq!(one.len(), two.len(), "in step");
        if !one.is_empty() {
            begun.push(second);
            fail(&mut net);
        }
    }
    let early = begun.iter().filter(|at| **at < 60).count();
    let late = begun.iter().filter(|at| **at >= 600).count();
    assert!((3..=10).contains(&early) && (1..=6).contains(&late), "{begun:?}");
    let peer = net.name(2);
    let now = net.now;
    let told = net.hosts[0].mesh.meeting(now, peer).or_else(|| net.hosts[2].mesh.meeting(now, net.name(0)));
    assert!(told.is_some_and(|text| text.contains("no answer")));
}

#[test]
fn nobody_is_met_who_can_be_dialled_is_linked_has_no_keys_or_no_point() {
    let mut net = hidden();
    net.with(2, |mesh, _| mesh.set_meeting_points([]));
    assert_eq!(want(&mut net, 8), [vec![], vec![]], "it does not meet anyone");
    let v6 =
        MeetingPoint { local: "[2001:db8::3]:1".parse().unwrap(), seen: "[2001:db8::3]:1".parse().unwrap() };
    net.with(2, |mesh, _| mesh.set_meeting_points([v6]));
    assert_eq!(want(&mut net, 8), [vec![], vec![]], "no address of the same family");
    let mut net = hidden();
    link(&mut net, 0, 2);
    assert_eq!(want(&mut net, 8), [vec![], vec![]], "linked");
    let mut net = Net::new(1);
    for n in 1..=3 {
        net.add(config(n));
    }
    net.connect(0, 1);
    net.connect(2, 1);
    for (host, n) in [(0, 1), (2, 3)] {
        net.with(host, |mesh, _| mesh.set_meeting_points([point(n)]));
    }
    net.run(10.0);
    assert_eq!(want(&mut net, 8), [vec![], vec![]], "a dial succeeded");
}

#[test]
fn the_address_of_a_link_that_both_opened_is_nobody_elses_to_dial() {
    let mut net = hidden();
    link(&mut net, 0, 2);
    net.run(5.0);
    let peers = net.hosts[1].mesh.peers();
    let name = net.name(0);
    let stated = peers.iter().find(|peer| peer.name == name).unwrap();
    let entry = stated.links.iter().find(|link| link.entry.peer == net.name(2)).unwrap().entry;
    assert!(!entry.outbound && entry.address == seen(3), "{entry:?}");
}

/// A link that both opened, as one end sees it.
fn link(net: &mut Net, host: usize, other: usize) {
    let config = net.hosts[other].config.clone();
    let up = LinkUp {
        peer: config.name,
        public_key: config.identity.public_key(),
        uid: Uid(config.uid.0),
        nickname: config.nickname.clone(),
        incarnation: config.incarnation,
        address: seen(3),
        port: config.port,
        outbound: true,
        dial: None,
        dialler_nonce: 1,
        way: LinkWay::Meeting,
    };
    net.with(host, |mesh, now| mesh.handle_link_up(now, LinkId(9999), up).unwrap());
}
