//! Why frames to one peer take the way they take: the whole story, for `weave why`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::render::{clean, milliseconds, peer};
use crate::report::{ConnectionReport, PeerRef, RouteReport, Transport};

/// `GET /why?peer=…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WhyReport {
    /// Which peer.
    pub peer: PeerRef,
    /// The connection to it, and what is being tried to get one.
    pub connections: Vec<ConnectionReport>,
    /// The way through others, where there is no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteReport>,
    /// Where it is tried over UDP.
    pub candidates: Vec<CandidateReport>,
    /// Where others see this host over UDP.
    pub seen: Vec<SeenReport>,
    /// What the router in front of this host says to letting others in, where it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_mapping: Option<String>,
    /// What NATs in front of both hosts mean for the direct way, where it does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<String>,
    /// How opening a connection from both ends at once goes, where it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// What else is known of the path over UDP: doubts, losses, since when; one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// How frames changed their way, the latest first.
    pub changes: Vec<ChangeReport>,
}

/// One address at which a peer is tried over UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CandidateReport {
    /// The address.
    pub address: String,
    /// Seconds since its last answer, if it ever answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_secs: Option<u64>,
    /// Whether it is what records are sent to.
    pub in_use: bool,
}

/// Where one neighbour sees this host over UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SeenReport {
    /// The address.
    pub address: String,
    /// Who sees it.
    pub by: PeerRef,
}

/// Frames began to take another way; or, where `from` is `to`, something about that way changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeReport {
    /// How long ago, in seconds.
    pub secs_ago: u64,
    /// What they took before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Transport>,
    /// What they took from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Transport>,
    /// Why.
    pub reason: String,
}

/// The story, for people.
pub fn why(report: &WhyReport) -> String {
    let mut page = format!("{}\n", peer(&report.peer.name, &report.peer.nickname));
    let mut say = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}", clean(&text));
    };
    let standing = report.connections.iter().find(|one| one.transport.is_some());
    match (standing, &report.route) {
        (Some(one), _) => {
            let transport = one.transport.map(|t| t.to_string()).unwrap_or_default();
            say(format!(
                "  frames go over {transport}: {}",
                one.reason.as_deref().unwrap_or("no reason known")
            ));
            let rtt = one.rtt_micros.map(|micros| format!(", round trip {}", milliseconds(micros)));
            let mtu = one.mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default();
            let cipher = one.encryption.as_deref().unwrap_or_default();
            let via = one.via.as_ref().map(|via| format!(" via {via}")).unwrap_or_default();
            say(format!("    at {}{via}{}{mtu}, {cipher}", one.address, rtt.unwrap_or_default()));
            if let Some(reason) = &one.no_trains {
                say(format!("    one datagram at a time: {reason}"));
            }
        }
        (None, Some(route)) => {
            let way = route.transport.map_or_else(|| "no way yet".to_owned(), |t| format!("over {t}"));
            say(format!("  frames go {way}: {}", route.reason));
            let between = route.hops.split_last().map_or(&[][..], |(_, between)| between);
            let names: Vec<_> = between.iter().map(|one| peer(&one.name, &one.nickname)).collect();
            say(format!(
                "    through others they go by {}",
                if names.is_empty() { "nobody: there is no way now".into() } else { names.join(", ") }
            ));
        }
        (None, None) => say("  nothing carries frames to it".into()),
    }
    for one in report.connections.iter().filter(|one| one.transport.is_none()) {
        let error = one.error.as_deref().unwrap_or("no attempt has ended yet");
        let retry = one.retry_in_secs.map(|secs| format!(", next try in {secs} s")).unwrap_or_default();
        say(format!("  connecting to {}: {} ({error}{retry})", one.address, one.state));
    }
    for one in &report.candidates {
        let answer = match (one.answered_secs, one.in_use) {
            (Some(secs), true) => format!("answered {secs} s ago, in use"),
            (Some(secs), false) => format!("answered {secs} s ago"),
            (None, _) => "no answer".into(),
        };
        say(format!("  UDP to {}: {answer}", one.address));
    }
    for one in &report.seen {
        say(format!("  this host is seen at {} by {}", one.address, peer(&one.by.name, &one.by.nickname)));
    }
    if is_mapped_anew(&report.seen) {
        say("    a NAT in front of it gives each peer another address: to be reached directly, others must be reachable themselves".into());
    }
    for text in report.port_mapping.iter().chain(&report.nat).chain(&report.meeting) {
        say(format!("  {text}"));
    }
    for text in &report.path {
        say(format!("  UDP: {text}"));
    }
    for one in &report.changes {
        let name = |t: Option<Transport>| t.map_or_else(|| "nothing".to_owned(), |t| t.to_string());
        let way = match (one.from, one.to) {
            (from, to) if from == to => format!("over {}", name(to)),
            (from, to) => format!("from {} to {}", name(from), name(to)),
        };
        say(format!("  {} s ago {way}: {}", one.secs_ago, one.reason));
    }
    page
}

/// Whether two see this host at the same address and at different ports.
fn is_mapped_anew(seen: &[SeenReport]) -> bool {
    let mut ports = BTreeMap::new();
    let seen = seen.iter().filter_map(|one| one.address.parse::<SocketAddr>().ok());
    seen.into_iter().any(|at| *ports.entry(at.ip()).or_insert(at.port()) != at.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn report() -> WhyReport {
        let router = sample::report().router;
        WhyReport {
            peer: PeerRef { name: "7a:00:00:00:00:03".into(), nickname: "host3".into() },
            connections: vec![router.connections[1].clone()],
            route: Some(router.routes[0].clone()),
            candidates: vec![
                CandidateReport { address: "198.18.0.3:6783".into(), answered_secs: None, in_use: false },
                CandidateReport { address: "10.0.0.3:6783".into(), answered_secs: Some(2), in_use: true },
            ],
            seen: ["203.0.113.7:1", "203.0.113.7:2"]
                .map(|address| SeenReport { address: address.into(), by: router.routes[0].hops[0].clone() })
                .into(),
            port_mapping: Some("the router maps no port".into()),
            nat: Some("both are behind NATs".into()),
            path: vec!["lost 2 % of 300 records in the seconds before 4 s ago".into()],
            meeting: Some("TCP opened by both ends at once failed 2 times".into()),
            changes: vec![
                ChangeReport {
                    secs_ago: 4,
                    from: Some(Transport::Udp),
                    to: Some(Transport::Udp),
                    reason: "shorter records pass".into(),
                },
                ChangeReport {
                    secs_ago: 9,
                    from: None,
                    to: Some(Transport::Relay),
                    reason: "keys were agreed on".into(),
                },
            ],
        }
    }

    #[test]
    fn the_story_of_a_peer_that_is_reached_through_another() {
        let expected = "\
7a:00:00:00:00:03(host3)
  frames go over relay: waiting for an answer to UDP probes (4 sent)
    through others they go by 7a:00:00:00:00:02(host2)
  connecting to nowhere:6783: failed (the name does not resolve, next try in 12 s)
  UDP to 198.18.0.3:6783: no answer
  UDP to 10.0.0.3:6783: answered 2 s ago, in use
  this host is seen at 203.0.113.7:1 by 7a:00:00:00:00:02(host2)
  this host is seen at 203.0.113.7:2 by 7a:00:00:00:00:02(host2)
    a NAT in front of it gives each peer another address: to be reached directly, others must be reachable themselves
  the router maps no port
  both are behind NATs
  TCP opened by both ends at once failed 2 times
  UDP: lost 2 % of 300 records in the seconds before 4 s ago
  4 s ago over udp: shorter records pass
  9 s ago from nothing to relay: keys were agreed on
";
        assert_eq!(why(&report()), expected);
    }

    #[test]
    fn the_story_of_a_neighbour() {
        let mut neighbour = sample::report().router.connections[0].clone();
        neighbour.via = Some("proxy 192.0.2.1:3128".into());
        let report = WhyReport {
            connections: vec![neighbour],
            route: None,
            candidates: Vec::new(),
            seen: Vec::new(),
            port_mapping: None,
            nat: None,
            meeting: None,
            path: Vec::new(),
            changes: Vec::new(),
            ..report()
        };
        let expected = "\
7a:00:00:00:00:03(host3)
  frames go over udp: a full-size probe was answered
    at 198.18.0.2:6783 via proxy 192.0.2.1:3128, round trip 0.42ms, MTU 1376, AES-256-GCM
";
        assert_eq!(why(&report), expected);
    }

    #[test]
    fn a_nat_that_maps_anew_shows_in_the_ports_of_one_address() {
        let by = sample::report().router.routes[0].hops[0].clone();
        let seen = |addresses: [&str; 2]| {
            addresses.map(|address| SeenReport { address: address.into(), by: by.clone() })
        };
        assert!(is_mapped_anew(&seen(["203.0.113.7:1", "203.0.113.7:2"])));
        assert!(!is_mapped_anew(&seen(["203.0.113.7:1", "203.0.113.7:1"])));
        assert!(!is_mapped_anew(&seen(["203.0.113.7:4000", "10.0.0.2:6783"])), "from inside");
    }

    #[test]
    fn a_peer_cannot_write_to_the_operators_terminal() {
        let mut report = report();
        report.peer.nickname = "\x1b]0;owned\x07".into();
        report.changes[0].reason = "\x1b[2J".into();
        assert!(why(&report).chars().all(|char| char == '\n' || !char.is_control()));
    }
}
