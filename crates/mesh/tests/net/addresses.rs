//! Where peers may be reached: told, advertised, and tried anew when the network changes.

use std::net::SocketAddr;

use mesh::{DialTo, SessionEvent};
use wire::Mapping;

use crate::harness::{Net, config};

/// Three hosts in a row, linked as they are and no other way.
fn row() -> Net {
    let mut net = Net::new(1);
    for n in 1..=3 {
        let mut config = config(n);
        config.discovery = false;
        net.add(config);
    }
    net.connect(0, 1);
    net.connect(1, 2);
    net.run(5.0);
    net
}

fn told(net: &Net, host: usize) -> Vec<Vec<SocketAddr>> {
    let of = |event: &SessionEvent| match event {
        SessionEvent::Addresses { peer, addresses, .. } if *peer == net.name(2) => Some(addresses.clone()),
        _ => None,
    };
    net.hosts[host].sessions.iter().filter_map(of).collect()
}

#[test]
fn a_new_address_is_told_to_neighbours_and_through_them_to_peers_with_a_session() {
    let mut net = row();
    let peer = net.name(2);
    net.with(0, |mesh, now| mesh.want_session(now, peer));
    net.run(2.0);
    let (first, second) = ("203.0.113.7:4000".parse().unwrap(), "203.0.113.7:5000".parse().unwrap());
    net.with(2, |mesh, now| mesh.set_reachable_at(now, vec![first]));
    net.run(1.0);
    for host in [0, 1] {
        // What others see of it comes behind what it says itself.
        assert_eq!(told(&net, host), [vec![first, ([10, 0, 0, 3], 6783).into()]]);
    }
    net.with(2, |mesh, now| mesh.set_reachable_at(now, vec![first]));
    net.run(5.0);
    assert_eq!(told(&net, 0).len(), 1, "no news");
    net.with(2, |mesh, now| mesh.set_reachable_at(now, vec![second, first]));
    net.run(3.0);
    assert_eq!(told(&net, 0)[1][..2], [second, first]);
    // The path broke; nothing changed but that.
    let to = net.name(0);
    net.with(2, |mesh, now| mesh.tell_addresses(now, to));
    net.run(3.0);
    assert_eq!((told(&net, 0).len(), told(&net, 1).len()), (3, 2));
    let counters = net.hosts[0].mesh.counters();
    assert_eq!((counters.shares_stale, counters.shares_forged, counters.shares_malformed), (0, 0, 0));
}

#[test]
fn everyone_hears_what_the_nat_of_a_peer_does_and_where_it_is_to_be_dialled() {
    let mut net = row();
    assert_eq!(net.hosts[0].mesh.mapping(net.name(2)), Mapping::Unknown);
    for _ in 0..15 {
        net.with(2, |mesh, now| mesh.set_mapping(now, Mapping::Dependent));
        net.run(1.0);
    }
    let advertised: SocketAddr = "203.0.113.7:443".parse().unwrap();
    net.with(2, |mesh, now| mesh.set_advertised(now, vec![advertised]));
    net.run(3.0);
    assert_eq!(net.hosts[0].mesh.mapping(net.name(2)), Mapping::Dependent);
    assert_eq!(net.hosts[0].mesh.udp_addresses(net.name(2)), [advertised, ([10, 0, 0, 3], 6783).into()]);
}

#[test]
fn a_peer_that_nobody_could_dial_is_dialled_where_it_says() {
    let mut net = Net::new(2);
    net.add(config(1));
    net.add(config(2));
    let mut hidden = config(3);
    (hidden.port, hidden.discovery) = (0, false);
    net.add(hidden);
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(20.0);
    let peer = net.name(2);
    assert!(net.hosts[0].mesh.links().all(|link| link.peer != peer), "nobody knows where");
    let at = net.hosts[2].address;
    net.with(2, |mesh, now| mesh.set_advertised(now, vec![at]));
    net.run(20.0);
    assert!(net.hosts[0].mesh.links().any(|link| link.peer == peer));
}

#[test]
fn what_failed_is_dialled_at_once_when_the_network_changes() {
    let mut net = Net::new(3);
    net.add(config(1));
    net.with(0, |mesh, now| mesh.connect(now, "192.0.2.1:6783"));
    net.run(600.0);
    let before = net.hosts[0].dials.len();
    assert!(before > 3 && before < 60, "{before}");
    net.with(0, |mesh, now| mesh.network_changed(now));
    let at = net.now;
    net.run(0.1);
    let (began, to) = net.hosts[0].dials[before..].first().expect("a dial");
    assert_eq!(*began, at);
    assert!(matches!(to, DialTo::Target(text) if text == "192.0.2.1:6783"), "{to:?}");
}
