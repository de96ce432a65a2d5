use crate::harness::Net;
use mesh::ConnectionState;

#[test]
fn joining_any_one_peer_leads_to_a_full_mesh_of_five() {
    for seed in 0..20 {
        let mut net = Net::with_hosts(seed, 5);
        // Each joins a different one; no two know of each other beforehand.
        for host in 1..5 {
            net.connect(host, host / 2);
        }
        net.run(5.0);
        assert_eq!(net.flaws(&[0, 1, 2, 3, 4]), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_chain_becomes_a_full_mesh_one_after_the_other() {
    let mut net = Net::with_hosts(1, 6);
    for host in 1..6 {
        net.connect(host, host - 1);
        net.run(3.0);
        let joined: Vec<_> = (0..=host).collect();
        assert_eq!(net.flaws(&joined), Vec::<String>::new(), "{host} joined");
    }
    for host in &net.hosts {
        assert_eq!(host.seen.len(), 5, "everyone is announced once");
        assert!(host.gone.is_empty());
    }
}

#[test]
fn two_networks_that_meet_become_one() {
    let mut net = Net::with_hosts(3, 6);
    for (a, b) in [(1, 0), (2, 0), (4, 3), (5, 3)] {
        net.connect(a, b);
    }
    net.run(90.0);
    assert_eq!(net.flaws(&[0, 1, 2]), Vec::<String>::new());
    net.connect(5, 2);
    net.run(5.0);
    assert_eq!(net.flaws(&[0, 1, 2, 3, 4, 5]), Vec::<String>::new());
}

#[test]
fn a_full_mesh_is_quiet() {
    let mut net = Net::with_hosts(4, 5);
    for host in 1..5 {
        net.connect(host, 0);
    }
    // After the first measurements the costs take their time to settle.
    net.run(100.0);
    let counts = |net: &Net| {
        let of = |h: &crate::harness::Host| {
            let c = h.mesh.counters();
            (c.facts_new, c.facts_stale, c.links_up, c.links_down, c.dials)
        };
        net.hosts.iter().map(of).collect::<Vec<_>>()
    };
    let before = counts(&net);
    net.run(600.0);
    assert_eq!(counts(&net), before, "no fact, link or dial in ten minutes");
}

#[test]
fn without_discovery_only_targets_are_dialled() {
    let mut net = Net::new(5);
    for n in 1..=3 {
        let mut config = crate::harness::config(n);
        config.discovery = false;
        net.add(config);
    }
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(120.0);
    assert!(net.link_between(1, 0).is_some() && net.link_between(2, 0).is_some());
    assert_eq!(net.link_between(1, 2), None);
    assert_eq!(net.hosts[1].mesh.peers().len(), 3, "they know of each other all the same");
}

#[test]
fn what_status_shows_is_what_there_is() {
    let mut net = Net::with_hosts(6, 3);
    net.connect(1, 0);
    net.run(5.0);
    let (zero, one) = (net.name(0), net.name(1));
    let c = net.hosts[1].mesh.connections(net.now);
    assert_eq!(c.len(), 1);
    assert_eq!(
        (c[0].state, c[0].outbound, c[0].address.as_str()),
        (ConnectionState::Established, true, "10.0.0.1:6783")
    );
    assert_eq!(
        (c[0].peer.clone(), c[0].target.as_deref()),
        (Some((zero, "h1".into())), Some("10.0.0.1:6783"))
    );
    assert!(c[0].rtt.is_some_and(|rtt| rtt.as_millis() >= 2 && rtt.as_millis() <= 40), "{:?}", c[0].rtt);
    let peers = net.hosts[0].mesh.peers();
    assert_eq!(peers.iter().map(|p| p.name).collect::<Vec<_>>(), [zero, one], "ourselves first");
    let link = &peers[1].links[0];
    assert_eq!((link.nickname.as_str(), link.established_both_ways, link.entry.outbound), ("h1", true, true));
    assert_eq!(peers[1].program.as_deref(), Some("test"));
    let targets = net.hosts[1].mesh.targets();
    assert_eq!((targets[0].state, targets[0].peer), (ConnectionState::Established, Some(zero)));
    assert_eq!(net.hosts[0].mesh.links().count(), 1);
}

#[test]
fn a_target_that_does_not_resolve_is_retried_and_says_why() {
    let mut net = Net::with_hosts(7, 1);
    net.with(0, |mesh, now| mesh.connect(now, "no.such.host"));
    net.run(60.0);
    let c = net.hosts[0].mesh.connections(net.now);
    assert_eq!((c[0].state, c[0].address.as_str()), (ConnectionState::Retrying, "no.such.host"));
    assert_eq!(c[0].error.as_deref(), Some("no such host"));
    assert!(c[0].retry_in.is_some());
    let dials = net.hosts[0].dials.len();
    assert!((5..12).contains(&dials), "{dials} dials in a minute of 2 s, growing by half");
}

#[test]
fn a_forgotten_target_is_dialled_no_more_and_its_link_stays() {
    let mut net = Net::with_hosts(8, 2);
    let mut config = crate::harness::config(9);
    config.discovery = false;
    let lonely = net.add(config);
    net.connect(lonely, 0);
    net.run(100.0);
    let target = net.target(0);
    net.with(lonely, |mesh, _| mesh.forget(&target));
    net.run(10.0);
    assert!(net.link_between(lonely, 0).is_some());
    let dials = net.hosts[lonely].dials.len();
    net.kill(0, true);
    net.run(300.0);
    assert_eq!(net.hosts[lonely].dials.len(), dials);
    assert!(net.hosts[lonely].mesh.targets().is_empty());
}
