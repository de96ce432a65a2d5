//! The host's own addresses on the bridge, and what routes it has.

use std::net::IpAddr;

use host::HostError;
use host::addresses::{own_addresses, route_overlap};
use host::expose::{expose, exposed, hide};

use crate::support::{BRIDGE, Host, attached, networks};

#[test]
fn an_exposed_host_and_its_containers_reach_each_other_until_it_hides() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    let address = networks(&["10.1.1.100/24"])[0];
    assert!(!host.try_sh("ping -c 1 -W 1 10.1.1.1"));
    assert!(host.run(|| async { expose(BRIDGE, address).await.unwrap() }));
    assert!(host.try_sh("ping -c 1 -W 1 10.1.1.1"));
    assert!(container.pings("10.1.1.100"));
    assert!(host.run(|| async { hide(BRIDGE, address).await.unwrap() }));
    assert!(!host.try_sh("ping -c 1 -W 1 10.1.1.1"));
}

#[test]
fn exposing_and_hiding_may_be_repeated() {
    let Some(host) = Host::with_bridge() else { return };
    let addresses = networks(&["10.1.1.100/24", "fd00::100/64"]);
    host.run(|| async {
        for address in &addresses {
            assert!(expose(BRIDGE, *address).await.unwrap());
            assert!(!expose(BRIDGE, *address).await.unwrap());
        }
        assert_eq!(exposed(BRIDGE).await.unwrap(), addresses);
        for address in &addresses {
            assert!(hide(BRIDGE, *address).await.unwrap());
            assert!(!hide(BRIDGE, *address).await.unwrap());
        }
        assert!(exposed(BRIDGE).await.unwrap().is_empty());
    });
}

#[test]
fn exposing_lets_the_host_forward_packets() {
    let Some(host) = Host::with_bridge() else { return };
    host.run(|| async { std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap() });
    host.run(|| async { expose(BRIDGE, networks(&["10.1.1.100/24"])[0]).await.unwrap() });
    assert_eq!(
        host.run(|| async { std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap() }),
        "1\n"
    );
}

#[test]
fn without_a_bridge_there_is_nothing_to_hide_and_nothing_to_expose_on() {
    let Some(host) = Host::new() else { return };
    let address = networks(&["10.1.1.100/24"])[0];
    host.run(|| async {
        assert!(!hide(BRIDGE, address).await.unwrap());
        assert!(exposed(BRIDGE).await.unwrap().is_empty());
        let error = expose(BRIDGE, address).await.unwrap_err();
        assert!(matches!(error, HostError::NoInterface { .. }), "{error:?}");
    });
}

#[test]
fn own_addresses_are_those_that_others_can_use() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add eth0 type veth peer name eth1 && ip link set eth0 up && ip link set eth1 up");
    host.sh("ip address add 192.0.2.7/24 dev eth0 && ip address add 2001:db8::7/64 dev eth0 nodad");
    let mut own = host.run(|| async { own_addresses().await.unwrap() });
    own.sort();
    assert_eq!(own, ["192.0.2.7".parse::<IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
}

#[test]
fn a_subnet_that_the_host_routes_elsewhere_is_noticed() {
    let Some(host) = Host::with_bridge() else { return };
    host.sh("ip link add eth0 type veth peer name eth1 && ip link set eth0 up && ip link set eth1 up");
    host.sh("ip address add 10.1.0.1/16 dev eth0 && ip route add default via 10.1.0.254");
    host.run(|| async {
        expose(BRIDGE, networks(&["10.2.1.1/24"])[0]).await.unwrap();
        let check = async |subnet: &str| route_overlap(networks(&[subnet])[0], BRIDGE).await.unwrap();
        let overlap = check("10.1.7.0/24").await.unwrap();
        assert_eq!(overlap.to_string(), "route 10.1.0.0/16 through eth0");
        assert!(check("10.0.0.0/8").await.is_some());
        assert_eq!(check("10.2.1.0/24").await, None, "a route through the bridge");
        assert_eq!(check("192.168.0.0/16").await, None, "only the default route");
        assert_eq!(check("fd00::/8").await, None);
    });
}
