//! After a reset the host is as if weave had never been there.

use testbed::{Host, Lab, Underlay};

#[test]
fn reset_of_a_running_router_leaves_nothing() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    let before = traits(host);
    let name = used(host);
    host.weave(&["reset"]).ok();
    assert_same(&traits(host), &before);
    assert_ne!(host.launch(&[]), name, "the identity is a new one");
    let known = host.weave(&["ps"]).ok();
    assert_eq!(known.split_whitespace().count(), 2, "only the host itself, without addresses: {known}");
    assert_eq!(host.weave(&["status", "targets"]).ok(), "");
}

#[test]
fn reset_by_force_removes_what_a_killed_router_has_left() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let host = lab.host(1);
    let before = traits(host);
    used(host);
    host.kill_router();
    host.weave(&["reset"]).fails_with(1);
    for _again in 0..2 {
        host.weave(&["reset", "--force"]).ok();
        assert_same(&traits(host), &before);
    }
}

/// Makes weave leave every kind of trace there is; gives the peer name.
fn used(host: &Host) -> String {
    let name = host.launch(&[]);
    host.run_shell("box", "10.9.0.1/24");
    host.weave(&["expose", "10.9.0.100/24"]).ok();
    host.weave(&["connect", "198.18.0.254"]).ok();
    assert!(host.pings("10.9.0.1"));
    host.docker(&["rm", "-f", "box"]).ok();
    host.run_shell("other", "10.9.0.2/24");
    host.docker(&["rm", "-f", "other"]).ok();
    name
}

/// Everything of the host that weave could have changed. What comes and goes with Docker's own containers, such as
/// carriers and counters, is left out.
fn traits(host: &Host) -> Vec<String> {
    // ip6tables makes its table when it is first used. Empty, that one may stay.
    let all = host.sh("ip6tables -A FORWARD -j ACCEPT; ip6tables -D FORWARD -j ACCEPT;
         ip -o link | cut -d: -f2 | sort; ip -4 -o addr; ip route | sed 's/ linkdown//'; nft -s list ruleset;
         iptables-save | sed '/^#/d; s/\\[.*\\]//'; ip6tables-save | sed '/^#/d; s/\\[.*\\]//';
         sysctl -a 2>/dev/null | grep -e ip_forward -e bridge-nf; ls -A /var/lib/weave /run/weave 2>&1");
    all.stdout.lines().map(|line| line.trim().to_owned()).collect()
}

#[track_caller]
fn assert_same(after: &[String], before: &[String]) {
    let more: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    let less: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    assert!(more.is_empty() && less.is_empty(), "left behind: {more:#?}; gone: {less:#?}");
}
