use crate::harness::{Net, config};
use mesh::ConnectionState;
use wire::{PeerName, RefuseCode, Uid};

/// A host with the identity of number `n`, copied.
fn copy_of(n: u8) -> mesh::MeshConfig {
    let mut copy = config(n);
    copy.uid = Uid(77_777);
    copy.incarnation = 5;
    copy.nickname = "copy".into();
    copy.seed = [200; 32];
    copy
}

fn warns(net: &Net, host: usize, text: &str) -> bool {
    net.hosts[host].mesh.warnings().iter().any(|w| w.contains(text))
}

#[test]
fn a_copied_identity_is_refused_with_code_6_and_everyone_is_told() {
    let mut net = Net::with_hosts(1, 3);
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(5.0);
    let link = net.link_between(0, 1);
    let copy = net.add(copy_of(2));
    net.connect(copy, 0);
    net.run(30.0);
    assert!(net.hosts[copy].was_told(RefuseCode::IdentityInUse));
    assert_eq!(net.link_between(0, 1), link, "the first one keeps its link");
    assert!(net.hosts[copy].mesh.links().next().is_none());
    let cure = "delete the file `identity` in its state directory";
    for host in [0, 1, 2, copy] {
        assert!(warns(&net, host, cure), "host {host}: {:?}", net.hosts[host].mesh.warnings());
    }
    assert!(warns(&net, 1, "runs with this host's identity"), "{:?}", net.hosts[1].mesh.warnings());
    assert!(warns(&net, 0, "10.0.0.4"), "it says where the other one is");
    let c = net.hosts[copy].mesh.connections(net.now);
    assert_eq!(c[0].state, ConnectionState::Retrying);
    assert!(net.hosts[0].mesh.connections(net.now).iter().any(|c| c.error.is_some() && !c.outbound));
}

#[test]
fn a_copied_identity_is_a_thing_of_the_past_ten_minutes_after_the_copy_went() {
    let mut net = Net::with_hosts(2, 2);
    net.connect(1, 0);
    net.run(5.0);
    let copy = net.add(copy_of(2));
    net.connect(copy, 0);
    net.run(30.0);
    assert!(warns(&net, 0, "share the identity") && warns(&net, 1, "this host's identity"));
    net.kill(copy, true);
    net.run(650.0);
    for host in [0, 1] {
        assert_eq!(net.hosts[host].mesh.warnings(), Vec::<String>::new());
        assert_eq!(net.hosts[host].mesh.connections(net.now).len(), 1);
    }
}

#[test]
fn two_with_one_identity_that_meet_are_both_told() {
    let mut net = Net::with_hosts(3, 1);
    let copy = net.add(copy_of(1));
    net.connect(copy, 0);
    net.run(5.0);
    let error = net.hosts[copy].mesh.connections(net.now)[0].error.clone();
    assert!(error.is_some_and(|e| e.contains("this host's identity")), "the target says it too");
    for host in [0, copy] {
        assert!(warns(&net, host, "runs with this host's identity"), "host {host}");
        assert!(net.hosts[host].mesh.links().next().is_none());
    }
}

#[test]
fn copies_that_joined_at_different_places_learn_of_each_other_and_do_not_fight() {
    let mut net = Net::with_hosts(4, 3);
    net.connect(1, 0);
    let copy = net.add(copy_of(2));
    net.connect(copy, 2);
    net.run(5.0);
    net.connect(2, 0);
    net.run(30.0);
    assert!(warns(&net, 1, "delete the file `identity`"), "{:?}", net.hosts[1].mesh.warnings());
    let before = net.hosts[0].mesh.counters();
    net.run(60.0);
    let after = net.hosts[0].mesh.counters();
    assert!(
        after.facts_new - before.facts_new < 20,
        "{} new facts in a minute",
        after.facts_new - before.facts_new
    );
}

#[test]
fn a_restart_that_nobody_noticed_is_let_in_within_seconds_and_is_no_copy() {
    for seed in 0..50 {
        let mut net = Net::with_hosts(seed, 2);
        net.connect(1, 0);
        net.run(5.0);
        net.kill(1, false);
        net.restart(1);
        net.connect(1, 0);
        net.run(12.0);
        assert_eq!(net.flaws(&[0, 1]), Vec::<String>::new(), "seed {seed}");
        for host in &net.hosts {
            assert_eq!(host.mesh.warnings(), Vec::<String>::new(), "seed {seed}");
        }
    }
}

#[test]
fn dialling_oneself_is_found_out_and_ends_there() {
    let mut net = Net::with_hosts(5, 1);
    net.connect(0, 0);
    net.run(600.0);
    let target = &net.hosts[0].mesh.targets()[0];
    assert_eq!(
        (target.state, target.error.as_deref()),
        (ConnectionState::Failed, Some("is this host itself"))
    );
    assert_eq!(net.hosts[0].dials.len(), 1);
    assert_eq!(net.hosts[0].mesh.links().count(), 0);
    assert_eq!(net.hosts[0].mesh.connections(net.now).len(), 1);
    assert_eq!(net.hosts[0].mesh.warnings(), Vec::<String>::new());
    net.connect(0, 0);
    net.run(1.0);
    assert_eq!(net.hosts[0].dials.len(), 2, "asking again tries again");
}

#[test]
fn a_name_that_another_key_holds_is_refused_with_code_5() {
    let mut net = Net::with_hosts(6, 2);
    let name = PeerName::new([2, 0, 0, 0, 0, 1]);
    for n in [3, 4] {
        let mut config = config(n);
        config.name = name;
        net.add(config);
    }
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(5.0);
    // Host 1 is linked with it, host 0 too; the second one of that name tries both.
    net.connect(3, 0);
    net.run(30.0);
    assert!(net.hosts[3].was_told(RefuseCode::NameCollision));
    assert_eq!(net.flaws(&[0, 1, 2]), Vec::<String>::new());
    assert!(warns(&net, 0, "also claimed with another key"), "{:?}", net.hosts[0].mesh.warnings());
    assert_eq!(net.hosts[3].dials.len(), 1, "refused for good: the longest wait");
    assert_eq!(net.hosts[3].mesh.connections(net.now)[0].state, ConnectionState::Failed);
}

#[test]
fn a_name_is_free_again_once_its_holder_is_forgotten() {
    let mut net = Net::with_hosts(7, 2);
    let name = PeerName::new([2, 0, 0, 0, 0, 1]);
    for n in [3, 4] {
        let mut config = config(n);
        config.name = name;
        net.add(config);
    }
    net.connect(1, 0);
    net.connect(2, 0);
    net.run(5.0);
    net.kill(2, true);
    net.run(65.0);
    net.connect(3, 0);
    net.run(5.0);
    assert_eq!(net.flaws(&[0, 1, 3]), Vec::<String>::new());
}

#[test]
fn a_name_that_follows_from_a_key_goes_back_to_it_as_soon_as_the_squatter_is_not_linked() {
    let mut net = Net::with_hosts(8, 1);
    let mut squatter = config(3);
    squatter.name = config(4).name;
    let squatter = net.add(squatter);
    let rightful = net.add(config(4));
    net.connect(squatter, 0);
    net.run(5.0);
    net.connect(rightful, 0);
    net.run(5.0);
    assert!(net.hosts[rightful].was_told(RefuseCode::NameCollision));
    net.kill(squatter, true);
    net.run(1.0);
    net.connect(rightful, 0);
    net.run(1.0);
    assert_eq!(net.flaws(&[0, rightful]), Vec::<String>::new());
}
