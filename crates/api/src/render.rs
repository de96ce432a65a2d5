//! Text pages, in the shape the original has given them: scripts parse these.
//!
//! Names and reasons come from other hosts. Control characters in them are replaced, so that no peer can write to an
//! operator's terminal.

use std::fmt::Write;

use crate::messages::PsEntry;
use crate::report::{
    Authentication, ConnectionReport, ConnectionState, OffloadMode, Offloads, PeerReport, Report,
    RouteReport, RouterReport,
};

/// Width of the labels of [`status`], without the colon: the widest of the original's and one blank.
const LABEL: usize = 15;

/// `status`: one line each, labels right-aligned before a colon, sections framed by blank lines.
pub fn status(report: &Report) -> String {
    let router = &report.router;
    let mut page = Page::default();
    page.blank();
    page.line("Version", &report.version);
    page.blank();
    page.line("Service", "router");
    page.line("Protocol", &protocol(router));
    page.line("Name", &peer(&router.name, &router.nickname));
    page.line("Encryption", "enabled");
    page.line("Authentication", &authentication(router));
    page.line("Transport", &router.transport.to_string());
    // The usual port alone is nothing to tell.
    if router.listening.len() > 1 {
        page.line("Listening", &router.listening.join(" "));
    }
    if !router.http_proxy.is_empty() {
        page.line("Proxy", &router.http_proxy);
    }
    page.line("PeerDiscovery", if router.discovery { "enabled" } else { "disabled" });
    page.line("Targets", &router.targets.len().to_string());
    page.line("Connections", &connection_counts(&router.connections));
    page.line("Peers", &peer_counts(&router.peers));
    page.line("MTU", &router.mtu.to_string());
    if let Some(offload) = offload(&router.offloads) {
        page.line("Offload", &offload);
    }
    page.blank();
    page.line("Service", "docker");
    page.line("Engine", &engine(report));
    page.line(
        "Containers",
        &report.attachments.iter().filter(|entry| entry.id != EXPOSED).count().to_string(),
    );
    page.line("Exposed", &if report.exposed.is_empty() { "none".into() } else { report.exposed.join(" ") });
    page.blank();
    let warnings = warnings(router);
    for warning in &warnings {
        page.line("WARNING", warning);
    }
    if !warnings.is_empty() {
        page.blank();
    }
    page.text
}

/// `status connections`: one line each, columns as wide as the original's.
pub fn connections(router: &RouterReport) -> String {
    router.connections.iter().map(|connection| line(&connection_line(connection))).collect()
}

/// `status peers`: each peer, and indented below it the connections it says it has.
pub fn peers(router: &RouterReport) -> String {
    let mut page = String::new();
    for one in &router.peers {
        page += &line(&peer(&one.name, &one.nickname));
        for to in &one.connections {
            let state = if to.established { "established" } else { "pending" };
            let who = peer(&to.name, &to.nickname);
            page += &line(&format!("   {} {:<21} {who:<37} {state}", to.direction, clean(&to.address)));
        }
    }
    page
}

/// `status targets`: one per line, exactly as given.
pub fn targets(router: &RouterReport) -> String {
    router.targets.iter().map(|target| line(&clean(&target.target))).collect()
}

/// `status routes`: each peer that is no neighbour, by which way frames go to it, and through whom they otherwise would.
pub fn routes(router: &RouterReport) -> String {
    let of = |route: &RouteReport| {
        let transport = route.transport.map_or_else(|| "-".to_owned(), |transport| transport.to_string());
        let between = route.hops.split_last().map_or(&[][..], |(_, between)| between);
        let via: Vec<_> = between.iter().map(|one| peer(&one.name, &one.nickname)).collect();
        let mut parts = vec![
            format!("{:<37} {transport:<6}", peer(&route.peer.name, &route.peer.nickname)),
            format!("via {}", if via.is_empty() { "nobody now".into() } else { via.join(", ") }),
        ];
        parts.extend(route.rtt_micros.map(|micros| format!("rtt={}", milliseconds(micros))));
        parts.push(format!("({})", route.reason));
        line(&clean(&parts.join(" ")))
    };
    router.routes.iter().map(of).collect()
}

/// `ps`: short id, MAC address, addresses.
pub fn ps(entries: &[PsEntry]) -> String {
    entries
        .iter()
        .map(|entry| line(&clean(&format!("{} {} {}", entry.id, entry.mac, entry.addresses.join(" ")))))
        .collect()
}

/// The id under which [`ps`] lists the host.
pub const EXPOSED: &str = "weave:expose";

/// What the operator ought to know: what the settings imply, then what the router has noticed.
pub fn warnings(router: &RouterReport) -> Vec<String> {
    let mut all = Vec::new();
    if router.authentication == Authentication::None {
        all.push(format!(
            "no password: anyone who can reach port {} may join the network; only those that it is told to connect to are remembered",
            router.port
        ));
    }
    all.extend(router.warnings.iter().map(|warning| clean(warning)));
    all
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, label: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{label:>LABEL$}: {}", clean(value));
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }
}

fn protocol(router: &RouterReport) -> String {
    if router.protocol_min == router.protocol_max {
        format!("weave {}", router.protocol_max)
    } else {
        format!("weave {}..{}", router.protocol_min, router.protocol_max)
    }
}

fn authentication(router: &RouterReport) -> String {
    match (router.authentication, router.passwords) {
        (Authentication::Password, many) if many > 1 => format!("password ({many} valid)"),
        (other, _) => other.to_string(),
    }
}

/// How packets are handled, unless it is the best way.
fn offload(offloads: &Offloads) -> Option<String> {
    if offloads.mode == OffloadMode::Off {
        return Some("off (--offload off)".into());
    }
    let tap = match (offloads.tso, offloads.uso) {
        _ if !offloads.trouble.is_empty() => None,
        (true, true) => None,
        (true, false) => Some("no super-frames of UDP on the TAP: Linux 6.2 has them"),
        (false, _) => Some("no super-frames on the TAP"),
    };
    let missing: Vec<_> = tap.into_iter().chain(offloads.trouble.iter().map(String::as_str)).collect();
    (!missing.is_empty()).then(|| format!("auto ({})", missing.join("; ")))
}

fn engine(report: &Report) -> String {
    match (report.docker.reachable, report.docker.detail.as_str()) {
        (true, "") => "reachable".into(),
        (true, detail) => format!("reachable ({detail})"),
        (false, "") => "not reachable".into(),
        (false, detail) => format!("not reachable: {detail}"),
    }
}

fn connection_counts(connections: &[ConnectionReport]) -> String {
    use ConnectionState::{Connecting, Established, Failed, Pending, Retrying, Waiting};
    let counts: Vec<_> = [Established, Pending, Connecting, Retrying, Failed, Waiting]
        .into_iter()
        .map(|state| (state, connections.iter().filter(|connection| connection.state == state).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if counts.is_empty() { "0".into() } else { format!("{} ({})", connections.len(), counts.join(", ")) }
}

fn peer_counts(peers: &[PeerReport]) -> String {
    let all = || peers.iter().flat_map(|peer| &peer.connections);
    let established = all().filter(|connection| connection.established).count();
    let pending = all().count() - established;
    let counts: Vec<_> = [(established, "established"), (pending, "pending")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    if counts.is_empty() {
        peers.len().to_string()
    } else {
        format!("{} (with {} connections)", peers.len(), counts.join(", "))
    }
}

fn connection_line(connection: &ConnectionReport) -> String {
    let ConnectionReport { direction, address, state, .. } = connection;
    format!("{direction} {:<21} {state:<11} {}", clean(address), clean(&info(connection)))
}

/// What follows the state: how frames travel and where to, or why they do not and what comes next.
fn info(connection: &ConnectionReport) -> String {
    let mut parts = Vec::new();
    if connection.encryption.is_some() || connection.transport.is_some() {
        let encrypted = connection.encryption.as_ref().map_or("", |_| "encrypted");
        let transport = connection.transport.map(|transport| transport.to_string()).unwrap_or_default();
        parts.push(format!("{encrypted:<11} {transport:<6}"));
    }
    parts.extend(connection.peer.as_ref().map(|to| peer(&to.name, &to.nickname)));
    parts.extend(connection.mtu.map(|mtu| format!("mtu={mtu}")));
    parts.extend(connection.rtt_micros.map(|micros| format!("rtt={}", milliseconds(micros))));
    parts.extend(connection.encryption.as_ref().map(|cipher| format!("cipher={cipher}")));
    parts.extend(connection.via.as_ref().map(|via| format!("via {via}")));
    parts.extend(connection.reason.as_ref().map(|reason| format!("({reason})")));
    parts.extend(connection.no_trains.as_ref().map(|why| format!("(no trains: {why})")));
    let retry = connection.retry_in_secs.map(|secs| format!("retry in {secs}s"));
    let trouble: Vec<_> = connection.error.clone().into_iter().chain(retry).collect();
    parts.extend((!trouble.is_empty()).then(|| trouble.join(", ")));
    parts.join(" ")
}

/// Two digits after the point below 10 ms, one from there on: what a reader can use.
pub(crate) fn milliseconds(micros: u64) -> String {
    let decimals = if micros < 10_000 { 2 } else { 1 };
    format!("{:.decimals$}ms", micros as f64 / 1000.0)
}

pub(crate) fn peer(name: &str, nickname: &str) -> String {
    clean(&format!("{name}({nickname})"))
}

pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use crate::report::{ConnectionState, Direction, PeerRef, Transport};
    use crate::sample;

    use super::*;

    #[test]
    fn status_of_a_joined_router() {
        let expected = "
        Version: 0.1.0

        Service: router
       Protocol: weave 1
           Name: 7a:00:00:00:00:01(host1)
     Encryption: enabled
 Authentication: password
      Transport: auto
  PeerDiscovery: enabled
        Targets: 1
    Connections: 2 (1 established, 1 failed)
          Peers: 2 (with 2 established, 1 pending connections)
            MTU: 1376

        Service: docker
         Engine: reachable (20.10.24)
     Containers: 1
        Exposed: 192.168.122.100/24

";
        assert_eq!(status(&sample::report()), expected);
    }

    #[test]
    fn status_of_a_lone_router_warns_that_there_is_no_password() {
        let mut report = sample::report();
        report.router.authentication = Authentication::None;
        report.router.passwords = 0;
        report.router.discovery = false;
        report.router.targets.clear();
        report.router.connections.clear();
        report.router.peers.truncate(1);
        report.router.peers[0].connections.clear();
        report.router.protocol_max = 2;
        report.router.warnings = vec!["port vethwe-1 has hairpin mode on".into()];
        report.docker.reachable = false;
        report.docker.detail = "Docker is not running".into();
        report.exposed.clear();
        report.attachments.clear();
        let expected = "
        Version: 0.1.0

        Service: router
       Protocol: weave 1..2
           Name: 7a:00:00:00:00:01(host1)
     Encryption: enabled
 Authentication: none
      Transport: auto
  PeerDiscovery: disabled
        Targets: 0
    Connections: 0
          Peers: 1
            MTU: 1376

        Service: docker
         Engine: not reachable: Docker is not running
     Containers: 0
        Exposed: none

        WARNING: no password: anyone who can reach port 6783 may join the network; only those that it is told to connect to are remembered
        WARNING: port vethwe-1 has hairpin mode on

";
        assert_eq!(status(&report), expected);
    }

    #[test]
    fn connections_have_the_columns_scripts_know() {
        let mut router = sample::report().router;
        router.connections.push(ConnectionReport {
            direction: Direction::Inbound,
            address: "[fd00::2]:40000".into(),
            state: ConnectionState::Pending,
            transport: Some(Transport::Tls),
            reason: None,
            rtt_micros: Some(12_345),
            mtu: None,
            via: Some("simultaneous open".into()),
            ..router.connections[0].clone()
        });
        router.connections.push(ConnectionReport {
            state: ConnectionState::Connecting,
            address: "198.18.0.9:6783".into(),
            error: None,
            retry_in_secs: None,
            ..router.connections[1].clone()
        });
        let expected = "\
-> 198.18.0.2:6783       established encrypted   udp    7a:00:00:00:00:02(host2) mtu=1376 rtt=0.42ms cipher=AES-256-GCM (a full-size probe was answered)
-> nowhere:6783          failed      the name does not resolve, retry in 12s
<- [fd00::2]:40000       pending     encrypted   tls    7a:00:00:00:00:02(host2) rtt=12.3ms cipher=AES-256-GCM via simultaneous open
-> 198.18.0.9:6783       connecting
";
        assert_eq!(connections(&router), expected);
    }

    #[test]
    fn offloads_are_shown_when_something_is_missing() {
        let mut report = sample::report();
        let shown = |report: &Report| {
            let page = status(report);
            page.lines().find_map(|line| line.trim().strip_prefix("Offload: ")).map(String::from)
        };
        assert_eq!(shown(&report), None);
        report.router.offloads.trouble = vec!["the kernel refuses super-frames of TCP".into(), "b".into()];
        assert_eq!(shown(&report).unwrap(), "auto (the kernel refuses super-frames of TCP; b)");
        report.router.offloads.trouble.clear();
        report.router.offloads.uso = false;
        assert!(shown(&report).unwrap().starts_with("auto (no super-frames of UDP on the TAP"));
        report.router.offloads.mode = OffloadMode::Off;
        assert_eq!(shown(&report).unwrap(), "off (--offload off)");
    }

    #[test]
    fn a_connection_without_trains_says_why() {
        let mut router = sample::report().router;
        router.connections.truncate(1);
        assert!(!connections(&router).contains("trains"));
        router.connections[0].trains = Some(false);
        router.connections[0].no_trains = Some("they lose 31 % of records, single datagrams 0.1 %".into());
        let line = connections(&router);
        let end = " (a full-size probe was answered) (no trains: they lose 31 % of records, single datagrams 0.1 %)\n";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn peers_list_their_connections_below_them() {
        let expected = "\
7a:00:00:00:00:01(host1)
   -> 198.18.0.2:6783       7a:00:00:00:00:02(host2)              established
7a:00:00:00:00:02(host2)
   <- 198.18.0.1:51000      7a:00:00:00:00:01(host1)              established
   -> 198.18.0.3:6783       7a:00:00:00:00:03(host3)              pending
";
        assert_eq!(peers(&sample::report().router), expected);
    }

    #[test]
    fn routes_name_the_peers_in_between() {
        let expected = "\
7a:00:00:00:00:03(host3)              relay  via 7a:00:00:00:00:02(host2) (waiting for an answer to UDP probes (4 sent))
";
        assert_eq!(routes(&sample::report().router), expected);
    }

    #[test]
    fn targets_are_shown_exactly_as_given() {
        assert_eq!(targets(&sample::report().router), "198.18.0.2\n");
    }

    #[test]
    fn ps_lists_short_id_mac_and_addresses() {
        let expected = "\
weave:expose 7a:00:00:00:00:01 192.168.122.100/24
0123456789ab 02:00:00:00:00:0a 192.168.122.1/24 192.168.123.1/24
";
        assert_eq!(ps(&sample::report().attachments), expected);
    }

    #[test]
    fn a_peer_cannot_write_to_the_operators_terminal() {
        let mut router = sample::report().router;
        let evil = "\x1b]0;owned\x07\nname\u{9b}2J";
        router.nickname = evil.into();
        router.peers[1].nickname = evil.into();
        router.peers[1].connections[0].nickname = evil.into();
        router.connections[0].peer = Some(PeerRef { name: "x".into(), nickname: evil.into() });
        router.connections[1].error = Some(evil.into());
        router.targets[0].target = evil.into();
        let report = Report { router: router.clone(), ..sample::report() };
        router.routes[0].hops[0].nickname = evil.into();
        for page in [status(&report), connections(&router), peers(&router), targets(&router), routes(&router)]
        {
            assert!(page.contains("owned"));
            assert!(page.chars().all(|char| char == '\n' || !char.is_control()), "{page:?}");
            assert!(!page.lines().any(|line| line.starts_with("name")), "{page:?}");
        }
    }
}
