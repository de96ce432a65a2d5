//! What of the report stays the same for as long as the router runs.

use api::{Authentication, OffloadMode, Offloads, RouterReport, TransportMode};
use mesh::Identity;
use wire::{PeerName, VERSION, VERSION_MIN};

use super::unix_ms;
use crate::interfaces::BRIDGE;
use crate::{Config, ListenAddr, OffloadChoice, TransportChoice};

pub(super) fn fixed_report(
    config: &Config,
    name: PeerName,
    identity: &Identity,
    offloads: host::tap::Offloads,
) -> RouterReport {
    RouterReport {
        protocol_min: VERSION_MIN,
        protocol_max: VERSION,
        name: name.to_string(),
        nickname: config.nickname.clone(),
        identity: identity.public_key().iter().map(|b| format!("{b:02x}")).collect(),
        interface: BRIDGE.to_owned(),
        host: config.host.map(|ip| ip.to_string()).unwrap_or_default(),
        port: config.port,
        listening: std::iter::once(ListenAddr { ip: config.host, port: config.port })
            .chain(config.listen.iter().copied())
            .map(|address| address.to_string())
            .collect(),
        http_proxy: config.proxy.as_ref().map(|proxy| proxy.server.to_string()).unwrap_or_default(),
        started: unix_ms() / 1000,
        authentication: if config.passwords.is_empty() {
            Authentication::None
        } else {
            Authentication::Password
        },
        passwords: config.passwords.len(),
        transport: match config.transport {
            TransportChoice::Auto => TransportMode::Auto,
            TransportChoice::Udp => TransportMode::Udp,
            TransportChoice::Tls => TransportMode::Tls,
        },
        cipher: session::preferred_cipher().name().to_owned(),
        discovery: config.discovery,
        conn_limit: config.conn_limit,
        mtu: config.mtu,
        offloads: Offloads {
            mode: match config.offload {
                OffloadChoice::Auto => OffloadMode::Auto,
                OffloadChoice::Off => OffloadMode::Off,
            },
            csum: offloads.csum,
            tso: offloads.tso,
            uso: offloads.uso,
            ..Offloads::default()
        },
        targets: Vec::new(),
        connections: Vec::new(),
        peers: Vec::new(),
        routes: Vec::new(),
        macs: Vec::new(),
        drops: Default::default(),
        warnings: Vec::new(),
    }
}
