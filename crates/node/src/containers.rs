//! Containers on the network: attached when asked, and again whenever they start.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{ControlError, PsEntry};
use docker::{Container, Docker, DockerError, Event, State};
use futures::StreamExt as _;
use host::port::{self, PortSpec};
use ipnetwork::IpNetwork;
use tokio::sync::Mutex;

use crate::exposure::Exposure;
use crate::failure::{Failure, blocking};
use crate::interfaces::BRIDGE;
use crate::store::Store;

/// How `weave ps` names the host itself.
pub(crate) const HOST_ID: &str = "weave:expose";
/// Characters of a container's id that `ps` shows.
const SHORT: usize = 12;

/// What containers are to have. Changes are made one after the other.
pub(crate) struct Containers {
    docker: Docker,
    store: Arc<Store>,
    mtu: u32,
    wanted: Mutex<BTreeMap<String, Vec<IpNetwork>>>,
    engine: std::sync::Mutex<api::DockerReport>,
}

impl Containers {
    pub(crate) fn new(
        docker: Docker,
        store: Arc<Store>,
        mtu: u32,
        wanted: BTreeMap<String, Vec<IpNetwork>>,
    ) -> Self {
        let engine = api::DockerReport { reachable: false, detail: "not asked yet".into() };
        Self { docker, store, mtu, wanted: Mutex::new(wanted), engine: std::sync::Mutex::new(engine) }
    }

    /// Gives a running container addresses. What was asked for is on disk before it is done.
    pub(crate) async fn attach(
        &self,
        name: &str,
        addresses: &[IpNetwork],
        exposed: &[IpNetwork],
    ) -> Result<(), Failure> {
        let container = self.docker.running_target(name).await?;
        let mut wanted = self.wanted.lock().await;
        self.check_free(addresses, Some(&container.id), &wanted, exposed).await?;
        let before = wanted.get(&container.id).cloned().unwrap_or_default();
        let new: Vec<_> = addresses.iter().copied().filter(|a| !before.contains(a)).collect();
        let (store, id, list) = (Arc::clone(&self.store), container.id.clone(), new.clone());
        blocking(move || store.add_attachments(&id, &list)).await?;
        if let Err(e) = self.join(&container, addresses).await {
            let (store, id) = (Arc::clone(&self.store), container.id);
            blocking(move || store.remove_attachments(&id, &new)).await?;
            return Err(e);
        }
        wanted.entry(container.id).or_default().extend(new);
        Ok(())
    }

    /// Takes addresses away from a container; those it does not have are no error.
    pub(crate) async fn detach(&self, name: &str, addresses: &[IpNetwork]) -> Result<(), Failure> {
        let container = self.docker.inspect(name).await?;
        let mut wanted = self.wanted.lock().await;
        let (store, id, list) = (Arc::clone(&self.store), container.id.clone(), addresses.to_vec());
        blocking(move || store.remove_attachments(&id, &list)).await?;
        if let Some(kept) = wanted.get_mut(&container.id) {
            kept.retain(|a| !addresses.contains(a));
            if kept.is_empty() {
                wanted.remove(&container.id);
            }
        }
        match container.pid {
            Some(pid) if !container.host_network => {
                port::detach(pid, addresses).await.map(|_| ()).map_err(Into::into)
            }
            _ => Ok(()),
        }
    }

    /// Whether these addresses could be attached to a container, or to one that does not exist yet.
    pub(crate) async fn check(
        &self,
        addresses: &[IpNetwork],
        container: Option<&str>,
        exposed: &[IpNetwork],
    ) -> Result<(), Failure> {
        let own = match container {
            Some(name) => Some(self.docker.inspect(name).await?.id),
            None => None,
        };
        let wanted = self.wanted.lock().await;
        self.check_free(addresses, own.as_deref(), &wanted, exposed).await
    }

    /// Every container with a port; with names, those only.
    pub(crate) async fn ps(&self, names: &[String]) -> Result<Vec<PsEntry>, Failure> {
        let mut containers = Vec::new();
        if names.is_empty() {
            containers = self.docker.list_running().await?;
        }
        for name in names {
            containers.push(self.docker.inspect(name).await?);
        }
        let mut entries = Vec::new();
        for container in containers {
            let Some(pid) = container.pid.filter(|_| !container.host_network) else { continue };
            // A container may stop while it is being looked at.
            let Ok(Some(facts)) = port::inspect(pid).await else { continue };
            entries.push(PsEntry {
                id: container.id.chars().take(SHORT).collect(),
                mac: packet::Mac(facts.mac).to_string(),
                addresses: facts.addresses.iter().map(ToString::to_string).collect(),
            });
        }
        Ok(entries)
    }

    /// What is known of Docker.
    pub(crate) fn engine(&self) -> api::DockerReport {
        self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Follows Docker's events for ever: containers that start get their addresses back.
    pub(crate) async fn follow(&self, exposure: &Exposure) {
        let mut events = self.docker.events();
        while let Some(event) = events.next().await {
            match event {
                Event::Started { id } => self.started(&id, exposure).await,
                Event::Destroyed { id } => self.destroyed(&id).await,
                Event::Resynced => {
                    let detail = self.docker.version().await.unwrap_or_default();
                    self.note(true, detail);
                    self.resync(exposure).await;
                }
                Event::Lost { reason } => self.note(false, reason),
                // Its port is gone with its namespace; what it is to have stays noted until it is removed.
                Event::Died { .. } => {}
            }
        }
    }

    async fn started(&self, id: &str, exposure: &Exposure) {
        let exposed = exposure.list().await;
        let wanted = self.wanted.lock().await;
        let Some(addresses) = wanted.get(id) else { return };
        let container = match self.docker.inspect(id).await {
            Ok(container) => container,
            Err(e) => {
                return tracing::warn!(container = id, error = %e, "cannot attach a container that started");
            }
        };
        if container.state != State::Running || container.host_network {
            return;
        }
        match self.check_free(addresses, Some(id), &wanted, &exposed).await {
            Ok(()) => match self.join(&container, addresses).await {
                Ok(()) => tracing::info!(container = container.name, "attached a container that started"),
                Err(e) => {
                    tracing::warn!(container = container.name, error = %e.0, "cannot attach a container that started")
                }
            },
            Err(e) => {
                tracing::warn!(container = container.name, error = %e.0, "a container that started stays detached")
            }
        }
    }

    async fn destroyed(&self, id: &str) {
        if self.wanted.lock().await.remove(id).is_some() {
            let (store, id) = (Arc::clone(&self.store), id.to_owned());
            if let Err(e) = blocking(move || store.forget_container(&id)).await {
                tracing::warn!(error = %e.0, "cannot forget a container");
            }
        }
    }

    /// Brings everything in line with Docker after a time in which events were missed.
    async fn resync(&self, exposure: &Exposure) {
        let ids: Vec<_> = self.wanted.lock().await.keys().cloned().collect();
        for id in ids {
            match self.docker.inspect(&id).await {
                Ok(_) => self.started(&id, exposure).await,
                Err(DockerError::NoSuchContainer(_)) => self.destroyed(&id).await,
                Err(e) => tracing::debug!(container = id, error = %e, "cannot look at a container"),
            }
        }
    }

    async fn join(&self, container: &Container, addresses: &[IpNetwork]) -> Result<(), Failure> {
        let Some(pid) = container.pid else {
            return Err(DockerError::Stopped { name: container.name.clone(), status: "exited".into() }.into());
        };
        let spec = PortSpec {
            pid,
            container_id: &container.id,
            bridge: BRIDGE,
            mtu: self.mtu,
            addresses,
            multicast_route: true,
        };
        port::attach(&spec).await?;
        Ok(())
    }

    /// An address belongs to one running container, or to the host. What a stopped container had may be taken.
    async fn check_free(
        &self,
        addresses: &[IpNetwork],
        own_id: Option<&str>,
        wanted: &BTreeMap<String, Vec<IpNetwork>>,
        exposed: &[IpNetwork],
    ) -> Result<(), Failure> {
        for address in addresses {
            if exposed.iter().any(|e| e.ip() == address.ip()) {
                return Err(ControlError::conflict(format!(
                    "{} is the address of this host (`weave expose`): choose another",
                    address.ip()
                ))
                .into());
            }
            let holders = wanted.iter().filter(|(id, _)| Some(id.as_str()) != own_id);
            for (id, _) in holders.filter(|(_, list)| list.iter().any(|a| a.ip() == address.ip())) {
                if let Ok(holder) = self.docker.inspect(id).await
                    && matches!(holder.state, State::Running | State::Paused)
                {
                    return Err(ControlError::conflict(format!(
                        "{} is the address of container {}: choose another, or detach it there first",
                        address.ip(),
                        holder.name
                    ))
                    .into());
                }
            }
        }
        Ok(())
    }

    fn note(&self, reachable: bool, detail: String) {
        *self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            api::DockerReport { reachable, detail };
    }
}
