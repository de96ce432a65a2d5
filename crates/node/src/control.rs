//! The API's view of the daemon.

use std::sync::Arc;
use std::time::Duration;

use api::{
    Addresses, Attach, Check, Connect, Control, ControlError, Detach, Expose, Forget, Hide, Offloads,
    PsEntry, RemovePeers, RemovedPeers, Report, RouterReport, Why, WhyReport,
};
use ipnetwork::IpNetwork;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::bridge_watch::BridgeWatch;
use crate::containers::{Containers, HOST_ID};
use crate::core::{Command, CoreReport, Input, OffloadState};
use crate::exposure::Exposure;
use crate::failure::{Failure, blocking};
use crate::interfaces::BRIDGE;
use crate::store::Store;
use crate::{Proxy, metrics, target};

/// How long a report waits for Docker to list its containers.
const DOCKER_PATIENCE: Duration = Duration::from_secs(1);

/// A cheap handle on everything that can be asked of the daemon.
#[derive(Clone)]
pub(crate) struct Handle(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) store: Arc<Store>,
    /// The list on disk and in the mesh; held while both are changed.
    pub(crate) targets: Mutex<Vec<String>>,
    pub(crate) containers: Containers,
    pub(crate) exposure: Exposure,
    /// What does not change while the router runs.
    pub(crate) fixed: RouterReport,
    pub(crate) proxy: Option<Arc<Proxy>>,
    pub(crate) bridge_mac: String,
    pub(crate) bridge_watch: BridgeWatch,
}

impl Handle {
    async fn ask(&self) -> Result<CoreReport, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Report(reply)).await?;
        answer.await.map_err(|_| ControlError::unavailable("the router is stopping"))
    }

    async fn tell(&self, command: Command) -> Result<(), ControlError> {
        let gone = |_| ControlError::unavailable("the router is stopping");
        self.0.inputs.send(Input::Command(command)).await.map_err(gone)
    }

    async fn full(&self) -> Result<(Report, CoreReport), ControlError> {
        let core = self.ask().await?;
        let exposed = self.0.exposure.list().await;
        let mut attachments = self.host_entry(&exposed);
        // Without Docker, or with one that hangs, there is still a router to report on.
        if let Ok(Ok(list)) = tokio::time::timeout(DOCKER_PATIENCE, self.0.containers.ps(&[])).await {
            attachments.extend(list);
        }
        let report = Report {
            ready: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            router: RouterReport {
                targets: core.targets.clone(),
                connections: core.connections.clone(),
                peers: core.peers.clone(),
                macs: core.macs.clone(),
                routes: core.routes.clone(),
                drops: core.drops.clone(),
                warnings: core.warnings.iter().cloned().chain(self.0.bridge_watch.warnings()).collect(),
                offloads: self.offloads(&core.offload),
                ..self.0.fixed.clone()
            },
            docker: self.0.containers.engine(),
            exposed: exposed.iter().map(ToString::to_string).collect(),
            attachments,
        };
        Ok((report, core))
    }

    fn offloads(&self, state: &OffloadState) -> Offloads {
        let fixed = &self.0.fixed.offloads;
        let [tcp, udp] = state.whole;
        let mut trouble = state.trouble.clone();
        trouble.dedup();
        Offloads {
            mode: fixed.mode,
            csum: fixed.csum,
            tso: fixed.tso && tcp,
            uso: fixed.uso && udp,
            segmentation: state.segmentation,
            coalescing: state.coalescing,
            trouble,
        }
    }

    fn host_entry(&self, exposed: &[IpNetwork]) -> Vec<PsEntry> {
        let addresses: Vec<_> = exposed.iter().map(ToString::to_string).collect();
        vec![PsEntry { id: HOST_ID.to_owned(), mac: self.0.bridge_mac.clone(), addresses }]
    }

    async fn change_targets(&self, change: impl FnOnce(&mut Vec<String>)) -> Result<Vec<String>, Failure> {
        let mut targets = self.0.targets.lock().await;
        let mut next = targets.clone();
        change(&mut next);
        if next != *targets {
            let (store, list) = (Arc::clone(&self.0.store), next.clone());
            blocking(move || store.set_targets(&list)).await?;
            targets.clone_from(&next);
        }
        Ok(next)
    }
}

impl Control for Handle {
    async fn report(&self) -> Result<Report, ControlError> {
        Ok(self.full().await?.0)
    }

    async fn connect(&self, request: Connect) -> Result<(), ControlError> {
        let run = async {
            if request.peers.is_empty() && !request.replace {
                return Err(ControlError::bad_request(
                    "no peer named: name a host, as in `weave connect host1`",
                )
                .into());
            }
            for peer in &request.peers {
                target::check(peer, self.0.fixed.port, self.0.proxy.as_deref()).await?;
            }
            let peers = request.peers.clone();
            self.change_targets(|list| {
                if request.replace {
                    list.clear();
                }
                for peer in &peers {
                    if !list.contains(peer) {
                        list.push(peer.clone());
                    }
                }
            })
            .await
        };
        run.await.map_err(|e: Failure| e.0)?;
        self.tell(Command::Connect { targets: request.peers, replace: request.replace }).await
    }

    async fn forget(&self, request: Forget) -> Result<(), ControlError> {
        let peers = request.peers.clone();
        self.change_targets(|list| list.retain(|t| !peers.contains(t))).await.map_err(|e| e.0)?;
        let (store, peers) = (Arc::clone(&self.0.store), request.peers.clone());
        blocking(move || peers.iter().try_for_each(|t| store.unpin(t))).await.map_err(|e| e.0)?;
        self.tell(Command::Forget { targets: request.peers }).await
    }

    async fn remove_peers(&self, request: RemovePeers) -> Result<RemovedPeers, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::RemovePeers { peers: request.peers, reply }).await?;
        let answer = answer.await.map_err(|_| ControlError::unavailable("the router is stopping"))?;
        Ok(RemovedPeers { peers: answer.map_err(ControlError::conflict)? })
    }

    async fn why(&self, request: Why) -> Result<WhyReport, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Why { peer: request.peer.clone(), reply }).await?;
        let answer = answer.await.map_err(|_| ControlError::unavailable("the router is stopping"))?;
        answer.ok_or_else(|| {
            ControlError::not_found(format!("no peer is known as {}", request.peer))
                .with_hint("`weave status peers` lists them")
        })
    }

    async fn attach(&self, request: Attach) -> Result<Addresses, ControlError> {
        let addresses = parse(&request.addresses)?;
        let exposed = self.0.exposure.list().await;
        let warnings = overlaps(&addresses).await;
        self.0.containers.attach(&request.container, &addresses, &exposed).await.map_err(|e| e.0)?;
        Ok(Addresses { warnings, ..bare(&addresses) })
    }

    async fn detach(&self, request: Detach) -> Result<Addresses, ControlError> {
        let addresses = parse(&request.addresses)?;
        self.0.containers.detach(&request.container, &addresses).await.map_err(|e| e.0)?;
        Ok(bare(&addresses))
    }

    async fn check(&self, request: Check) -> Result<(), ControlError> {
        let addresses = parse(&request.addresses)?;
        let exposed = self.0.exposure.list().await;
        self.0.containers.check(&addresses, request.container.as_deref(), &exposed).await.map_err(|e| e.0)
    }

    async fn expose(&self, request: Expose) -> Result<Addresses, ControlError> {
        let addresses = parse(&request.addresses)?;
        let others: Vec<_> = self.0.exposure.list().await;
        let new: Vec<_> = addresses.iter().copied().filter(|a| !others.contains(a)).collect();
        self.0.containers.check(&new, None, &[]).await.map_err(|e| e.0)?;
        let warnings = overlaps(&addresses).await;
        self.0.exposure.expose(&addresses).await.map_err(|e| e.0)?;
        Ok(Addresses { warnings, ..bare(&addresses) })
    }

    async fn hide(&self, request: Hide) -> Result<Addresses, ControlError> {
        let addresses = parse(&request.addresses)?;
        self.0.exposure.hide(&addresses).await.map_err(|e| e.0)?;
        Ok(bare(&addresses))
    }

    async fn ps(&self, containers: Vec<String>) -> Result<Vec<PsEntry>, ControlError> {
        let (all, asked_host) = (containers.is_empty(), containers.iter().any(|c| c == HOST_ID));
        let mut entries =
            if all || asked_host { self.host_entry(&self.0.exposure.list().await) } else { Vec::new() };
        let names: Vec<_> = containers.into_iter().filter(|c| c != HOST_ID).collect();
        if all || !names.is_empty() {
            entries.extend(self.0.containers.ps(&names).await.map_err(|e| e.0)?);
        }
        Ok(entries)
    }

    async fn stop(&self) -> Result<(), ControlError> {
        self.tell(Command::Stop).await
    }

    async fn metrics(&self) -> String {
        match self.full().await {
            Ok((report, core)) => metrics::render(&report, &core),
            Err(_) => String::new(),
        }
    }
}

fn parse(texts: &[String]) -> Result<Vec<IpNetwork>, ControlError> {
    if texts.is_empty() {
        return Err(ControlError::bad_request("no address given: name one, as in 192.168.122.1/24"));
    }
    let mut list = Vec::new();
    for text in texts {
        let address = api::address::parse(text).map_err(ControlError::bad_request)?;
        if !list.contains(&address) {
            list.push(address);
        }
    }
    Ok(list)
}

fn bare(addresses: &[IpNetwork]) -> Addresses {
    Addresses { addresses: addresses.iter().map(|a| a.ip().to_string()).collect(), warnings: Vec::new() }
}

/// Subnets that this host reaches by another way as well: it goes on, because who names an address knows his network, but the
/// host itself may not reach the containers then.
async fn overlaps(addresses: &[IpNetwork]) -> Vec<String> {
    let mut warnings = Vec::new();
    for address in addresses {
        if let Ok(Some(overlap)) = host::addresses::route_overlap(*address, BRIDGE).await {
            warnings.push(format!("{address} overlaps with this host's {overlap}"));
        }
    }
    warnings
}
