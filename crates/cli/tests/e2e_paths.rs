//! Which way frames take, why, and that all of them take it: unicast, broadcast and multicast.

use std::time::Duration;

use testbed::{Host, Lab, Underlay, eventually};

/// A silent path is distrusted after 6.5 s, and a better one is tried every 3 s (P4.9).
const CHANGE: Duration = Duration::from_secs(15);

#[test]
fn frames_move_to_tls_when_udp_is_blocked_and_back_when_it_is_not() {
    let Some(lab) = joined(2, &[]) else { return };
    let (host1, host2) = (lab.host(1), lab.host(2));
    for host in lab.hosts() {
        host.await_peers(2, "udp");
    }

    host2.sh("nft add table inet block; nft add chain inet block in '{ type filter hook input priority -10; }'").ok();
    host2.sh("nft add rule inet block in udp dport 6783 drop").ok();
    // Traffic goes on meanwhile; what is lost while nobody can know is a few pings.
    let pings = host1.inside("box", &["ping", "-c", "100", "-i", "0.1", "-q", "10.9.0.2"]);
    for host in lab.hosts() {
        host.await_peers(2, "tls");
        assert!(reason(host).contains("no answer to UDP probes"), "{}", reason(host));
        assert!(host.container_pings("box", &format!("10.9.0.{}", 3 - host.number())));
    }
    let received = received(&pings.stdout);
    assert!(received >= 30, "of 100 pings {received} were answered: {pings}");

    host2.sh("nft delete table inet block").ok();
    for host in lab.hosts() {
        eventually("UDP is taken up again", CHANGE, || {
            let status = host.weave(&["status", "connections"]).ok();
            if status.contains(" udp ") { Ok(()) } else { Err(status) }
        });
        assert_eq!(reason(host), "UDP works again and has proved itself");
    }
    host1.await_ping("box", "10.9.0.2");
}

#[test]
fn an_underlay_too_small_for_full_records_is_served_with_shorter_ones() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    for host in lab.hosts() {
        host.sh("ip link set eth0 mtu 1400").ok();
    }
    join(&lab, &[]);
    for host in lab.hosts() {
        host.await_peers(2, "udp");
        eventually("the reason names the size", CHANGE, || {
            let reason = reason(host);
            if reason.contains("records of up to 1372 bytes pass") { Ok(()) } else { Err(reason) }
        });
    }
    let largest = lab.host(1).inside("box", &["ping", "-c", "1", "-W", "2", "-s", "1348", "10.9.0.2"]);
    assert_eq!(largest.code, 0, "a packet of the full inner MTU, which takes the link: {largest}");
}

#[test]
fn broadcast_and_multicast_are_heard_once_on_every_host() {
    let Some(lab) = joined(3, &[]) else { return };
    for host in lab.hosts() {
        host.await_peers(3, "udp");
    }
    for group in ["239.1.2.3", "10.9.0.255"] {
        let filter = format!("udp and dst host {group} and dst port 5000");
        let listen = |host: &Host, container: &str| {
            let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", container]).ok();
            let file = format!("/run/heard-{container}");
            host.sh(&format!(
                "nsenter --net=/proc/{pid}/ns/net tcpdump -lni ethwe '{filter}' >{file} 2>{file}.err & \
                 echo $! >{file}.pid; for i in $(seq 100); do grep -q listening {file}.err && break; sleep 0.05; done"
            ))
            .ok();
            file
        };
        let heard = [(2, "box"), (3, "box")].map(|(k, container)| (k, listen(lab.host(k), container)));
        let pid = lab.host(1).docker(&["inspect", "-f", "{{.State.Pid}}", "box"]).ok();
        // Perl, because a broadcast wants SO_BROADCAST and a group a source.
        let send = format!(
            "use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '10.9.0.1', Broadcast => 1) or die $!; \
             for (1..5) {{ $s->send('hello', 0, pack_sockaddr_in(5000, inet_aton('{group}'))) or die $! }}"
        );
        lab.host(1)
            .exec(&["nsenter", &format!("--net=/proc/{pid}/ns/net"), "perl", "-MSocket", "-e", &send])
            .ok();
        for (k, file) in heard {
            let host = lab.host(k);
            eventually(&format!("{file} on {host} holds five datagrams to {group}"), CHANGE, || {
                let text = host.sh(&format!("cat {file}")).ok();
                if heard_bytes(&text) >= 25 { Ok(()) } else { Err(text) }
            });
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(heard_bytes(&host.sh(&format!("cat {file}")).ok()), 25, "none twice");
            host.sh(&format!("kill $(cat {file}.pid); rm {file}")).ok();
        }
    }
}

/// Payload bytes in what tcpdump told. It sees datagrams of one flow gathered into one packet, as behind a network card that does so.
fn heard_bytes(text: &str) -> usize {
    text.lines().filter_map(|line| line.rsplit("length ").next()?.trim().parse::<usize>().ok()).sum()
}

fn joined(n: usize, options: &[&str]) -> Option<Lab> {
    let lab = Lab::up_or_skip(n, Underlay::Offload)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    join(&lab, options);
    Some(lab)
}

/// Every host names the first; each has a container `box`.
fn join(lab: &Lab, options: &[&str]) {
    for host in lab.hosts() {
        let target: &[&str] = if host.number() == 1 { &[] } else { &["198.18.0.1"] };
        host.launch(&[options, target].concat());
        host.run_shell("box", &format!("10.9.0.{}/24", host.number()));
    }
}

fn reason(host: &Host) -> String {
    host.report()["Router"]["Connections"][0]["Reason"].as_str().unwrap_or_default().to_owned()
}

/// Of the summary that ping of BusyBox prints: "100 packets transmitted, 97 packets received, 3% packet loss".
fn received(summary: &str) -> u32 {
    let words: Vec<_> = summary.split_whitespace().collect();
    words
        .windows(3)
        .find(|w| w[1] == "packets" && w[2].starts_with("received"))
        .map_or(0, |w| w[0].parse().unwrap_or(0))
}

#[test]
fn what_ping_received_is_read_also_when_nothing_was_lost() {
    let summary = |n| {
        format!(
            "--- 10.9.0.2 ping statistics ---\n100 packets transmitted, {n} packets received, 0% packet loss\n"
        )
    };
    assert_eq!([100, 97, 0].map(|n| received(&summary(n))), [100, 97, 0]);
    assert_eq!(received(""), 0);
}
