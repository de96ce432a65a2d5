use crate::harness::{Net, config};
use std::time::Duration;
use wire::RefuseCode;

fn limited(seed: u64, limits: &[usize]) -> Net {
    let mut net = Net::new(seed);
    for (n, &limit) in (1..).zip(limits) {
        let mut config = config(n);
        config.conn_limit = limit;
        net.add(config);
    }
    net
}

#[test]
fn a_host_at_its_limit_refuses_further_callers_with_code_9() {
    let mut net = limited(1, &[2, 0, 0, 0]);
    for host in 1..4 {
        net.connect(host, 0);
    }
    net.run(60.0);
    assert_eq!(net.hosts[0].mesh.links().count(), 2);
    assert!(net.hosts.iter().any(|h| h.was_told(RefuseCode::LimitReached)));
    let errors = net.hosts[0].mesh.connections(net.now).into_iter().filter_map(|c| c.error);
    assert_eq!(errors.collect::<Vec<_>>(), ["this host has its 2 links already"]);
}

#[test]
fn nobody_exceeds_the_limit_by_discovery() {
    for seed in 0..20 {
        let mut net = limited(seed, &[3; 8]);
        for host in 1..8 {
            net.connect(host, host - 1);
        }
        for _ in 0..60 {
            net.run(1.0);
            for (n, host) in net.hosts.iter().enumerate() {
                assert!(host.mesh.links().count() <= 3, "seed {seed}: host {n} at {} s", net.seconds());
            }
        }
    }
}

#[test]
fn a_link_to_a_peer_that_is_linked_may_be_replaced_at_the_limit() {
    for seed in 0..100 {
        let mut net = limited(seed, &[1, 1]);
        net.latency = 1..200;
        net.connect(0, 1);
        net.connect(1, 0);
        net.run(4.0);
        assert_eq!(net.flaws(&[0, 1]), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn back_off_grows_from_2_s_to_6_minutes() {
    let mut net = Net::with_hosts(1, 2);
    net.kill(1, false);
    net.connect(0, 1);
    net.run(4.0 * 3600.0);
    let at: Vec<_> = net.hosts[0].dials.iter().map(|(at, _)| *at).collect();
    // Each try takes a second and a bit until it is known to have failed.
    let waits: Vec<f64> =
        at.windows(2).map(|w| (w[1] - w[0] - Duration::from_secs(1)).as_secs_f64()).collect();
    let mut nominal = 2.0_f64;
    for wait in &waits {
        assert!(*wait >= nominal * 0.5 && *wait <= nominal * 1.5 + 0.1, "{wait} s where {nominal} s was due");
        nominal = (nominal * 1.5).min(360.0);
    }
    assert!(waits.len() > 30);
}

#[test]
fn connecting_again_retries_at_once() {
    let mut net = Net::with_hosts(2, 2);
    net.kill(1, false);
    net.connect(0, 1);
    net.run(3600.0);
    net.restart(1);
    let dials = net.hosts[0].dials.len();
    net.connect(0, 1);
    net.run(1.0);
    assert_eq!(net.hosts[0].dials.len(), dials + 1);
    assert!(net.link_between(0, 1).is_some());
}
