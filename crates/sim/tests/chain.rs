//! Peers in a line: as long as routes may be (P6.1), and longer.

use std::time::Duration;

use packet::Mac;
use sim::{Conditions, PeerConfig, World, truth};

/// Peers of which each can be linked to the one before it and the one behind it only, and that are.
fn line(n: usize) -> World {
    let mut world = World::new(1, Conditions::default());
    world.carry_frames_too();
    for identity in 0..n as u64 {
        world.add(&PeerConfig { identity, ..PeerConfig::default() });
    }
    for a in 0..n {
        for b in (0..n).filter(|b| a.abs_diff(*b) > 1) {
            world.block(a, b);
        }
    }
    (0..n).for_each(|peer| world.start(peer));
    (1..n).for_each(|peer| world.connect(peer, peer - 1));
    world.run_for(Duration::from_secs(30));
    assert_eq!(truth::links(&world), (1..n).map(|peer| (peer - 1, peer)).collect());
    world
}

/// Sends a frame and gives those whose bridges it reached, each as often as it did.
fn reached(world: &mut World, from: usize, to: Mac) -> Vec<usize> {
    let number = world.send_frame(from, to);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.violation(), None);
    world.got(number)
}

#[test]
fn the_ends_of_a_line_of_thirteen_reach_each_other_and_nothing_is_delivered_twice() {
    let mut world = line(13);
    assert_eq!(truth::agreement(&world), Ok(()));
    let (first, last) = (world.peers()[0].name(), world.peers()[12].name());
    assert_eq!(world.mesh(0).unwrap().route(last).unwrap().len(), 12);
    assert_eq!(world.mesh(12).unwrap().route(first).unwrap().len(), 12);
    // By these everyone learns where the addresses of both ends are.
    assert_eq!(reached(&mut world, 0, Mac::BROADCAST), (1..13).collect::<Vec<_>>());
    assert_eq!(reached(&mut world, 12, Mac::BROADCAST), (0..12).collect::<Vec<_>>());
    for (from, to) in [(0, 12), (12, 0), (0, 12), (6, 0)] {
        let before = world.frames_carried();
        assert_eq!(reached(&mut world, from, World::mac(to)), [to]);
        assert_eq!(
            world.frames_carried() - before,
            from.abs_diff(to) as u64,
            "once over each link in between"
        );
    }
}

#[test]
fn what_is_for_a_peer_too_far_away_goes_nowhere_and_what_is_for_everyone_goes_everywhere() {
    let mut world = line(18);
    let last = world.peers()[17].name();
    assert_eq!(world.mesh(0).unwrap().route(last), None);
    assert!(world.mesh(0).unwrap().warnings().iter().any(|text| text.contains("hops away")));
    assert_eq!(reached(&mut world, 17, Mac::BROADCAST), (0..17).collect::<Vec<_>>());
    assert_eq!(reached(&mut world, 0, Mac::BROADCAST), (1..18).collect::<Vec<_>>());
    // It is known where that address is, so the frame is no flood.
    let before = world.frames_carried();
    assert_eq!(reached(&mut world, 0, World::mac(17)), Vec::<usize>::new());
    assert_eq!(world.frames_carried(), before);
    assert_eq!(reached(&mut world, 2, World::mac(17)), [17], "fifteen hops");
}
