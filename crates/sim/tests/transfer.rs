//! Hosts with network stacks of their own transfer data by TCP through the network.

#![expect(clippy::unwrap_used, reason = "what is unexpected fails the test")]

use std::time::Duration;

use packet::Mac;
use sim::{Conditions, HostConfig, PeerConfig, World, truth};

/// Bytes that are transferred.
const LENGTH: usize = 300_000;

/// A network in which only these pairs can be linked.
fn network(n: usize, linked: &[(usize, usize)], frame_loss: u32) -> World {
    // Less than a frame takes on the line: this stack makes a loss of what comes out of order.
    let jitter = Duration::from_micros(5);
    let mut world = World::new(1, Conditions { frame_loss, jitter, ..Conditions::default() });
    world.carry_frames_too();
    for number in 0..n {
        world.add(&PeerConfig { identity: number as u64, ..PeerConfig::default() });
    }
    for a in 0..n {
        for b in (0..n).filter(|&b| a != b && !linked.contains(&(a.min(b), a.max(b)))) {
            world.block(a, b);
        }
    }
    (0..n).for_each(|peer| world.start(peer));
    linked.iter().for_each(|&(a, b)| world.connect(b, a));
    world.run_for(Duration::from_secs(10) + Duration::from_secs(1) * n as u32);
    assert_eq!(truth::agreement(&world), Ok(()));
    assert_eq!(truth::links(&world), linked.iter().copied().collect());
    world
}

fn host(world: &mut World, peer: usize) -> (usize, u8) {
    let number = peer as u8 + 1;
    (world.add_host(peer, &HostConfig { mac: Mac([2, 0xc0, 0, 0, 0, number]), number }), number)
}

/// The byte at this place of what is sent.
const fn byte(at: usize) -> u8 {
    (at ^ (at >> 8)) as u8
}

/// Transfers from a host behind one peer to one behind another; gives the time it took. `meanwhile` is called once, when half is there.
fn transfer(world: &mut World, from: usize, to: usize, meanwhile: impl FnOnce(&mut World)) -> Duration {
    let ((client, _), (server, address)) = (host(world, from), host(world, to));
    world.with_host(server, |host| host.tcp().listen(80)).unwrap();
    let begin = world.elapsed();
    world.with_host(client, |host| host.connect(address)).unwrap();
    let (mut sent, mut got, mut meanwhile) = (0, 0, Some(meanwhile));
    while got < LENGTH {
        assert!(
            world.elapsed() - begin < Duration::from_secs(120),
            "{got} of {LENGTH} bytes after two minutes"
        );
        assert_eq!(world.violation(), None);
        world.run_for(Duration::from_millis(5));
        sent += world.with_host(client, |host| {
            let socket = host.tcp();
            let chunk: Vec<_> = (sent..LENGTH.min(sent + 16_384)).map(byte).collect();
            if socket.can_send() { socket.send_slice(&chunk).unwrap() } else { 0 }
        });
        got += world.with_host(server, |host| {
            let socket = host.tcp();
            if !socket.can_recv() {
                return 0;
            }
            socket
                .recv(|data| {
                    assert!(
                        data.iter().enumerate().all(|(i, &b)| b == byte(got + i)),
                        "wrong bytes after {got}"
                    );
                    (data.len(), data.len())
                })
                .unwrap()
        });
        if got > LENGTH / 2
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile(world);
        }
    }
    world.elapsed() - begin
}

#[test]
fn tcp_crosses_a_chain_of_three_links() {
    let mut world = network(4, &[(0, 1), (1, 2), (2, 3)], 0);
    transfer(&mut world, 0, 3, |_| {});
    let names: Vec<_> = (1..4).map(|n| world.peers()[n].name()).collect();
    assert_eq!(world.mesh(0).unwrap().route(names[2]), Some(&names[..]));
}

#[test]
fn tcp_crosses_a_chain_that_loses_one_frame_in_a_hundred() {
    let mut world = network(4, &[(0, 1), (1, 2), (2, 3)], 10_000);
    transfer(&mut world, 0, 3, |_| {});
}

#[test]
fn tcp_goes_on_when_a_relay_dies_and_another_is_there() {
    let mut world = network(4, &[(0, 1), (0, 2), (1, 3), (2, 3)], 0);
    let far = world.peers()[3].name();
    let relay = |world: &World| world.number(world.mesh(0).unwrap().route(far).unwrap()[0]).unwrap();
    let first = relay(&world);
    transfer(&mut world, 0, 3, |world| world.kill(first));
    assert_eq!(relay(&world), 3 - first, "the other one");
}

#[test]
fn tcp_goes_on_when_a_link_falls_silent_and_there_is_another_way() {
    let mut world = network(4, &[(0, 1), (0, 2), (1, 3), (2, 3)], 1_000);
    let far = world.peers()[3].name();
    let relay = |world: &World| world.number(world.mesh(0).unwrap().route(far).unwrap()[0]).unwrap();
    let first = relay(&world);
    transfer(&mut world, 0, 3, |world| {
        world.silence(0, first);
        world.silence(first, 0);
    });
    assert_eq!(relay(&world), 3 - first, "the other one");
}
