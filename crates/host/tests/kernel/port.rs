//! Containers' ports.

use host::HostError;
use host::port::{PortFacts, detach, inspect};
use ipnetwork::IpNetwork;

use crate::support::{Container, Host, attached, networks, try_attach, wait_until};

fn taken(host: &Host, container: &Container, addresses: &[&str]) -> Vec<IpNetwork> {
    let (pid, addresses) = (container.pid(), networks(addresses));
    host.run(|| async move { detach(pid, &addresses).await.unwrap() })
}

fn facts(host: &Host, container: &Container) -> Option<PortFacts> {
    let pid = container.pid();
    host.run(|| async move { inspect(pid).await.unwrap() })
}

#[test]
fn two_attached_containers_reach_each_other_at_once() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "aaa", &["10.1.1.1/24"]);
    attached(&host, &b, "bbb", &["10.1.1.2/24"]);
    assert!(a.pings("10.1.1.2"));
    assert!(b.pings("10.1.1.1"));
}

#[test]
fn containers_of_different_subnets_do_not_reach_each_other() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "aaa", &["10.1.1.1/24"]);
    attached(&host, &b, "bbb", &["10.1.2.1/24"]);
    assert!(!a.pings("10.1.2.1"));
}

#[test]
fn a_port_has_the_wanted_names_mtu_and_broadcast_address() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    let id = "4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c";
    let made = attached(&host, &container, id, &["10.1.1.1/24"]);
    assert_eq!(made.mac[0] & 0b11, 0b10, "locally administered, unicast");
    let outer = host.sh("ip -d link show dev vethwepl4d5e6f7");
    for part in ["mtu 1400", "master weave", "UP", id, "hairpin off"] {
        assert!(outer.contains(part), "no `{part}` in {outer}");
    }
    let inner = container.sh("ip address show dev ethwe");
    for part in ["mtu 1400", "UP", "inet 10.1.1.1/24 brd 10.1.1.255 scope global ethwe"] {
        assert!(inner.contains(part), "no `{part}` in {inner}");
    }
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/vethwepl4d5e6f7/disable_ipv6").trim(), "1");
}

#[test]
fn attaching_again_changes_nothing_and_more_addresses_keep_the_mac() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    let first = attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    let again = attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    let more = attached(&host, &container, "ct1", &["10.1.1.1/24", "10.1.2.1/24", "fd00::1/64"]);
    assert_eq!(first.added, networks(&["10.1.1.1/24"]));
    assert!(again.added.is_empty());
    assert_eq!(more.added, networks(&["10.1.2.1/24", "fd00::1/64"]));
    assert_eq!((first.mac, first.mac), (again.mac, more.mac));
    let facts = facts(&host, &container).unwrap();
    assert_eq!(facts.mac, first.mac);
    let mut addresses = facts.addresses;
    addresses.sort();
    assert_eq!(addresses, networks(&["10.1.1.1/24", "10.1.2.1/24", "fd00::1/64"]));
}

#[test]
fn ipv6_works_in_a_container_where_docker_turned_it_off() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    for container in [&a, &b] {
        container.run(|| {
            for key in ["all", "default"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{key}/disable_ipv6"), "1").unwrap();
            }
        });
    }
    attached(&host, &a, "aaa", &["fd00::1/64"]);
    attached(&host, &b, "bbb", &["fd00::2/64"]);
    // Duplicate address detection takes a second.
    wait_until("IPv6 answers", || a.pings("fd00::2"));
}

#[test]
fn multicast_leaves_through_the_overlay_unless_the_container_routes_it_elsewhere() {
    let Some(host) = Host::with_bridge() else { return };
    let (free, decided) = (host.container(true), host.container(true));
    decided.sh("ip link add eth0 type veth peer name eth1 && ip link set eth0 up && ip link set eth1 up");
    decided.sh("ip route add 224.0.0.0/4 dev eth0");
    for (container, id) in [(&free, "aaa"), (&decided, "bbb")] {
        attached(&host, container, id, &["10.1.1.1/24"]);
        attached(&host, container, id, &["10.1.1.1/24"]);
    }
    assert!(free.sh("ip route show 224.0.0.0/4").contains("dev ethwe"));
    assert_eq!(decided.sh("ip route show 224.0.0.0/4").trim(), "224.0.0.0/4 dev eth0 scope link");
}

#[test]
fn neighbours_learn_at_once_when_an_address_moves_to_another_container() {
    let Some(host) = Host::with_bridge() else { return };
    let (old, new, neighbour) = (host.container(true), host.container(true), host.container(true));
    attached(&host, &old, "aaa", &["10.1.1.1/24"]);
    attached(&host, &new, "bbb", &["10.1.1.2/24"]);
    attached(&host, &neighbour, "ccc", &["10.1.1.3/24"]);
    assert!(neighbour.pings("10.1.1.1"));
    taken(&host, &old, &["10.1.1.1/24"]);
    let port = attached(&host, &new, "bbb", &["10.1.1.1/24"]);
    let mac = port.mac.map(|byte| format!("{byte:02x}")).join(":");
    wait_until("the neighbour knows the new owner", || neighbour.sh("ip neigh show 10.1.1.1").contains(&mac));
    assert!(neighbour.pings("10.1.1.1"));
}

#[test]
fn detaching_returns_what_was_there_and_may_be_repeated() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24", "10.1.2.1/24"]);
    assert_eq!(taken(&host, &container, &["10.1.1.1/24", "10.9.9.9/24"]), networks(&["10.1.1.1/24"]));
    assert!(taken(&host, &container, &["10.1.1.1/24"]).is_empty());
    assert_eq!(facts(&host, &container).unwrap().addresses, networks(&["10.1.2.1/24"]));
}

#[test]
fn the_port_goes_with_its_last_address() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    assert_eq!(taken(&host, &container, &["10.1.1.1/24"]).len(), 1);
    assert!(!container.try_sh("ip link show dev ethwe"));
    assert!(!host.try_sh("ip link show dev vethweplct1"));
    assert_eq!(facts(&host, &container), None);
    assert!(taken(&host, &container, &["10.1.1.1/24"]).is_empty());
}

#[test]
fn the_other_addresses_of_a_subnet_survive_the_loss_of_the_first() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24", "10.1.1.2/24", "10.1.1.3/24"]);
    container.run(|| {
        for key in ["all", "ethwe"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{key}/promote_secondaries"), "0").unwrap();
        }
    });
    taken(&host, &container, &["10.1.1.1/24"]);
    let mut left = facts(&host, &container).unwrap().addresses;
    left.sort();
    assert_eq!(left, networks(&["10.1.1.2/24", "10.1.1.3/24"]));
}

#[test]
fn a_container_can_be_attached_again_after_it_was_detached() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "aaa", &["10.1.1.1/24"]);
    attached(&host, &b, "bbb", &["10.1.1.2/24"]);
    for _ in 0..3 {
        taken(&host, &a, &["10.1.1.1/24"]);
        attached(&host, &a, "aaa", &["10.1.1.1/24"]);
        assert!(a.pings("10.1.1.2"));
    }
}

#[test]
fn a_restarted_container_gets_its_port_again_while_the_old_one_is_still_going() {
    let Some(host) = Host::with_bridge() else { return };
    let first = host.container(true);
    attached(&host, &first, "ct1", &["10.1.1.1/24"]);
    // The first one lives on, so that its port is certainly still there.
    let second = host.container(true);
    let port = attached(&host, &second, "ct1", &["10.1.1.1/24"]);
    assert_eq!(port.added, networks(&["10.1.1.1/24"]));
    assert!(!first.try_sh("ip link show dev ethwe"));
}

#[test]
fn a_container_whose_id_begins_like_anothers_does_not_take_its_port() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "1234567aaa", &["10.1.1.1/24"]);
    let error = try_attach(&host, &b, "1234567bbb", &["10.1.1.2/24"]).unwrap_err();
    assert!(matches!(&error, HostError::PortTaken { owner, .. } if owner == "1234567aaa"), "{error:?}");
    assert!(a.try_sh("ip link show dev ethwe"));
    assert!(!b.try_sh("ip link show dev ethwe"));
}

#[test]
fn a_container_that_shares_the_hosts_network_is_refused() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(false);
    let error = try_attach(&host, &container, "ct1", &["10.1.1.1/24"]).unwrap_err();
    assert!(matches!(error, HostError::HostNetwork { .. }), "{error:?}");
    assert!(!host.try_sh("ip link show dev ethwe"));
    let pid = container.pid();
    let error = host.run(|| async move { detach(pid, &[]).await.unwrap_err() });
    assert!(matches!(error, HostError::HostNetwork { .. }), "{error:?}");
}

#[test]
fn an_interface_of_our_name_that_someone_else_made_is_left_alone() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    container.sh("ip link add ethwe type veth peer name other");
    let error = try_attach(&host, &container, "ct1", &["10.1.1.1/24"]).unwrap_err();
    assert!(matches!(error, HostError::ForeignInterface { .. }), "{error:?}");
    assert!(!container.sh("ip address show dev ethwe").contains("10.1.1.1"));
}

#[test]
fn an_attachment_that_fails_half_way_leaves_nothing_behind() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    // The kernel refuses a multicast address as an interface's own.
    let error = try_attach(&host, &container, "ct1", &["10.1.1.1/24", "ff02::1/64"]).unwrap_err();
    assert!(matches!(error, HostError::Netlink { .. }), "{error:?}");
    assert!(!container.try_sh("ip link show dev ethwe"));
    assert!(!host.try_sh("ip link show dev vethweplct1"));
}

#[test]
fn a_further_address_that_fails_leaves_the_port_as_it_was() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    try_attach(&host, &container, "ct1", &["10.1.2.1/24", "ff02::1/64"]).unwrap_err();
    assert_eq!(facts(&host, &container).unwrap().addresses, networks(&["10.1.1.1/24"]));
}

#[test]
fn attaching_without_a_bridge_names_the_bridge() {
    let Some(host) = Host::new() else { return };
    let container = host.container(true);
    let error = try_attach(&host, &container, "ct1", &["10.1.1.1/24"]).unwrap_err();
    assert!(matches!(&error, HostError::NoInterface { name } if name == "weave"), "{error:?}");
    assert!(!container.try_sh("ip link show dev ethwe"));
}

#[test]
fn a_port_that_was_taken_off_the_bridge_is_put_back() {
    let Some(host) = Host::with_bridge() else { return };
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "aaa", &["10.1.1.1/24"]);
    attached(&host, &b, "bbb", &["10.1.1.2/24"]);
    host.sh("ip link set vethweplaaa nomaster down");
    assert!(!a.pings("10.1.1.2"));
    assert!(attached(&host, &a, "aaa", &["10.1.1.1/24"]).added.is_empty());
    // Questions for the neighbour's address that were asked in vain are repeated once a second.
    wait_until("frames pass again", || a.pings("10.1.1.2"));
}
