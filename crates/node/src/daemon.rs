//! From a configuration to a running router, and back to nothing.
//!
//! What can fail without having touched the host comes first: directories, identity, ports. Bridge and TAP come last.

use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use api::{Authentication, ControlError, OffloadMode, Offloads, RouterReport, TransportMode};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use docker::Docker;
use host::bridge::{BridgeSpec, ensure_bridge};
use host::tap::Tap;
use mesh::{Identity, Mesh, MeshConfig};
use records::Table;
use router::Forwarder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use transport::RecordSink;
use transport_tls::{Congestion, Credentials, Endpoint, LocalHello, Password};
use transport_udp::{Receiver, UdpTransport};
use wire::{PeerName, Uid, VERSION, VERSION_MIN};

use crate::bridge_watch::BridgeWatch;
use crate::containers::Containers;
use crate::control::{Handle, Parts};
use crate::core::{Command, Core, CoreParts, Input};
use crate::exposure::Exposure;
use crate::failure::Failure;
use crate::interfaces::{BRIDGE, TAP};
use crate::network::PortMapping;
use crate::pump::Pump;
use crate::run_dir::RunDir;
use crate::store::{Saved, Store};
use crate::tap_writer::{TapWatch, Writer};
use crate::{
    Config, ListenAddr, OffloadChoice, ResetPaths, TransportChoice, identity, listen, network, target,
};

/// Inputs that may wait for the event loop.
const INPUTS: usize = 4096;
/// Requests in progress may finish for this long when the router stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Most passwords (P3.1).
const MAX_PASSWORDS: usize = 4;

/// Runs the router until it is told to stop.
pub(crate) async fn run(config: Config, on_ready: impl FnOnce(&str)) -> Result<()> {
    let run_dir = RunDir::claim(&config.run_dir)?;
    host::check::preflight()?;
    // Asked now so that a host without `nft` is told before anything is made.
    host::firewall::present().await?;
    let store = Arc::new(Store::open(&config.state_dir)?);
    let saved = store.load()?;
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
    let targets = targets(&config, &saved)?;
    for peer in &config.peers {
        target::check(peer, config.port, config.proxy.as_ref()).await?;
    }
    let listeners = listeners(&config)?;
    let udp_socket = match config.transport {
        TransportChoice::Tls => None,
        TransportChoice::Auto | TransportChoice::Udp => Some(bind_udp(&config)?),
    };
    let status = match config.status_addr {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|e| in_use(&format!("status address {address}"), "--status-addr", &e))?,
        ),
        None => None,
    };
    let incarnation = store.begin(unix_ms())?;
    let prepared = Prepared {
        socket: run_dir.socket(),
        store: Arc::clone(&store),
        saved: saved.clone(),
        identity,
        name,
        passwords,
        credentials,
        congestion,
        targets,
        incarnation,
        listeners,
        udp_socket,
        status,
    };
    let outcome = match store.set_targets(&prepared.targets) {
        Ok(()) => serve_until_stopped(config, prepared, on_ready).await,
        Err(e) => Err(e.into()),
    };
    match outcome {
        Ok(()) => store.end()?,
        Err(_) => store.take_back(&saved)?,
    }
    outcome
}

/// What a launch has once nothing is left that could be refused.
struct Prepared {
    socket: PathBuf,
    store: Arc<Store>,
    saved: Saved,
    identity: Arc<Identity>,
    name: PeerName,
    passwords: Vec<Password>,
    credentials: Credentials,
    congestion: Congestion,
    targets: Vec<String>,
    incarnation: u64,
    listeners: Vec<TcpListener>,
    udp_socket: Option<transport_udp::Socket>,
    status: Option<TcpListener>,
}

/// The router's life on the bridge.
async fn serve_until_stopped(config: Config, prepared: Prepared, on_ready: impl FnOnce(&str)) -> Result<()> {
    let Prepared {
        socket,
        store,
        saved,
        identity,
        name,
        passwords,
        credentials,
        congestion,
        targets,
        incarnation,
        listeners,
        udp_socket,
        status,
    } = prepared;
    let proxy = config.proxy.clone().map(Arc::new);
    let (inputs, inbox) = mpsc::channel(INPUTS);
    let events = inputs.clone();
    // What finds no room is asked for or told again.
    let table = Arc::new(Table::new(Box::new(move |event| drop(events.try_send(Input::Table(event))))));
    let (tap, tap_watch, forwarder) = attach_to_bridge(&config, name, incarnation, &table, &inputs).await?;
    let (udp, receiver) = udp_socket.map(|socket| open_udp(socket, &forwarder, &inputs)).transpose()?.unzip();
    let uid = Uid(u64::from_be_bytes(random()?));
    let endpoint = Arc::new(Endpoint {
        credentials,
        passwords,
        uid,
        versions: (VERSION_MIN, VERSION),
        hello: LocalHello {
            name,
            nickname: config.nickname.clone(),
            incarnation,
            port: config.port,
            udp_port: if udp.is_some() { config.port } else { 0 },
            transports: crate::core::transports(config.transport),
            frame_max: config.mtu + 14,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        },
        congestion,
    });
    let now = Instant::now();
    let mut mesh = Mesh::new(
        MeshConfig {
            identity: Arc::clone(&identity),
            name,
            nickname: config.nickname.clone(),
            uid,
            incarnation,
            port: config.port,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            discovery: config.discovery,
            conn_limit: config.conn_limit,
            seed: random()?,
            udp_port: if udp.is_some() { config.port } else { 0 },
            verify: mesh::verify,
        },
        now,
    );
    mesh.replace_targets(now, &targets);
    let advertised: Vec<_> = config.advertise.iter().map(|one| one.with_port(config.port)).collect();
    mesh.set_advertised(now, advertised.clone());

    let handle = Handle(Arc::new(Parts {
        inputs: inputs.clone(),
        store: Arc::clone(&store),
        targets: Mutex::new(targets),
        containers: Containers::new(Docker::connect(), Arc::clone(&store), config.mtu, saved.attachments),
        exposure: Exposure::new(Arc::clone(&store), config.port, further_ports(&config), saved.exposed),
        fixed: fixed_report(&config, name, &identity, tap.offloads()),
        proxy: proxy.clone(),
        bridge_mac: name.to_string(),
        bridge_watch: BridgeWatch::new(!tap.vnet_hdr() && config.offload == OffloadChoice::Auto),
    }));
    handle.0.exposure.restore().await.map_err(|Failure(e)| explained(e))?;

    let (gateway, gateways) = watch::channel(None);
    let (mapping, mapped) = PortMapping::start(&config, gateways);
    let (link_sender, link_events) = mpsc::channel(INPUTS);
    let core = Core::new(
        CoreParts {
            mesh,
            endpoint: Arc::clone(&endpoint),
            choice: config.transport,
            mtu: config.mtu,
            port: config.port,
            advertised,
            mapped,
            proxy,
            forwarder: Arc::clone(&forwarder),
            table: Arc::clone(&table),
            udp,
            tap: tap_watch,
            store: Arc::clone(&store),
            pins: saved.pins,
            sender: inputs.clone(),
            inputs: inbox,
            link_events,
            link_sender,
        },
        now,
    );

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &handle, &socket, status, &stopped).await?;
    let pump = Pump::start(&tap, &forwarder, receiver).context("cannot start the data path")?;
    let mut background = JoinSet::new();
    background.spawn(listen::accept(listeners, endpoint, inputs.clone()));
    background.spawn({
        let handle = handle.clone();
        async move { handle.0.containers.follow(&handle.0.exposure).await }
    });
    background.spawn({
        let handle = handle.clone();
        async move { handle.0.exposure.watch().await }
    });
    background.spawn({
        let handle = handle.clone();
        async move { handle.0.bridge_watch.watch().await }
    });
    background.spawn(network::follow(inputs.clone(), gateway));
    background.spawn(stop_on_signal(inputs)?);

    tracing::info!(%name, nickname = config.nickname, port = config.port, "router ready");
    on_ready(&name.to_string());
    core.run().await;

    tracing::info!("router stops");
    table.clear();
    background.shutdown().await;
    // Joins its threads, which end at once.
    drop(pump);
    let _ = stop.send(true);
    if let Some(mapping) = mapping {
        mapping.end().await;
    }
    let _ = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Removes the bridge, the rules and the state.
pub(crate) async fn reset(paths: &ResetPaths) -> Result<()> {
    let run_dir = RunDir::claim(&paths.run_dir)?;
    let mut errors: Vec<String> = match host::wipe::reset(BRIDGE, TAP).await {
        Ok(()) => Vec::new(),
        Err(list) => list.iter().map(ToString::to_string).collect(),
    };
    for dir in [&paths.state_dir, &paths.run_dir] {
        errors.extend(empty(dir).err().map(|e| format!("cannot remove what is in {}: {e}", dir.display())));
    }
    drop(run_dir);
    if errors.is_empty() { Ok(()) } else { bail!("not everything could be removed: {}", errors.join("; ")) }
}

/// Removes our own files, and the directory if it is empty then.
fn empty(dir: &Path) -> std::io::Result<()> {
    const OURS: [&str; 8] = [
        "identity",
        "identity.new",
        "state.redb",
        "weave.sock",
        "weave.pid",
        "weave.log",
        "weave.log.old",
        "weave.sock.new",
    ];
    for file in OURS {
        match std::fs::remove_file(dir.join(file)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    // A directory that is a mount point, or holds what is not ours, stays.
    let _ = std::fs::remove_dir(dir);
    Ok(())
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

async fn attach_to_bridge(
    config: &Config,
    name: PeerName,
    incarnation: u64,
    table: &Arc<Table>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(Arc<Tap>, TapWatch, Arc<Forwarder>)> {
    ensure_bridge(&BridgeSpec { name: BRIDGE, mac: name.bytes(), mtu: config.mtu }).await?;
    let tap = Arc::new(match config.offload {
        OffloadChoice::Auto => Tap::open(TAP, BRIDGE, config.mtu).await?,
        OffloadChoice::Off => Tap::open_plain(TAP, BRIDGE, config.mtu).await?,
    });
    if !tap.vnet_hdr() && config.offload == OffloadChoice::Auto {
        tracing::warn!("this kernel's TAP carries no super-frames: the router will be slow");
    }
    let notices = inputs.clone();
    let (writer, watch) = Writer::new(Arc::clone(&tap));
    let forwarder = Forwarder::new(
        name,
        incarnation,
        Arc::clone(table) as Arc<dyn RecordSink>,
        // When the loop is busy the next frame of the same source tells again.
        Box::new(move |notice| drop(notices.try_send(Input::Notice(notice)))),
        Box::new(writer),
    );
    Ok((tap, watch, forwarder))
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

/// What the firewall has to know of these.
fn further_ports(config: &Config) -> Vec<host::firewall::TcpPort> {
    config.listen.iter().map(|at| host::firewall::TcpPort { ip: at.ip, port: at.port }).collect()
}

fn bind_udp(config: &Config) -> Result<transport_udp::Socket> {
    let socket = transport_udp::Socket::bind(config.host, config.port)
        .map_err(|e| in_use(&format!("UDP port {}", config.port), "--port", &e))?;
    match config.offload {
        OffloadChoice::Auto => Ok(socket),
        OffloadChoice::Off => socket.without_offloads("--offload off").context("cannot switch UDP_GRO off"),
    }
}

fn open_udp(
    socket: transport_udp::Socket,
    forwarder: &Arc<Forwarder>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(UdpTransport, Receiver)> {
    let events = inputs.clone();
    // A probe's answer that finds no room is one that was lost on the way.
    let events = Box::new(move |event| drop(events.try_send(Input::Udp(event))));
    Ok(UdpTransport::open(socket, forwarder.clone(), events)?)
}

async fn serve(
    tasks: &mut JoinSet<()>,
    handle: &Handle,
    socket: &Path,
    status: Option<TcpListener>,
    stopped: &watch::Receiver<bool>,
) -> Result<()> {
    let until = |mut stopped: watch::Receiver<bool>| -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _ = stopped.wait_for(|s| *s).await;
        })
    };
    let control =
        api::serve_unix(socket, api::control_router(handle.clone()), until(stopped.clone())).await?;
    tasks.spawn(async move {
        if let Err(e) = control.await {
            tracing::error!(error = %e, "the control socket failed");
        }
    });
    if let Some(listener) = status {
        let public = api::serve_tcp(listener, api::public_router(handle.clone()), until(stopped.clone()));
        tasks.spawn(async move {
            if let Err(e) = public.await {
                tracing::error!(error = %e, "the status address failed");
            }
        });
    }
    Ok(())
}

fn stop_on_signal(inputs: mpsc::Sender<Input>) -> Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = inputs.send(Input::Command(Command::Stop)).await;
        std::future::pending().await
    })
}

fn fixed_report(
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

fn explained(e: ControlError) -> anyhow::Error {
    match e.hint {
        Some(hint) => anyhow::anyhow!("{}: {hint}", e.error),
        None => anyhow::anyhow!(e.error),
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => bail!("the system gives no random bytes"),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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

    #[test]
    fn reset_leaves_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["identity", "state.redb", "mine.txt"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        empty(dir.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.txt"]);
    }
}
