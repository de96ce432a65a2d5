//! One report that tests of several modules share.

use std::collections::BTreeMap;

use crate::messages::PsEntry;
use crate::report::{
    Authentication, ConnectionReport, ConnectionState, Direction, DockerReport, MacReport, OffloadMode,
    Offloads, PeerConnection, PeerRef, PeerReport, Report, RouteReport, RouterReport, TargetReport,
    Transport, TransportMode,
};

/// Host 1 of a network of three: joined to host 2, failing to join `nowhere`.
pub(crate) fn report() -> Report {
    Report {
        ready: true,
        version: "0.1.0".into(),
        router: router(),
        docker: DockerReport { reachable: true, detail: "20.10.24".into() },
        exposed: vec!["192.168.122.100/24".into()],
        attachments: vec![
            PsEntry { id: "weave:expose".into(), mac: name(1), addresses: vec!["192.168.122.100/24".into()] },
            PsEntry {
                id: "0123456789ab".into(),
                mac: "02:00:00:00:00:0a".into(),
                addresses: vec!["192.168.122.1/24".into(), "192.168.123.1/24".into()],
            },
        ],
    }
}

fn router() -> RouterReport {
    RouterReport {
        protocol_min: 1,
        protocol_max: 1,
        name: name(1),
        nickname: "host1".into(),
        identity: "00ff".into(),
        interface: "weave".into(),
        host: String::new(),
        port: 6783,
        listening: vec!["*:6783".into()],
        http_proxy: String::new(),
        started: 1_800_000_000,
        authentication: Authentication::Password,
        passwords: 1,
        transport: TransportMode::Auto,
        cipher: "AES-256-GCM".into(),
        discovery: true,
        conn_limit: 200,
        mtu: 1376,
        offloads: Offloads {
            mode: OffloadMode::Auto,
            csum: true,
            tso: true,
            uso: true,
            segmentation: true,
            coalescing: true,
            trouble: vec![],
        },
        targets: vec![TargetReport {
            target: "198.18.0.2".into(),
            state: ConnectionState::Established,
            last_error: None,
            retry_in_secs: None,
        }],
        connections: vec![established(), failed()],
        peers: vec![
            peer(1, vec![to(Direction::Outbound, "198.18.0.2:6783", 2, true)]),
            peer(
                2,
                vec![
                    to(Direction::Inbound, "198.18.0.1:51000", 1, true),
                    to(Direction::Outbound, "198.18.0.3:6783", 3, false),
                ],
            ),
        ],
        routes: vec![RouteReport {
            peer: PeerRef { name: name(3), nickname: "host3".into() },
            hops: vec![
                PeerRef { name: name(2), nickname: "host2".into() },
                PeerRef { name: name(3), nickname: "host3".into() },
            ],
            transport: Some(Transport::Relay),
            reason: "waiting for an answer to UDP probes (4 sent)".into(),
            encryption: Some("AES-256-GCM".into()),
            rtt_micros: None,
        }],
        macs: vec![MacReport {
            mac: "02:00:00:00:00:0b".into(),
            name: name(2),
            nickname: "host2".into(),
            age_secs: 3,
        }],
        drops: BTreeMap::from([("replayed".into(), 2)]),
        warnings: vec![],
    }
}

fn established() -> ConnectionReport {
    ConnectionReport {
        direction: Direction::Outbound,
        address: "198.18.0.2:6783".into(),
        state: ConnectionState::Established,
        peer: Some(PeerRef { name: name(2), nickname: "host2".into() }),
        transport: Some(Transport::Udp),
        reason: Some("a full-size probe was answered".into()),
        encryption: Some("AES-256-GCM".into()),
        via: None,
        authenticated: true,
        mtu: Some(1376),
        rtt_micros: Some(420),
        trains: Some(true),
        no_trains: None,
        error: None,
        retry_in_secs: None,
        frames_in: 10,
        frames_out: 12,
        bytes_in: 1000,
        bytes_out: 1200,
    }
}

fn failed() -> ConnectionReport {
    ConnectionReport {
        direction: Direction::Outbound,
        address: "nowhere:6783".into(),
        state: ConnectionState::Failed,
        peer: None,
        transport: None,
        reason: None,
        encryption: None,
        via: None,
        authenticated: false,
        mtu: None,
        rtt_micros: None,
        trains: None,
        no_trains: None,
        error: Some("the name does not resolve".into()),
        retry_in_secs: Some(12),
        frames_in: 0,
        frames_out: 0,
        bytes_in: 0,
        bytes_out: 0,
    }
}

fn peer(number: u8, connections: Vec<PeerConnection>) -> PeerReport {
    PeerReport {
        name: name(number),
        nickname: format!("host{number}"),
        uid: format!("{number:016x}"),
        version: "0.1.0".into(),
        connections,
    }
}

fn to(direction: Direction, address: &str, number: u8, established: bool) -> PeerConnection {
    PeerConnection {
        direction,
        address: address.into(),
        name: name(number),
        nickname: format!("host{number}"),
        established,
    }
}

fn name(number: u8) -> String {
    format!("7a:00:00:00:00:{number:02x}")
}
