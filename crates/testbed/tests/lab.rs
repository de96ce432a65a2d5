//! The lab itself: what the other tests stand on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::{Lab, Transfer, Underlay, serve_random_file};

#[test]
fn hosts_reach_each_other_and_the_world_over_both_families() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    assert!(lab.host(1).pings(&lab.host(2).address()));
    assert!(lab.host(2).pings(&lab.host(1).address6()));
    assert!(lab.host(2).pings("host1"));
    assert!(lab.host(1).pings(&lab.world().address()));
    assert!(!lab.host(1).pings("198.18.0.77"));
    assert_ne!(lab.host(1).exec(&["hostname"]).ok(), lab.host(2).exec(&["hostname"]).ok());
}

#[test]
fn every_host_has_an_engine_and_files_of_its_own() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Plain) else { return };
    let lab = lab.with_docker();
    for host in lab.hosts() {
        host.docker(&["run", "-d", "--name", "web", "web:lab"]).ok();
        host.docker(&["run", "-dti", "--name", "shell", "busybox:lab", "/bin/sh"]).ok();
        let name = host.inside("web", &["hostname"]).ok();
        let address = host.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok();
        let page = host.inside("shell", &["wget", "-q", "-O", "-", &format!("http://{address}/")]).ok();
        assert_eq!(page, name);
        assert_eq!(host.docker(&["ps", "-q"]).ok().lines().count(), 2);
        host.sh("mkdir /run/weave /var/lib/weave && touch /run/weave/weave.sock").ok();
    }
    lab.host(1).stop_docker();
    assert_eq!(lab.host(2).docker(&["ps", "-q"]).ok().lines().count(), 2);
    lab.host(1).start_docker();
    lab.host(1).docker(&["start", "web"]).ok();
}

#[test]
fn a_plain_underlay_carries_no_packet_longer_than_a_cable_would() {
    for (underlay, long) in [(Underlay::Plain, false), (Underlay::Offload, true)] {
        let Some(lab) = Lab::up_or_skip(2, underlay) else { return };
        lab.host(2).sh("head -c 1000000 /dev/zero >/run/big && busybox httpd -p 80 -h /run").ok();
        let seen = lab.host(1).capture("eth0", "tcp port 80");
        lab.host(1).sh("busybox wget -q -O /dev/null http://198.18.0.2/big").ok();
        let longest = seen.stop().iter().map(Vec::len).max().unwrap_or(0);
        assert_eq!(longest > 1514, long, "{underlay:?}: the longest packet has {longest} bytes");
    }
}

#[test]
fn on_a_merging_underlay_packets_cross_one_by_one_and_reach_the_host_as_segments() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Merging) else { return };
    lab.host(2).sh("head -c 5000000 /dev/zero >/run/big && busybox httpd -p 80 -h /run").ok();
    let (wire, host) =
        (lab.world().capture("port1", "tcp port 80"), lab.host(1).capture("eth0", "tcp port 80"));
    lab.host(1).sh("busybox wget -q -O /dev/null http://198.18.0.2/big").ok();
    let [wire, host] = [wire, host].map(|seen| seen.stop().iter().map(Vec::len).max().unwrap_or(0));
    assert!(
        wire <= 1514 && host > 1514,
        "the longest packet has {wire} bytes on the wire, {host} in the host"
    );
}

#[test]
fn a_switch_loses_as_many_packets_as_it_was_told_to_and_then_none() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    for to in [lab.host(2).address(), lab.host(2).address6()] {
        let ping = |count: &str| {
            let said = lab.host(1).exec(&["ping", "-q", "-i", "0.002", "-W", "1", "-c", count, &to]).stdout;
            let words: Vec<_> = said.split([' ', '\n']).collect();
            words
                .windows(2)
                .find(|pair| pair[1] == "received,")
                .and_then(|pair| pair[0].parse::<u64>().ok())
                .unwrap()
        };
        // While a host looks for its neighbour, and waits a second to ask again if that was lost, it keeps a few packets and drops more.
        assert_eq!(ping("1"), 1);
        let loss = lab.lose(100);
        let received = ping("300");
        let (lost, crossed) = (loss.lost(), loss.crossed());
        // Nobody sends again. Neighbours that make sure of each other may have been unlucky too.
        assert!(
            (300 - received..300 - received + 10).contains(&lost),
            "{received} came back, {lost} were lost"
        );
        // Of some 570, 57 times give or take 7.
        assert!((20..110).contains(&lost) && crossed > 500, "{lost} of {crossed} were lost");
        drop(loss);
        assert_eq!(ping("50"), 50);
    }
}

#[test]
fn a_capture_shows_plaintext_that_crosses_the_wire() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let seen = lab.host(2).capture("eth0", "icmp");
    lab.host(1).exec(&["ping", "-c", "3", "-i", "0.2", "-p", "c0ffee", "198.18.0.2"]).ok();
    let packets = seen.stop();
    assert_eq!(packets.len(), 6);
    let pattern = [0xc0, 0xff, 0xee, 0xc0, 0xff, 0xee];
    assert!(packets.iter().all(|packet| packet.windows(6).any(|bytes| bytes == pattern)));
}

#[test]
fn a_transfer_between_containers_keeps_its_checksum() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker();
    let host = lab.host(1);
    host.docker(&["run", "-d", "--name", "server", "web:lab"]).ok();
    host.docker(&["run", "-dti", "--name", "client", "busybox:lab", "sh"]).ok();
    let address = host.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"]).ok();
    let sum = serve_random_file(host, "server", 10);
    assert_eq!(Transfer::start(host, "client", &address).sum(Duration::from_secs(20)), sum);
}

#[test]
fn nothing_is_left_of_a_lab_that_was_dropped() {
    let Some(lab) = Lab::up_or_skip(1, Underlay::Offload) else { return };
    let lab = lab.with_docker();
    lab.host(1).docker(&["run", "-d", "web:lab"]).ok();
    lab.host(1).sh("sleep 1000 >/dev/null 2>&1 &").ok();
    let state = std::env::temp_dir().join(lab.name());
    let groups =
        || Command::new("find").args(["/sys/fs/cgroup", "-name", lab_name(&state)]).output().unwrap().stdout;
    assert!(state.is_dir());
    assert!(!groups().is_empty());
    drop(lab);
    assert!(!state.exists());
    assert!(groups().is_empty());
}

fn lab_name(state: &Path) -> &str {
    state.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
