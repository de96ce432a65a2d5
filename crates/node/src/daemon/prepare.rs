//! What of a launch can be refused: all of it is done before the host is touched.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use mesh::Identity;
use tokio::net::TcpListener;
use transport_tls::{Congestion, Credentials, Password};
use wire::PeerName;

use super::unix_ms;
use crate::store::{Saved, Store};
use crate::{Config, ListenAddr, OffloadChoice, TransportChoice, identity, target};

/// Most passwords (P3.1).
const MAX_PASSWORDS: usize = 4;

/// What a launch has once nothing is left that could be refused.
pub(super) struct Prepared {
    pub(super) identity: Arc<Identity>,
    pub(super) name: PeerName,
    pub(super) passwords: Vec<Password>,
    pub(super) credentials: Credentials,
    pub(super) congestion: Congestion,
    pub(super) targets: Vec<String>,
    pub(super) incarnation: u64,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) udp_socket: Option<transport_udp::Socket>,
    pub(super) status: Option<TcpListener>,
}

impl Prepared {
    /// Checks what was asked for and takes the ports.
    pub(super) async fn new(config: &Config, store: &Store, saved: &Saved) -> Result<Self> {
        let seed = identity::load_or_create(&config.state_dir)?;
        let identity = Arc::new(Identity::from_seed(&seed));
        let name = match &config.name {
            Some(text) => text.parse()?,
            None => identity.name(),
        };
        let passwords = stretch(&config.passwords)?;
        let credentials = Credentials::new(&seed, &identity.public_key())?.showing(config.shown.clone());
        let congestion = match &config.congestion {
            Some(name) => Congestion::named(name).context("--tls-congestion")?,
            None => Congestion::default(),
        };
        let targets = targets(config, saved)?;
        for peer in &config.peers {
            target::check(peer, config.port, config.proxy.as_ref()).await?;
        }
        let listeners = listeners(config)?;
        let udp_socket = match config.transport {
            TransportChoice::Tls => None,
            TransportChoice::Auto | TransportChoice::Udp => Some(bind_udp(config)?),
        };
        let status = match config.status_addr {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|e| in_use(&format!("status address {address}"), "--status-addr", &e))?,
            ),
            None => None,
        };
        Ok(Self {
            identity,
            name,
            passwords,
            credentials,
            congestion,
            targets,
            incarnation: store.begin(unix_ms())?,
            listeners,
            udp_socket,
            status,
        })
    }
}

/// The targets of this run: those given; those of the last one with `--resume`, or when it was killed.
fn targets(config: &Config, saved: &Saved) -> Result<Vec<String>> {
    if config.resume && !config.peers.is_empty() {
        bail!("--resume takes up the peers of the last run: name no others with it");
    }
    let mut list = if config.resume || saved.was_killed { saved.targets.clone() } else { Vec::new() };
    for peer in &config.peers {
        if !list.contains(peer) {
            list.push(peer.clone());
        }
    }
    Ok(list)
}

/// Listens on the port of the router and wherever else it is told to, or says where it cannot.
fn listeners(config: &Config) -> Result<Vec<TcpListener>> {
    let usual = ListenAddr { ip: config.host, port: config.port };
    let mut listeners =
        vec![usual.listen().map_err(|e| in_use(&format!("TCP port {}", config.port), "--port", &e))?];
    for (n, address) in config.listen.iter().enumerate() {
        if *address == usual || config.listen[..n].contains(address) {
            bail!("--listen {address}: the router listens there already, name it once");
        }
        let listener = address.listen().map_err(|e| in_use(&format!("TCP {address}"), "--listen", &e))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind_udp(config: &Config) -> Result<transport_udp::Socket> {
    let socket = transport_udp::Socket::bind(config.host, config.port)
        .map_err(|e| in_use(&format!("UDP port {}", config.port), "--port", &e))?;
    match config.offload {
        OffloadChoice::Auto => Ok(socket),
        OffloadChoice::Off => socket.without_offloads("--offload off").context("cannot switch UDP_GRO off"),
    }
}

fn stretch(passwords: &[String]) -> Result<Vec<Password>> {
    if passwords.len() > MAX_PASSWORDS {
        bail!("{} passwords are too many: at most {MAX_PASSWORDS} can be valid at once", passwords.len());
    }
    Ok(passwords.iter().map(|p| Password::new(p)).collect::<Result<_, _>>()?)
}

/// Why a port or address cannot be had, and what to do about it.
fn in_use(what: &str, flag: &str, e: &std::io::Error) -> anyhow::Error {
    match e.kind() {
        ErrorKind::AddrInUse => {
            anyhow::anyhow!("{what} is in use by another program: stop it, or choose another with {flag}")
        }
        ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!("cannot use {what}: the address given is not one of this host's")
        }
        _ => anyhow::anyhow!("cannot use {what}: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(resume: bool, peers: &[&str]) -> Config {
        Config {
            passwords: Vec::new(),
            transport: TransportChoice::Auto,
            offload: OffloadChoice::Auto,
            name: None,
            nickname: "h".into(),
            host: None,
            port: 6783,
            listen: Vec::new(),
            advertise: Vec::new(),
            port_mapping: false,
            guess_ports: false,
            proxy: None,
            shown: transport_tls::Shown::default(),
            congestion: None,
            discovery: true,
            conn_limit: 0,
            resume,
            state_dir: "/nowhere".into(),
            run_dir: "/nowhere".into(),
            status_addr: None,
            log_level: "info".into(),
            mtu: 1376,
            peers: peers.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    fn saved(was_killed: bool) -> Saved {
        Saved { targets: vec!["a".into(), "b".into()], was_killed, ..Saved::default() }
    }

    #[test]
    fn the_targets_of_the_last_run_are_taken_up_when_asked_or_after_a_kill() {
        assert_eq!(targets(&config(false, &["c"]), &saved(false)).unwrap(), ["c"]);
        assert_eq!(targets(&config(true, &[]), &saved(false)).unwrap(), ["a", "b"]);
        assert_eq!(targets(&config(false, &["c", "a"]), &saved(true)).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn resume_and_other_peers_contradict_each_other() {
        let error = targets(&config(true, &["c"]), &saved(false)).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
    }

    #[test]
    fn more_passwords_than_a_prelude_can_count_are_refused() {
        let five: Vec<_> = (0..5).map(|n| n.to_string()).collect();
        assert!(stretch(&five).err().unwrap().to_string().contains("at most 4"));
    }
}
