//! The bridge.

use host::HostError;
use host::bridge::{BridgeSpec, ensure_bridge, hairpin_on, remove_bridge};

use crate::support::{BRIDGE, BRIDGE_MAC, Host, attached, spec};

fn details(host: &Host) -> String {
    // Without the bridge's timers, which run.
    host.sh("ip -d link show dev weave | sed 's/[a-z_]*_timer *[0-9.]*//g'")
}

#[test]
fn a_bridge_is_a_plain_switch_with_the_address_and_mtu_it_was_given() {
    let Some(host) = Host::with_bridge() else { return };
    let details = details(&host);
    for part in
        ["02:11:22:33:44:55", "mtu 1400", "UP", "forward_delay 0 ", "stp_state 0 ", "mcast_snooping 0 "]
    {
        assert!(details.contains(part), "no `{part}` in {details}");
    }
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/weave/accept_ra").trim(), "0");
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/weave/disable_ipv6").trim(), "0");
}

#[test]
fn a_bridge_that_is_right_stays_as_it_is() {
    let Some(host) = Host::with_bridge() else { return };
    let before = details(&host);
    host.run(|| async { ensure_bridge(&spec()).await.unwrap() });
    assert_eq!(details(&host), before);
}

#[test]
fn a_bridge_that_someone_changed_is_put_right_again() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add weave type bridge stp_state 1 forward_delay 1500 mcast_snooping 1");
    host.run(|| async { ensure_bridge(&spec()).await.unwrap() });
    let details = details(&host);
    for part in
        ["02:11:22:33:44:55", "mtu 1400", "UP", "forward_delay 0 ", "stp_state 0 ", "mcast_snooping 0 "]
    {
        assert!(details.contains(part), "no `{part}` in {details}");
    }
}

#[test]
fn another_mtu_takes_effect_on_a_bridge_that_exists() {
    let Some(host) = Host::with_bridge() else { return };
    host.run(|| async { ensure_bridge(&BridgeSpec { mtu: 8900, ..spec() }).await.unwrap() });
    assert!(details(&host).contains("mtu 8900"));
}

#[test]
fn an_interface_of_another_kind_with_the_bridges_name_is_left_alone() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add weave type veth peer name other");
    let before = details(&host);
    let (made, removed) = host.run(|| async { (ensure_bridge(&spec()).await, remove_bridge(BRIDGE).await) });
    for result in [made, removed] {
        let error = result.unwrap_err();
        assert!(matches!(error, HostError::NotABridge { .. }), "{error:?}");
        assert!(error.to_string().contains("ip link delete weave"), "{error}");
    }
    assert_eq!(details(&host), before);
}

#[test]
fn impossible_bridges_are_refused_and_leave_nothing_behind() {
    let Some(host) = Host::new() else { return };
    let multicast = [0x03, 0x11, 0x22, 0x33, 0x44, 0x55];
    host.run(|| async {
        let long =
            ensure_bridge(&BridgeSpec { name: "a-name-that-is-too-long", ..spec() }).await.unwrap_err();
        assert!(matches!(long, HostError::InterfaceName { .. }), "{long:?}");
        let small = ensure_bridge(&BridgeSpec { mtu: 67, ..spec() }).await.unwrap_err();
        assert!(matches!(small, HostError::Mtu { mtu: 67, min: 68, max: 65535 }), "{small:?}");
        let group = ensure_bridge(&BridgeSpec { mac: multicast, ..spec() }).await.unwrap_err();
        assert!(matches!(group, HostError::Netlink { .. }), "{group:?}");
    });
    assert!(!host.try_sh("ip link show dev weave"));
}

#[test]
fn removing_a_bridge_takes_the_containers_ports_along_and_is_repeatable() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    host.sh("ip link add foreign type veth peer name foreign2 && ip link set foreign master weave");
    host.run(|| async {
        remove_bridge(BRIDGE).await.unwrap();
        remove_bridge(BRIDGE).await.unwrap();
    });
    let links = host.sh("ip -o link show");
    assert!(!links.contains("weave") && !links.contains("vethwepl"), "{links}");
    assert!(links.contains("foreign"), "{links}");
    assert!(!container.try_sh("ip link show dev ethwe"));
}

#[test]
fn hairpin_mode_switched_on_by_someone_else_is_noticed() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    let hairpin = || host.run(|| async { hairpin_on(BRIDGE, "vethweplct1").await.unwrap() });
    assert!(!hairpin());
    host.sh("ip link set vethweplct1 type bridge_slave hairpin on");
    assert!(hairpin());
    attached(&host, &container, "ct1", &[]);
    assert!(!hairpin());
}

#[test]
fn hairpin_mode_of_what_is_not_a_port_is_an_error() {
    let Some(host) = Host::with_bridge() else { return };
    host.sh("ip link add other type veth peer name other2");
    for port in ["other", "absent"] {
        let error = host.run(|| async move { hairpin_on(BRIDGE, port).await.unwrap_err() });
        assert!(matches!(error, HostError::NotAPort { .. }), "{error:?}");
    }
}

#[test]
fn the_bridge_keeps_its_address_when_ports_come() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    let mac = BRIDGE_MAC.map(|byte| format!("{byte:02x}")).join(":");
    assert!(details(&host).contains(&mac));
}
