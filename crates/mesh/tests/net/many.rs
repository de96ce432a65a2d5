use std::collections::BTreeSet;

use topology::{RINGS, Reached, Rings};
use wire::{PeerName, RefuseCode};

use crate::harness::{Net, config};

/// How many links each host holds.
fn degrees(net: &Net) -> Vec<usize> {
    net.hosts.iter().map(|h| h.mesh.links().count()).collect()
}

/// Hosts that do not have a route to every other one that lives.
fn incomplete(net: &Net) -> Vec<usize> {
    let alive: BTreeSet<_> = net.hosts.iter().filter(|h| h.alive).map(|h| h.config.name).collect();
    let complete = |n: usize| {
        let routes: BTreeSet<_> = net.hosts[n].mesh.routes().map(|(to, _)| to).collect();
        alive.iter().all(|&name| name == net.name(n) || routes.contains(&name))
    };
    (0..net.hosts.len()).filter(|&n| net.hosts[n].alive && !complete(n)).collect()
}

fn rings(net: &Net) -> Rings {
    let mut rings = Rings::default();
    rings.update(&net.hosts.iter().filter(|h| h.alive).map(|h| h.config.name).collect::<Reached>());
    rings
}

/// Hosts of the names that a host is linked to.
fn linked(net: &Net, host: usize) -> BTreeSet<PeerName> {
    net.hosts[host].mesh.links().map(|l| l.peer).collect()
}

fn joined(seed: u64, n: u8) -> Net {
    let mut net = Net::with_hosts(seed, n);
    for host in 1..usize::from(n) {
        net.connect(host, 0);
    }
    net
}

#[test]
fn eighty_that_join_through_one_reach_each_other_within_seconds_and_then_keep_what_the_rings_say() {
    let mut net = joined(1, 80);
    net.run(3.0);
    assert_eq!(incomplete(&net), Vec::<usize>::new());
    net.run(100.0);
    let rings = rings(&net);
    for host in 0..80 {
        let wanted: BTreeSet<_> = rings.wanted(net.name(host), RINGS, |_| false).into_iter().collect();
        assert_eq!(linked(&net, host), wanted, "host {host}");
    }
    let dials: Vec<_> = net.hosts.iter().map(|h| h.dials.len()).collect();
    net.run(60.0);
    assert_eq!(net.hosts.iter().map(|h| h.dials.len()).collect::<Vec<_>>(), dials, "then there is peace");
}

#[test]
fn when_one_in_five_dies_the_others_reach_each_other_and_mend_the_rings() {
    let mut net = joined(2, 60);
    net.run(60.0);
    for host in (0..60).step_by(5) {
        net.kill(host, host % 2 == 0);
    }
    net.run(15.0);
    assert_eq!(incomplete(&net), Vec::<usize>::new());
    net.run(100.0);
    let rings = rings(&net);
    for host in (0..60).filter(|host| host % 5 != 0) {
        let wanted: BTreeSet<_> = rings.wanted(net.name(host), RINGS, |_| false).into_iter().collect();
        assert!(wanted.is_subset(&linked(&net, host)), "host {host}");
        assert_eq!(net.hosts[host].mesh.peers().len(), 48, "the dead are forgotten");
    }
}

#[test]
fn up_to_32_are_all_linked_to_each_other_also_after_they_were_more() {
    let mut net = joined(3, 33);
    net.run(90.0);
    assert!(degrees(&net).iter().all(|&d| d <= 2 * RINGS), "{:?}", degrees(&net));
    net.kill(7, true);
    net.run(60.0);
    let alive: Vec<_> = (0..33).filter(|&n| n != 7).collect();
    assert!(alive.iter().all(|&n| net.hosts[n].mesh.links().count() == 31));
}

#[test]
fn who_cannot_be_dialled_is_passed_over_and_links_that_the_others_dialled_stay() {
    let mut net = Net::new(4);
    for n in 1..=60 {
        let mut config = config(n);
        // Two in three are behind something that lets nobody in.
        config.port = if n % 3 == 1 { 6783 } else { 0 };
        net.add(config);
    }
    for host in 1..60 {
        net.connect(host, 0);
    }
    net.run(120.0);
    assert_eq!(incomplete(&net), Vec::<usize>::new());
    let degrees_before = degrees(&net);
    assert!(degrees_before.iter().all(|&d| d >= 5), "{degrees_before:?}");
    let links: Vec<_> = (0..60).map(|n| linked(&net, n)).collect();
    net.run(60.0);
    assert_eq!((0..60).map(|n| linked(&net, n)).collect::<Vec<_>>(), links, "then there is peace");
}

#[test]
fn a_hub_with_a_limit_turns_callers_away_but_lets_everyone_in() {
    for seed in 0..5 {
        let mut net = Net::new(seed);
        for n in 1..=13 {
            let mut config = config(n);
            config.conn_limit = if n == 1 { 3 } else { 0 };
            net.add(config);
        }
        for host in 1..13 {
            net.connect(host, 0);
        }
        for _ in 0..60 {
            net.run(1.0);
            assert!(net.hosts[0].mesh.links().count() <= 3, "seed {seed}");
        }
        assert_eq!(incomplete(&net), Vec::<usize>::new(), "seed {seed}");
        assert!(net.hosts.iter().any(|h| h.was_told(RefuseCode::LimitReached)), "seed {seed}");
        net.run(200.0);
        assert_eq!(incomplete(&net), Vec::<usize>::new(), "seed {seed}");
    }
}

#[test]
fn a_mesh_of_hosts_with_limits_does_not_fall_apart() {
    for seed in 0..5 {
        let mut net = Net::new(seed);
        for n in 1..=30 {
            let mut config = config(n);
            config.conn_limit = 4;
            net.add(config);
        }
        for host in 1..30 {
            net.connect(host, 0);
        }
        net.run(200.0);
        assert_eq!(incomplete(&net), Vec::<usize>::new(), "seed {seed}");
        assert!(degrees(&net).iter().all(|&d| d <= 4), "seed {seed}: {:?}", degrees(&net));
    }
}

#[test]
fn a_peer_that_cannot_be_linked_is_reached_through_another_and_status_says_why() {
    let mut net = Net::with_hosts(5, 3);
    net.cut(&[1], &[2]);
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(60.0);
    let (zero, one, two) = (net.name(0), net.name(1), net.name(2));
    assert_eq!(net.hosts[1].mesh.route(two), Some(&[zero, two][..]));
    assert_eq!(net.hosts[2].mesh.route(one), Some(&[zero, one][..]));
    let expected = mesh::Unlinked { peer: two, via: zero, trouble: "no answer".into() };
    assert_eq!(net.hosts[1].mesh.unlinked(), [expected]);
    assert_eq!(net.hosts[0].mesh.unlinked(), []);
    net.heal();
    net.run(400.0);
    assert_eq!(net.hosts[1].mesh.route(two), Some(&[two][..]), "a link is the route");
    assert_eq!(net.hosts[1].mesh.unlinked(), []);
}

#[test]
fn along_a_chain_there_are_routes_and_trees_and_none_once_it_is_cut() {
    let mut net = Net::new(6);
    for n in 1..=4 {
        net.add(mesh::MeshConfig { discovery: false, ..config(n) });
    }
    for host in 1..4 {
        net.connect(host, host - 1);
    }
    net.run(5.0);
    let names: Vec<_> = (0..4).map(|n| net.name(n)).collect();
    assert_eq!(net.hosts[0].mesh.route(names[3]), Some(&names[1..]));
    assert_eq!(net.hosts[1].mesh.routes().count(), 3);
    let both: BTreeSet<_> = [names[0], names[2]].into();
    assert_eq!(net.hosts[1].mesh.children(names[1]).into_iter().collect::<BTreeSet<_>>(), both);
    assert_eq!(net.hosts[1].mesh.children(names[0]), [names[2]]);
    assert_eq!(net.hosts[3].mesh.children(names[0]), []);
    let stranger = crate::harness::identity(99).name();
    let all = net.hosts[1].mesh.children(stranger).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(all, both, "of a stranger to everyone");
    net.kill(2, true);
    net.run(0.05);
    assert_eq!(net.hosts[1].mesh.route(names[3]), None, "the next survey comes at once");
    assert_eq!(net.hosts[1].mesh.children(names[0]), []);
}

#[test]
fn a_link_that_frames_go_by_is_closed_only_when_there_are_keys_that_do_not_need_it() {
    let mut net = joined(5, 60);
    net.run(3.0);
    let (hub, rings) = (net.name(0), rings(&net));
    let is_needed = |net: &Net, n| rings.wanted(net.name(n), RINGS, |_| false).contains(&hub);
    let unneeded: Vec<_> =
        (1..60).filter(|&n| linked(&net, n).contains(&hub) && !is_needed(&net, n)).collect();
    let (busy, quiet) = unneeded.split_at(unneeded.len() / 2);
    assert!(busy.len() > 5 && quiet.len() > 5);
    let mut open: BTreeSet<_> = unneeded.iter().copied().collect();
    for _ in 0..60 {
        for &n in busy {
            net.with(n, |mesh, now| {
                if let Some(link) = mesh.link_of(hub) {
                    mesh.handle_activity(now, link);
                }
            });
        }
        net.run(1.0);
        for n in open.clone().into_iter().filter(|&n| !linked(&net, n).contains(&hub)) {
            open.remove(&n);
            let keys = net.hosts[n].mesh.session_count();
            assert_eq!(keys, usize::from(busy.contains(&n)), "host {n}");
        }
    }
    assert_eq!(open, BTreeSet::new());
}

#[test]
fn who_loses_all_its_neighbours_at_once_finds_others_while_it_remembers_them() {
    for seed in 0..4 {
        let mut net = joined(seed, 60);
        net.run(90.0);
        let lonely = (30..60).find(|&n| !linked(&net, n).contains(&net.name(0))).unwrap();
        let lost: Vec<_> = (0..60).filter(|&n| linked(&net, lonely).contains(&net.name(n))).collect();
        assert!(lost.len() >= 5, "seed {seed}");
        net.cut(&[lonely], &lost);
        // Nor does it reach its target.
        net.cut(&[lonely], &[0]);
        let dials = net.hosts[lonely].dials.len();
        net.run(20.0);
        let left = lost.iter().filter(|&&n| linked(&net, lonely).contains(&net.name(n))).count();
        assert!(left == 0 && net.hosts[lonely].mesh.links().count() > 0, "seed {seed}");
        let dials = net.hosts[lonely].dials.len() - dials;
        assert!(dials < 100, "seed {seed}: {dials} dials");
        assert_eq!(incomplete(&net), Vec::<usize>::new(), "seed {seed}");
    }
}
