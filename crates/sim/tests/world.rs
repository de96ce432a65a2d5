//! The world does what it says, and networks in it do what they must in some cases that chance seldom draws.

use std::time::Duration;

use sim::{Conditions, PeerConfig, World, truth};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Peers that all joined through the first, and agree.
fn joined(n: usize) -> World {
    let mut world = World::new(1, Conditions::default());
    world.add_started(n);
    (1..n).for_each(|peer| world.connect(peer, 0));
    world.run_for(seconds(10));
    assert_eq!(truth::agreement(&world), Ok(()));
    world
}

fn is_linked(world: &World, a: usize, b: usize) -> bool {
    truth::links(world).contains(&(a, b))
}

/// Time until something is so, to ten milliseconds.
fn until(world: &mut World, patience: Duration, is_so: impl Fn(&World) -> bool) -> Duration {
    let begin = world.elapsed();
    while !is_so(world) {
        assert!(world.elapsed() - begin < patience, "not within {patience:?}");
        world.run_for(Duration::from_millis(10));
    }
    world.elapsed() - begin
}

#[test]
fn what_is_sent_into_silence_arrives_after_it_if_the_link_lives() {
    let mut world = joined(2);
    world.silence(0, 1);
    world.silence(1, 0);
    world.run_for(seconds(4));
    let before = world.mesh(0).map(|mesh| mesh.counters().links_down);
    world.unsilence(0, 1);
    world.unsilence(1, 0);
    world.run_for(seconds(20));
    assert_eq!(world.mesh(0).map(|mesh| mesh.counters().links_down), before);
    assert!(is_linked(&world, 0, 1));
}

#[test]
fn silence_is_noticed_after_six_and_a_half_seconds_and_a_reset_at_once() {
    let mut world = joined(2);
    world.silence(0, 1);
    let noticed = |world: &World| world.mesh(1).is_some_and(|mesh| mesh.links().count() == 0);
    let time = until(&mut world, seconds(10), noticed);
    // The last thing heard was a ping or its answer, up to three seconds ago.
    assert!(time > seconds(3) && time < seconds(7), "{time:?}");

    let mut world = joined(2);
    world.block(0, 1);
    world.block(1, 0);
    world.reset(0, 1);
    let time = until(&mut world, seconds(10), noticed);
    assert!(time < Duration::from_millis(50), "{time:?}");
}

#[test]
fn a_killed_router_is_missed_at_once_and_a_host_without_power_when_it_is_silent() {
    let missed = |world: &World| world.mesh(0).is_some_and(|mesh| mesh.links().count() == 1);
    let mut world = joined(3);
    world.kill(1);
    assert!(until(&mut world, seconds(10), missed) < Duration::from_millis(50));
    let mut world = joined(3);
    world.power_off(1);
    let time = until(&mut world, seconds(10), missed);
    assert!(time > seconds(3) && time < seconds(7), "{time:?}");
}

#[test]
fn connections_are_accepted_in_a_burst_and_then_one_by_one() {
    let accept_every = Duration::from_millis(100);
    let mut world = World::new(1, Conditions { accept_burst: 4, accept_every, ..Conditions::default() });
    world.add_started(13);
    (1..13).for_each(|peer| world.connect(peer, 0));
    world.run_for(Duration::from_millis(100));
    let links = |world: &World| world.mesh(0).map_or(0, |mesh| mesh.links().count());
    assert!((4..=5).contains(&links(&world)), "{}", links(&world));
    let time = until(&mut world, seconds(5), |world| links(world) == 12);
    assert!(time > Duration::from_millis(600) && time < Duration::from_millis(900), "{time:?}");
}

#[test]
fn a_starved_peer_hears_nothing_between_its_turns() {
    let mut world = joined(2);
    world.starve(1, seconds(2), 1);
    world.run_for(seconds(3));
    world.kill(0);
    let links = |world: &World| world.mesh(1).map_or(0, |mesh| mesh.links().count());
    world.run_for(Duration::from_millis(900));
    assert_eq!(links(&world), 1);
    world.feed(1);
    assert_eq!(links(&world), 0, "what waited is heard when it has a processor again");
}

#[test]
fn two_hosts_with_one_identity_are_told_of_each_other() {
    let mut world = World::new(1, Conditions::default());
    for identity in [0, 1, 1] {
        world.add(&PeerConfig { identity, ..PeerConfig::default() });
    }
    (0..3).for_each(|peer| world.start(peer));
    (1..3).for_each(|peer| world.connect(peer, 0));
    world.run_for(seconds(30));
    let warns = |n: usize| {
        world.mesh(n).is_some_and(|mesh| mesh.warnings().iter().any(|text| text.contains("identity")))
    };
    assert!((0..3).any(warns), "nobody says so");
    assert_eq!(world.mesh(0).map(|mesh| mesh.links().count()), Some(1), "one of the two is linked");
}

#[test]
fn a_host_whose_disk_and_clock_are_both_old_says_so() {
    let mut world = joined(3);
    world.kill(1);
    world.restore_disk(1);
    world.set_clock(1, -3_600_000);
    world.start(1);
    world.run_for(seconds(20));
    let warnings = world.mesh(1).map(mesh::Mesh::warnings).unwrap_or_default();
    assert!(warnings.iter().any(|text| text.contains("clock")), "{warnings:?}");
}

#[test]
fn clocks_off_by_hours_are_no_trouble() {
    let mut world = World::new(1, Conditions::default());
    for (identity, hours) in [0, -30, 5, 30].into_iter().enumerate() {
        world.add(&PeerConfig {
            identity: identity as u64,
            clock_skew: hours * 3_600_000,
            ..PeerConfig::default()
        });
        world.start(identity);
    }
    (1..4).for_each(|peer| world.connect(peer, 0));
    world.run_for(seconds(5));
    assert_eq!(truth::belief(&world), Ok(()));
    assert_eq!(truth::links(&world).len(), 6);
    world.kill(3);
    world.start(3);
    world.run_for(seconds(10));
    assert_eq!(truth::belief(&world), Ok(()));
}

#[test]
fn a_hundred_peers_that_join_through_one_soon_agree_on_few_links() {
    let mut world = World::new(1, Conditions::default());
    world.add_started(100);
    (1..100).for_each(|peer| world.connect(peer, 0));
    let agree = |world: &World| truth::groups(world).len() == 1 && truth::agreement(world).is_ok();
    let time = until(&mut world, seconds(10), agree);
    assert!(time < seconds(5), "{time:?}");
    world.run_for(seconds(90));
    assert!(agree(&world));
    let most = (0..100).filter_map(|n| Some(world.mesh(n)?.links().count())).max();
    assert!(most.is_some_and(|most| most <= 12), "{most:?} links");
    let before = world.sent();
    world.run_for(seconds(30));
    let rate = (world.sent() - before).all().bytes / 100 / 30;
    assert!(rate < 2000, "{rate} bytes per second and peer in quiet");
}
