//! Links that carry control and no frames (P8.1, P8.2).

use crate::harness::{Net, config};

/// Three hosts, everyone linked to everyone.
fn triangle(seed: u64) -> Net {
    let mut net = Net::with_hosts(seed, 3);
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(10.0);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(net.link_between(a, b).is_some());
    }
    net
}

/// Tells one end of the link between two whether it carries frames.
fn carries(net: &mut Net, at: usize, other: usize, frames: bool) {
    let peer = net.name(other);
    net.with(at, |mesh, now| {
        let link = mesh.link_of(peer).unwrap();
        mesh.handle_carries(now, link, frames);
    });
}

/// The hosts behind `from` on the way to `to`.
fn route(net: &Net, from: usize, to: usize) -> Vec<usize> {
    let host = |name| (0..net.hosts.len()).find(|&n| net.name(n) == name).unwrap();
    let hops = net.hosts[from].mesh.route(net.name(to)).unwrap_or_default();
    hops.iter().map(|&hop| host(hop)).collect()
}

#[test]
fn frames_go_through_others_where_a_link_carries_none_though_only_one_end_says_so() {
    for seed in 0..10 {
        let mut net = triangle(seed);
        carries(&mut net, 0, 1, false);
        net.run(0.5);
        assert_eq!((route(&net, 0, 1), route(&net, 1, 0)), (vec![2, 1], vec![2, 0]), "seed {seed}");
        assert_eq!((route(&net, 0, 2), route(&net, 2, 0)), (vec![2], vec![0]));
        // What is for everyone takes the same way.
        let (own, other) = (net.name(0), net.name(2));
        assert_eq!(net.with(0, |mesh, _| mesh.children(own)), [other]);
        net.run(60.0);
        assert!(net.link_between(0, 1).is_some(), "control needs it");
        carries(&mut net, 0, 1, true);
        net.run(0.5);
        assert_eq!((route(&net, 0, 1), route(&net, 1, 0)), (vec![1], vec![0]), "seed {seed}");
    }
}

#[test]
fn where_there_is_no_other_way_the_link_stays_the_route_and_its_peer_known() {
    let mut net = Net::new(1);
    for n in 1..=2 {
        net.add(config(n));
    }
    net.connect(1, 0);
    net.run(5.0);
    carries(&mut net, 0, 1, false);
    carries(&mut net, 1, 0, false);
    net.run(120.0);
    assert_eq!((route(&net, 0, 1), route(&net, 1, 0)), (vec![1], vec![0]));
    assert!(net.hosts.iter().all(|host| host.gone.is_empty()));
}

#[test]
fn to_be_told_the_same_again_and_again_states_nothing_anew() {
    let mut net = triangle(2);
    net.run(60.0);
    let heard = |net: &Net| net.hosts[1].mesh.counters().facts_new;
    let before = heard(&net);
    for _ in 0..50 {
        carries(&mut net, 0, 1, true);
        net.run(0.01);
    }
    net.run(1.0);
    assert_eq!(heard(&net), before);
}
