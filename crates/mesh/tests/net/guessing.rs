//! Two peers whose NATs leave no direct path agree to guess ports (P6.7): what facts have to do with it.

use std::net::SocketAddr;

use mesh::Guess;
use wire::Mapping;

use crate::harness::{Net, config};

/// 1 and 3 are linked to everyone; 0 and 2 can only dial, have keys with each other, and state these mappings.
fn hidden(mappings: [Mapping; 2]) -> Net {
    let mut net = Net::new(1);
    for n in 1..=4 {
        let mut config = config(n);
        if n % 2 == 1 {
            config.port = 0;
        }
        net.add(config);
    }
    for host in [0, 2] {
        net.connect(host, 1);
        net.connect(host, 3);
    }
    net.run(10.0);
    for _ in 0..15 {
        for (host, mapping) in [0, 2].into_iter().zip(mappings) {
            net.with(host, |mesh, now| mesh.set_mapping(now, mapping));
        }
        net.run(1.0);
    }
    let to = net.name(2);
    net.with(0, |mesh, now| mesh.want_session(now, to));
    net.run(2.0);
    for host in [0, 2] {
        let peer = net.name(host);
        let seen = net.hosts[1].mesh.links().find(|link| link.peer == peer).unwrap().address.ip();
        net.with(host, |mesh, _| {
            mesh.set_guessing(true);
            mesh.set_seen_at([40_000, 50_000].map(|port| SocketAddr::new(seen, port)));
        });
    }
    net
}

/// As the daemon does while frames go through others.
fn want(net: &mut Net, seconds: u32) -> [Vec<Guess>; 2] {
    let mut asked = [Vec::new(), Vec::new()];
    for _ in 0..seconds {
        for (host, other) in [(0, 2), (2, 0)] {
            let peer = net.name(other);
            net.with(host, |mesh, now| {
                mesh.session_used(now, peer);
                mesh.want_guess(now, peer);
            });
        }
        net.run(1.0);
        for (asked, host) in asked.iter_mut().zip([0, 2]) {
            asked.extend(std::iter::from_fn(|| net.hosts[host].mesh.poll_guess()));
        }
    }
    asked
}

#[test]
fn the_end_with_the_dependent_mapping_opens_and_the_other_guesses() {
    for turned in [false, true] {
        let mut mappings = [Mapping::Dependent, Mapping::Independent];
        if turned {
            mappings.reverse();
        }
        let mut net = hidden(mappings);
        let mut asked = want(&mut net, 20);
        if turned {
            asked.reverse();
        }
        let opened =
            asked[0].iter().filter(|guess| matches!(guess, Guess::Open(_, to) if to.port() == 40_000));
        assert_eq!(opened.count(), 256);
        let tried = asked[1].iter().filter(|guess| matches!(guess, Guess::Try(..))).count();
        assert!(tried >= 1000, "{tried}");
        let at = |host: usize| (&net.hosts[host].mesh, net.name(2 - host));
        for (mesh, peer) in [at(0), at(2)] {
            assert!(mesh.guessing(net.now, peer).is_some_and(|words| words.starts_with("guessing ports: ")));
        }
    }
}

#[test]
fn with_other_nats_nobody_guesses() {
    for mappings in [
        [Mapping::Dependent, Mapping::Dependent],
        [Mapping::Independent, Mapping::Independent],
        [Mapping::Dependent, Mapping::Unknown],
    ] {
        let mut net = hidden(mappings);
        assert_eq!(want(&mut net, 5), [vec![], vec![]], "{mappings:?}");
    }
}
