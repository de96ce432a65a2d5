//! Nothing is left.

use host::expose::expose;
use host::firewall::FirewallState;
use host::tap::Tap;
use host::wipe::reset;
use host::{docker_forward, firewall};

use crate::support::{BRIDGE, Host, MTU, attached, networks};

const TAP: &str = "vethwe-bridge";

#[test]
fn reset_leaves_nothing_and_may_be_repeated() {
    let Some(host) = Host::new() else { return };
    let links = host.sh("ip -o link show");
    let rules = host.sh("nft list ruleset");
    host.run(|| async { host::bridge::ensure_bridge(&crate::support::spec()).await.unwrap() });
    let (a, b) = (host.container(true), host.container(true));
    attached(&host, &a, "aaa", &["10.1.1.1/24"]);
    attached(&host, &b, "bbb", &["10.1.1.2/24"]);
    host.sh("ip link set vethweplbbb nomaster");
    host.run(|| async {
        let tap = Tap::open(TAP, BRIDGE, MTU).await.unwrap();
        expose(BRIDGE, networks(&["10.1.1.100/24"])[0]).await.unwrap();
        let state = FirewallState {
            bridge: BRIDGE.to_owned(),
            exposed: networks(&["10.1.1.100/24"]),
            router_port: 6783,
            further_ports: Vec::new(),
        };
        firewall::apply(&state).await.unwrap();
        docker_forward::ensure(&state).await.unwrap();
        // Also while the router still reads the device.
        reset(BRIDGE, TAP).await.unwrap();
        reset(BRIDGE, TAP).await.unwrap();
        drop(tap);
    });
    assert_eq!(host.sh("ip -o link show"), links);
    assert!(!a.try_sh("ip link show dev ethwe") && !b.try_sh("ip link show dev ethwe"));
    let left = host.sh("nft list ruleset");
    assert!(!left.to_lowercase().contains("weave"), "{left}");
    assert!(!rules.contains("weave"));
}

#[test]
fn reset_goes_on_after_an_error_and_reports_it() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add weave type veth peer name vethweplaaa");
    host.run(|| async {
        firewall::apply(&FirewallState {
            bridge: BRIDGE.to_owned(),
            exposed: Vec::new(),
            router_port: 6783,
            further_ports: Vec::new(),
        })
        .await
        .unwrap();
        let errors = reset(BRIDGE, TAP).await.unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(!firewall::present(BRIDGE).await.unwrap());
    });
    assert!(!host.try_sh("ip link show dev vethweplaaa"));
}
