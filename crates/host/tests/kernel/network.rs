//! Changes of the host's network are told, once each, and those of the bridge not at all.

use std::net::Ipv4Addr;
use std::time::Duration;

use host::network::NetworkWatch;
use tokio::time::timeout;

use crate::support::Host;

#[test]
fn an_address_and_a_default_route_are_told_and_the_bridge_is_not() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add up0 type veth peer name up1 && ip link set up1 up && ip link set up0 up");
    host.sh("ip link add own0 type bridge && ip link set own0 up");
    let run = |command: &'static str| {
        std::process::Command::new("sh").args(["-c", command]).status().unwrap().success()
    };
    host.run(move || async move {
        let mut watch = NetworkWatch::start("own0").await.unwrap();
        let before = watch.network().clone();
        assert_eq!(before.gateway, None);
        assert!(run("ip addr add 10.77.0.1/24 dev own0"));
        assert!(timeout(Duration::from_secs(1), watch.changed()).await.is_err(), "its own bridge is no news");
        assert!(run("ip addr add 192.0.2.9/24 dev up0 && ip route add default via 192.0.2.1"));
        let now = timeout(Duration::from_secs(3), watch.changed()).await.unwrap().unwrap().unwrap();
        assert_eq!(now.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(now.addresses.contains(&Ipv4Addr::new(192, 0, 2, 9).into()));
        assert!(!now.addresses.contains(&Ipv4Addr::new(10, 77, 0, 1).into()));
        assert!(run("ip addr del 192.0.2.9/24 dev up0"));
        let now = timeout(Duration::from_secs(3), watch.changed()).await.unwrap().unwrap().unwrap();
        assert_eq!(*now, before);
    });
}
