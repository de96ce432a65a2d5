use std::time::Duration;

use crate::harness::Net;
use mesh::DialTo;
use wire::RefuseCode;

fn full(seed: u64, n: u8) -> Net {
    let mut net = Net::with_hosts(seed, n);
    for host in 1..usize::from(n) {
        net.connect(host, 0);
    }
    net.run(90.0);
    net
}

#[test]
fn a_silent_link_is_closed_after_6_5_s_with_code_12() {
    let mut net = full(1, 2);
    let conn = net.link_between(0, 1);
    assert!(conn.is_some());
    net.cut(&[0], &[1]);
    // What was heard last was heard at most 3 s before the cut, and at the latest a latency after it.
    net.run(3.4);
    assert_eq!(net.link_between(0, 1), conn);
    net.run(3.2);
    assert_eq!(net.link_between(0, 1), None);
    assert_eq!(net.hosts[0].mesh.counters().links_silent, 1);
}

#[test]
fn a_young_link_that_fell_silent_is_dialled_again_at_once_by_both_ends_and_then_with_back_off() {
    for seed in 0..10 {
        let mut net = Net::with_hosts(seed, 2);
        net.connect(1, 0);
        net.run(10.0);
        net.cut(&[0], &[1]);
        net.run(6.6);
        assert_eq!(net.link_between(0, 1), None);
        let fell_silent = net.now;
        net.run(20.0);
        for host in [0, 1] {
            let dials: Vec<_> = net.hosts[host].dials.iter().map(|&(at, _)| at).collect();
            let first = dials.iter().position(|&at| at + Duration::from_secs(4) > fell_silent).unwrap();
            // Who has the greater name leaves the other half a second.
            assert!(dials[first] < fell_silent + Duration::from_millis(600), "seed {seed}: {dials:?}");
            let next = dials.get(first + 1).copied();
            assert!(
                next.is_none_or(|next| next > dials[first] + Duration::from_secs(1)),
                "seed {seed}: {dials:?}"
            );
        }
    }
}

#[test]
fn an_idle_link_that_works_is_never_closed() {
    let mut net = full(2, 3);
    let links: Vec<_> = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| net.link_between(a, b)).into();
    net.run(24.0 * 3600.0);
    assert_eq!([(0, 1), (0, 2), (1, 2)].map(|(a, b)| net.link_between(a, b)).to_vec(), links);
}

#[test]
fn a_partition_of_more_than_60_s_forgets_the_other_side_and_healing_brings_it_back() {
    let mut net = full(3, 5);
    net.cut(&[0, 1], &[2, 3, 4]);
    net.run(50.0);
    assert_eq!(net.hosts[0].mesh.peers().len(), 5, "not yet");
    net.run(40.0);
    assert_eq!(net.flaws(&[0, 1]), Vec::<String>::new());
    assert_eq!(net.flaws(&[2, 3, 4]), Vec::<String>::new());
    for (host, gone) in [(0, vec![2, 3, 4]), (4, vec![0, 1])] {
        let mut told = net.hosts[host].gone.clone();
        told.sort_unstable();
        let mut gone: Vec<_> = gone.into_iter().map(|h| net.name(h)).collect();
        gone.sort_unstable();
        assert_eq!(told, gone);
    }
    net.heal();
    // Those on one side have host 0 as their target.
    net.run(120.0);
    assert_eq!(net.flaws(&[0, 1, 2, 3, 4]), Vec::<String>::new());
}

#[test]
fn a_short_partition_heals_within_seconds_and_forgets_nobody() {
    for seed in 0..20 {
        let mut net = full(seed, 4);
        net.cut(&[0, 1], &[2, 3]);
        net.run(20.0);
        net.heal();
        net.run(40.0);
        assert_eq!(net.flaws(&[0, 1, 2, 3]), Vec::<String>::new(), "seed {seed}");
        assert!(net.hosts.iter().all(|h| h.gone.is_empty()), "seed {seed}");
    }
}

#[test]
fn neighbours_find_each_other_again_after_an_outage_though_their_only_target_is_dead() {
    for seed in 0..20 {
        let mut net = full(seed, 3);
        net.kill(0, false);
        net.run(100.0);
        assert_eq!(net.flaws(&[1, 2]), Vec::<String>::new(), "seed {seed}");
        net.cut(&[1], &[2]);
        net.run(25.0);
        assert_eq!(net.link_between(1, 2), None);
        net.heal();
        net.run(30.0);
        assert!(net.link_between(1, 2).is_some(), "seed {seed}");
    }
}

#[test]
fn a_dead_peer_is_forgotten_everywhere_and_never_comes_back_by_hearsay() {
    for seed in 0..10 {
        let mut net = full(seed, 6);
        let dead = net.name(5);
        net.kill(5, false);
        net.run(20.0);
        // Newcomers ask for all that is known while the dead one is still remembered.
        for n in 20..26 {
            let late = net.add(crate::harness::config(n));
            net.connect(late, usize::from(n) % 5);
            net.run(9.0);
        }
        net.run(20.0);
        for (n, host) in net.hosts.iter().enumerate().filter(|&(n, _)| n != 5) {
            assert!(host.mesh.peers().iter().all(|p| p.name != dead), "seed {seed}: host {n} remembers");
        }
        let everyone_else: Vec<_> = (0..12).filter(|&n| n != 5).collect();
        assert_eq!(net.flaws(&everyone_else), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_discovered_peer_that_died_is_not_dialled_for_ever_and_a_target_is() {
    let mut net = full(5, 3);
    net.kill(0, true);
    net.kill(2, true);
    net.run(3600.0);
    let late = net.hosts[1].dials.iter().filter(|(at, _)| (net.now - *at).as_secs() < 1800);
    let (targets, addresses): (Vec<_>, Vec<_>) = late.partition(|(_, to)| matches!(to, DialTo::Target(_)));
    assert!(!targets.is_empty());
    assert!(addresses.is_empty(), "{addresses:?}");
}

#[test]
fn a_killed_peer_is_linked_again_at_once_when_it_is_back() {
    for seed in 0..20 {
        let mut net = full(seed, 4);
        net.kill(3, true);
        net.run(2.0);
        net.restart(3);
        net.connect(3, 1);
        net.run(5.0);
        assert_eq!(net.flaws(&[0, 1, 2, 3]), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_peer_that_says_it_shuts_down_is_not_pestered_by_those_who_only_heard_of_it() {
    let mut net = full(6, 3);
    let goodbye = wire::Refuse::new(RefuseCode::ShuttingDown, "the router stops");
    let before = net.hosts[1].dials.len();
    net.inject(2, 1, wire::Message::Refuse(goodbye));
    net.kill(2, true);
    net.run(50.0);
    assert_eq!(net.hosts[1].dials.len(), before);
}

#[test]
fn random_kills_and_cuts_always_end_in_a_full_mesh() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in 0..60_u8 {
        let mut rng = StdRng::from_seed([seed; 32]);
        let mut net = full(seed.into(), 5);
        for _ in 0..6 {
            let (a, b) = (rng.random_range(0..5), rng.random_range(1..5));
            match rng.random_range(0..4) {
                0 => net.cut(&[a], &(0..5).filter(|&h| h != a).collect::<Vec<_>>()),
                1 => net.heal(),
                2 => {
                    net.kill(b, rng.random());
                    net.run(rng.random_range(0.0..5.0));
                    net.restart(b);
                    net.connect(b, 0);
                }
                _ => net.cut(&[a], &[b]),
            }
            net.run(rng.random_range(0.0..30.0));
        }
        net.heal();
        net.run(900.0);
        assert_eq!(net.flaws(&[0, 1, 2, 3, 4]), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn whoever_took_over_the_address_of_another_peer_is_refused_with_code_11() {
    let mut net = full(7, 3);
    net.kill(2, true);
    let address = net.hosts[2].address;
    let other = net.add(crate::harness::config(9));
    net.hosts[other].address = address;
    net.run(30.0);
    assert!(net.hosts[other].was_told(RefuseCode::WrongPeer));
    assert_eq!(net.hosts[other].mesh.links().count(), 0);
}
