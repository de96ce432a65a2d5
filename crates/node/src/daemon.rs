//! From a configuration to a running router, and back to nothing.
//!
//! What can fail without having touched the host comes first: directories, identity, ports. Bridge and TAP come last.

mod fixed;
mod prepare;
mod reset;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use api::ControlError;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use docker::Docker;
use host::bridge::{BridgeSpec, ensure_bridge};
use host::tap::Tap;
use mesh::{Mesh, MeshConfig};
use records::Table;
use router::{Forwarder, Notice};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use transport::RecordSink;
use transport_tls::{Endpoint, LocalHello};
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
use crate::{Config, OffloadChoice, listen, network};
use fixed::fixed_report;
use prepare::Prepared;
pub(crate) use reset::reset;

/// Inputs that may wait for the event loop.
const INPUTS: usize = 4096;
/// What the data path may have told without being heard.
const NOTICES: usize = 1024;
/// Requests in progress may finish for this long when the router stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the router until it is told to stop.
pub(crate) async fn run(config: Config, on_ready: impl FnOnce(&str)) -> Result<()> {
    let run_dir = RunDir::claim(&config.run_dir)?;
    host::check::preflight()?;
    // Asked now so that a host without `nft` is told before anything is made.
    host::firewall::present(BRIDGE).await?;
    let store = Arc::new(Store::open(&config.state_dir)?);
    let saved = store.load()?;
    let prepared = Prepared::new(&config, &store, &saved).await?;
    let outcome = match store.set_targets(&prepared.targets) {
        Ok(()) => {
            serve_until_stopped(config, prepared, run_dir.socket(), &store, saved.clone(), on_ready).await
        }
        Err(e) => Err(e.into()),
    };
    match outcome {
        Ok(()) => store.end()?,
        Err(_) => store.take_back(&saved)?,
    }
    outcome
}

/// The router's life on the bridge.
async fn serve_until_stopped(
    config: Config,
    prepared: Prepared,
    socket: PathBuf,
    store: &Arc<Store>,
    saved: Saved,
    on_ready: impl FnOnce(&str),
) -> Result<()> {
    let Prepared { identity, name, targets, incarnation, .. } = prepared;
    let proxy = config.proxy.clone().map(Arc::new);
    let (inputs, inbox) = mpsc::channel(INPUTS);
    let (notices, noticed) = mpsc::channel(NOTICES);
    let events = inputs.clone();
    // What finds no room is asked for or told again.
    let table = Arc::new(Table::new(Box::new(move |event| drop(events.try_send(Input::Table(event))))));
    let (tap, tap_watch, forwarder) = attach_to_bridge(&config, name, incarnation, &table, notices).await?;
    let (udp, receiver) =
        prepared.udp_socket.map(|socket| open_udp(socket, &forwarder, &inputs)).transpose()?.unzip();
    if let Some(udp) = &udp {
        let inside = udp.inside();
        table.set_neighbours(Box::new(move |record| inside.take(record)));
    }
    let uid = Uid(u64::from_be_bytes(random()?));
    let endpoint = Arc::new(Endpoint {
        credentials: prepared.credentials,
        passwords: prepared.passwords,
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
        congestion: prepared.congestion,
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
    mesh.set_listening(now, config.listen.iter().flat_map(|at| at.stated()).collect());
    mesh.set_guessing(config.guess_ports && udp.is_some());

    let handle = Handle(Arc::new(Parts {
        inputs: inputs.clone(),
        store: Arc::clone(store),
        targets: Mutex::new(targets),
        containers: Containers::new(Docker::connect(), Arc::clone(store), config.mtu, saved.attachments),
        exposure: Exposure::new(Arc::clone(store), config.port, further_ports(&config), saved.exposed),
        fixed: fixed_report(&config, name, &identity, tap.offloads()),
        proxy: proxy.clone(),
        bridge_mac: name.to_string(),
        bridge_watch: BridgeWatch::new(!tap.vnet_hdr() && config.offload == OffloadChoice::Auto),
    }));
    handle.0.exposure.restore().await.map_err(|Failure(e)| explained(e))?;

    let (gateway, gateways) = watch::channel(None);
    let (mapping, mapped) = PortMapping::start(&config, gateways);
    let (link_sender, link_events) = mpsc::channel(INPUTS);
    let (links, handover) = transport_tls::Receiver::new().context("cannot watch links")?;
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
            store: Arc::clone(store),
            pins: saved.pins,
            sender: inputs.clone(),
            inputs: inbox,
            notices: noticed,
            link_events,
            link_sender,
            handover,
        },
        now,
    );

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &handle, &socket, prepared.status, &stopped).await?;
    let pump = Pump::start(&tap, &forwarder, receiver, links).context("cannot start the data path")?;
    let mut background = JoinSet::new();
    background.spawn(listen::accept(prepared.listeners, endpoint, inputs.clone()));
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

async fn attach_to_bridge(
    config: &Config,
    name: PeerName,
    incarnation: u64,
    table: &Arc<Table>,
    notices: mpsc::Sender<Notice>,
) -> Result<(Arc<Tap>, TapWatch, Arc<Forwarder>)> {
    ensure_bridge(&BridgeSpec { name: BRIDGE, mac: name.bytes(), mtu: config.mtu }).await?;
    let tap = Arc::new(match config.offload {
        OffloadChoice::Auto => Tap::open(TAP, BRIDGE, config.mtu).await?,
        OffloadChoice::Off => Tap::open_plain(TAP, BRIDGE, config.mtu).await?,
    });
    if !tap.vnet_hdr() && config.offload == OffloadChoice::Auto {
        tracing::warn!("this kernel's TAP carries no super-frames: the router will be slow");
    }
    let (writer, watch) = Writer::new(Arc::clone(&tap));
    let forwarder = Forwarder::new(
        name,
        incarnation,
        Arc::clone(table) as Arc<dyn RecordSink>,
        // When the loop is busy the next frame of the same source tells again.
        Box::new(move |notice| {
            let _ = notices.try_send(notice);
        }),
        Box::new(writer),
    );
    Ok((tap, watch, forwarder))
}

/// What the firewall has to know of these.
fn further_ports(config: &Config) -> Vec<host::firewall::TcpPort> {
    config.listen.iter().map(|at| host::firewall::TcpPort { ip: at.ip, port: at.port }).collect()
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
