use std::sync::Arc;

use crate::harness::{Net, identity};
use wire::{Digest, Fact, FactKind, Message, PeerFact};

/// A fact that the identity number `n` signs.
pub(crate) fn fact(n: u8, kind: u16, version: (u64, u64), payload: &[u8]) -> Arc<[u8]> {
    let who = identity(n);
    let mut fact = Fact {
        origin: who.name(),
        public_key: who.public_key(),
        kind: FactKind(kind),
        incarnation: version.0,
        counter: version.1,
        payload: payload.to_vec(),
        signature: [0; 64],
    };
    fact.signature = who.sign(&fact.signed_bytes());
    let mut bytes = Vec::new();
    fact.encode(&mut bytes);
    bytes.into()
}

fn chain(seed: u64) -> Net {
    let mut net = Net::new(seed);
    for n in 1..=3 {
        let mut config = crate::harness::config(n);
        config.discovery = false;
        net.add(config);
    }
    net.connect(0, 1);
    net.connect(1, 2);
    net.run(5.0);
    net
}

/// Everything a host holds, taken out by a digest that lacks everything.
fn held(net: &mut Net, host: usize) -> Vec<Arc<[u8]>> {
    let mesh = &mut net.hosts[host].mesh;
    let link = mesh.links().next().expect("a link").link;
    mesh.handle_message(
        net.now,
        link,
        Message::Digest(Digest::Lines { answer: false, buckets: u64::MAX, lines: Vec::new() }),
    );
    let mut facts = Vec::new();
    while let Some(action) = mesh.poll_action() {
        if let mesh::Action::Send { message: Message::Facts(some), .. } = action {
            facts.extend(some);
        }
    }
    facts
}

#[test]
fn a_fact_of_an_unknown_kind_reaches_everyone_byte_for_byte_and_once() {
    let mut net = chain(1);
    let bytes = fact(1, 4711, (1, 1), b"from a later version");
    let before: Vec<_> = net.hosts.iter().map(|h| h.mesh.counters()).collect();
    net.inject(0, 1, Message::Facts(vec![bytes.clone()]));
    net.run(1.0);
    assert!(held(&mut net, 2).contains(&bytes));
    let after = net.hosts[2].mesh.counters();
    assert_eq!((after.facts_new - before[2].facts_new, after.facts_stale - before[2].facts_stale), (1, 0));
    net.inject(0, 1, Message::Facts(vec![bytes]));
    net.run(1.0);
    assert_eq!(net.hosts[2].mesh.counters(), after, "what is heard again goes no further");
    assert_eq!(net.hosts[1].mesh.counters().facts_stale, before[1].facts_stale + 1);
}

#[test]
fn a_forged_fact_goes_no_further() {
    let mut net = chain(2);
    let mut forged = fact(
        1,
        1,
        (9, 9),
        &PeerFact {
            nickname: "evil".into(),
            uid: 1,
            port: 1,
            program: None,
            udp_port: None,
            ..PeerFact::default()
        }
        .encode(),
    );
    let last = forged.len() - 1;
    Arc::make_mut(&mut forged)[last] ^= 1;
    net.inject(0, 1, Message::Facts(vec![forged, [1, 2, 3].into(), vec![0; 70_000].into()]));
    net.run(1.0);
    let c = net.hosts[1].mesh.counters();
    assert_eq!((c.facts_forged, c.facts_malformed, c.facts_oversized), (1, 1, 1));
    assert!(net.hosts.iter().all(|h| h.mesh.peers().iter().all(|p| p.nickname != "evil")));
}

#[test]
fn one_bad_fact_does_not_keep_the_good_ones_of_a_message_from_entering() {
    let mut net = chain(3);
    let good = fact(1, 4711, (1, 1), b"good");
    net.inject(0, 1, Message::Facts(vec![[0; 10].into(), good.clone(), [0; 200].into()]));
    net.run(1.0);
    assert!(held(&mut net, 2).contains(&good));
}

#[test]
fn a_fact_that_was_lost_is_repaired_by_a_digest() {
    let mut net = chain(4);
    // Host 1 has a fact that it never sent to host 2: the link between them looks up, and nothing passes.
    net.cut(&[1], &[2]);
    let bytes = fact(1, 4711, (1, 1), b"lost");
    net.inject(0, 1, Message::Facts(vec![bytes.clone()]));
    net.run(1.0);
    assert!(!held(&mut net, 2).contains(&bytes));
    net.heal();
    net.run(120.0);
    assert!(held(&mut net, 2).contains(&bytes));
}

#[test]
fn a_peer_that_restarts_replaces_what_it_said() {
    let mut net = Net::with_hosts(5, 3);
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(5.0);
    let before = net.hosts[1].mesh.peers().iter().find(|p| p.nickname == "h3").unwrap().uid;
    net.kill(2, true);
    net.run(0.5);
    net.hosts[2].config.nickname = "renamed".into();
    net.restart(2);
    net.connect(2, 0);
    net.run(5.0);
    assert_eq!(net.flaws(&[0, 1, 2]), Vec::<String>::new());
    let peers = net.hosts[1].mesh.peers();
    let after = peers.iter().find(|p| p.name == net.name(2)).unwrap();
    assert_eq!((after.nickname.as_str(), after.uid), ("renamed", Some(net.hosts[2].config.uid)));
    assert_ne!(after.uid, before);
}

#[test]
fn random_messages_from_a_neighbour_neither_panic_nor_stall() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in 0..200_u8 {
        let mut rng = StdRng::from_seed([seed; 32]);
        let mut net = chain(seed.into());
        for _ in 0..20 {
            let mut bytes =
                fact(1 + seed % 3, rng.random_range(0..5), (rng.random_range(0..4), rng.random()), b"\x80");
            let at = rng.random_range(0..bytes.len());
            Arc::make_mut(&mut bytes)[at] ^= u8::from(rng.random_bool(0.5));
            let message = match rng.random_range(0..5) {
                0 => Message::Ping(rng.random()),
                1 => Message::Pong(rng.random()),
                2 => Message::Digest(Digest::Lines {
                    answer: rng.random(),
                    buckets: rng.random(),
                    lines: Vec::new(),
                }),
                _ => Message::Facts(vec![bytes]),
            };
            net.inject(0, 1, message);
            net.run(rng.random_range(0.0..2.0));
        }
        net.run(100.0);
        assert!(net.link_between(0, 1).is_some() && net.link_between(1, 2).is_some(), "seed {seed}");
    }
}
