//! How facts spread over many links, what that costs, and how peers are removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh::{Counters, RemoveError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::{Message, PeerName};

use crate::facts::fact;
use crate::harness::Net;

impl Net {
    fn fingerprints(&self) -> BTreeSet<u64> {
        self.hosts.iter().filter(|h| h.alive).map(|h| h.mesh.fingerprint()).collect()
    }

    /// What all hosts counted together.
    fn counted(&self, what: impl Fn(&Counters) -> u64) -> u64 {
        self.hosts.iter().map(|h| what(&h.mesh.counters())).sum()
    }

    fn links(&self) -> u64 {
        self.hosts.iter().map(|h| h.mesh.links().count() as u64).sum::<u64>() / 2
    }

    fn knows(&self, host: usize, peer: PeerName) -> bool {
        self.hosts[host].mesh.peers().iter().any(|p| p.name == peer)
    }
}

/// This many hosts that joined through the first, and have been at rest for a while.
fn joined(seed: u64, hosts: u8) -> Net {
    let mut net = Net::with_hosts(seed, hosts);
    for host in 1..hosts {
        net.connect(host.into(), 0);
    }
    net.run(90.0);
    assert_eq!(net.fingerprints().len(), 1);
    net
}

#[test]
fn a_link_that_is_lost_among_sixty_peers_costs_200_bytes_for_each_link_and_all_agree_within_2_s() {
    let mut net = joined(1, 60);
    let links = net.links();
    assert!(links > 200, "{links} links");
    let (bytes, news) = (net.counted(|c| c.gossip_bytes), net.counted(|c| c.facts_new));
    let (a, b) = (0..60)
        .flat_map(|a| (a + 1..60).map(move |b| (a, b)))
        .find(|&(a, b)| net.link_between(a, b).is_some())
        .unwrap();
    net.cut(&[a], &[b]);
    // The two ends notice after 6.5 s; while a fact is under way some have it and others have not.
    while net.fingerprints().len() == 1 {
        net.run(0.05);
        assert!(net.seconds() < 110.0, "nobody noticed");
    }
    let noticed = net.seconds();
    while net.fingerprints().len() > 1 {
        net.run(0.05);
    }
    assert!(net.seconds() - noticed < 2.0, "{} s", net.seconds() - noticed);
    net.run(2.0);
    // The ends look for others to be linked to instead: these are changes too. A change is two facts.
    let changes = (net.counted(|c| c.facts_new) - news).div_ceil(2 * 59);
    let bytes = net.counted(|c| c.gossip_bytes) - bytes;
    assert!(
        changes >= 1 && bytes <= 200 * links * changes,
        "{bytes} bytes, {links} links, {changes} changes"
    );
}

#[test]
fn at_rest_gossip_takes_next_to_nothing() {
    let mut net = joined(2, 40);
    let bytes = net.counted(|c| c.gossip_bytes);
    net.run(60.0);
    let each = (net.counted(|c| c.gossip_bytes) - bytes) / 40 / 60;
    assert!(each < 50, "{each} bytes a second for each peer");
}

#[test]
fn whatever_is_told_to_whom_in_whatever_order_and_however_often_all_hold_the_same_in_the_end() {
    for seed in 0..20 {
        let mut rng = StdRng::from_seed([seed; 32]);
        let mut net = joined(seed.into(), 6);
        let mut newest = [0; 4];
        let mut told: Vec<Arc<[u8]>> = Vec::new();
        for _ in 0..40 {
            let (of, counter) = (rng.random_range(0..4_u8), rng.random_range(1..20_u64));
            newest[usize::from(of)] = counter.max(newest[usize::from(of)]);
            told.push(fact(100 + of, 4711, (1, counter), &[of]));
            let again = told[rng.random_range(0..told.len())].clone();
            for fact in [told[told.len() - 1].clone(), again] {
                let to = rng.random_range(1..6);
                net.inject(0, to, Message::Facts(vec![fact]));
            }
            net.run(rng.random_range(0.0..0.3));
        }
        net.run(3.0);
        assert_eq!(net.fingerprints().len(), 1, "seed {seed}");
    }
}

#[test]
fn a_peer_that_is_removed_is_gone_everywhere_at_once_and_back_with_its_next_start() {
    let mut net = joined(3, 6);
    let dead = net.name(5);
    let last_words = fact(6, 4711, (1, 99), b"hearsay");
    net.kill(5, true);
    // Its place in the tree is to be mended before everyone knows.
    net.run(2.0);
    assert!((0..5).all(|host| net.knows(host, dead)));
    assert_eq!(net.with(2, |mesh, now| mesh.remove_peer(now, dead)), Ok(true));
    net.run(1.0);
    for host in 0..5 {
        assert!(!net.knows(host, dead) && net.hosts[host].gone.contains(&dead), "host {host}");
    }
    assert_eq!(
        net.with(2, |mesh, now| mesh.remove_peer(now, dead)),
        Ok(false),
        "to do it again does no harm"
    );
    assert_eq!(net.with(4, |mesh, now| mesh.remove_peer(now, dead)), Ok(false));
    net.inject(0, 1, Message::Facts(vec![last_words]));
    net.run(300.0);
    assert!((0..5).all(|host| !net.knows(host, dead)));
    assert_eq!(net.hosts[1].mesh.counters().facts_removed, 1);
    assert!((0..5).all(|host| net.hosts[host].gone.iter().filter(|&&name| name == dead).count() == 1));
    net.restart(5);
    net.connect(5, 0);
    net.run(5.0);
    assert!((0..5).all(|host| net.knows(host, dead)));
    assert_eq!(net.fingerprints().len(), 1);
}

#[test]
fn a_removal_is_forgotten_after_ten_minutes() {
    let mut net = joined(4, 3);
    let dead = net.name(2);
    net.kill(2, true);
    net.run(2.0);
    net.with(0, |mesh, now| mesh.remove_peer(now, dead)).unwrap();
    net.run(595.0);
    net.inject(0, 1, Message::Facts(vec![fact(3, 4711, (1, 98), b"early")]));
    net.run(1.0);
    assert!(!net.knows(1, dead));
    net.run(10.0);
    net.inject(0, 1, Message::Facts(vec![fact(3, 4711, (1, 99), b"late")]));
    net.run(1.0);
    assert!(net.knows(1, dead), "the statement stands no more");
}

#[test]
fn who_runs_is_not_removed() {
    let mut net = joined(5, 3);
    let (own, other) = (net.name(0), net.name(2));
    assert_eq!(net.with(0, |mesh, now| mesh.remove_peer(now, own)), Err(RemoveError::Oneself));
    assert_eq!(net.with(0, |mesh, now| mesh.remove_peer(now, other)), Err(RemoveError::Linked(own)));
    // Nobody who says otherwise is believed.
    let mut payload = other.bytes().to_vec();
    payload.extend(u64::MAX.to_be_bytes());
    net.inject(0, 1, Message::Facts(vec![fact(1, 4, (9, 9), &payload)]));
    net.run(30.0);
    assert_eq!(net.flaws(&[1, 2]).iter().filter(|flaw| flaw.contains("not linked")).count(), 0);
    assert!(net.knows(1, other) && net.knows(0, other));
}

#[test]
fn who_is_linked_only_to_others_is_not_removed_either() {
    let mut net = Net::new(6);
    for n in 1..=3 {
        let mut config = crate::harness::config(n);
        config.discovery = false;
        net.add(config);
    }
    net.connect(0, 1);
    net.connect(1, 2);
    net.run(5.0);
    let (by, far) = (net.name(1), net.name(2));
    assert_eq!(net.with(0, |mesh, now| mesh.remove_peer(now, far)), Err(RemoveError::Linked(by)));
    net.run(5.0);
    assert!(net.knows(0, far));
}
