use crate::harness::Net;

#[test]
fn two_that_dial_each_other_at_once_keep_exactly_one_link_in_any_order_of_events() {
    for seed in 0..500 {
        let mut net = Net::with_hosts(seed, 2);
        net.latency = 1..200;
        net.connect(0, 1);
        net.connect(1, 0);
        net.run(4.0);
        assert_eq!(net.flaws(&[0, 1]), Vec::<String>::new(), "seed {seed}");
        let conn = net.link_between(0, 1);
        net.run(120.0);
        assert_eq!(net.link_between(0, 1), conn, "seed {seed}: the link that stays goes on staying");
    }
}

#[test]
fn four_that_all_dial_each_other_keep_one_link_for_each_pair() {
    for seed in 0..200 {
        let mut net = Net::with_hosts(seed, 4);
        net.latency = 1..400;
        for a in 0..4 {
            for b in (0..4).filter(|&b| b != a) {
                net.connect(a, b);
            }
        }
        net.run(20.0);
        assert_eq!(net.flaws(&[0, 1, 2, 3]), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn two_targets_that_are_one_host_share_one_link() {
    let mut net = Net::with_hosts(1, 2);
    net.connect(1, 0);
    net.with(1, |mesh, now| mesh.connect(now, "[::ffff:10.0.0.1]:6783"));
    net.hosts[0].address = "10.0.0.1:6783".parse().unwrap();
    net.run(1.0);
    net.connect(0, 1);
    net.run(100.0);
    assert_eq!(net.flaws(&[0, 1]), Vec::<String>::new());
}
