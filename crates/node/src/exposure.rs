//! The host's own addresses on the network, and the rules that let them through.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use host::firewall::{FirewallState, NewBridges, PortRules, TcpPort};
use host::{docker_forward, expose, firewall};
use ipnetwork::IpNetwork;
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::failure::Failure;
use crate::interfaces::BRIDGE;
use crate::store::Store;

/// Rules that somebody flushed are put back within this time; the original's interval.
const WATCH: Duration = Duration::from_secs(10);

/// What is exposed. Changes are made one after the other.
pub(crate) struct Exposure {
    store: Arc<Store>,
    port: u16,
    further_ports: Vec<TcpPort>,
    addresses: Mutex<Vec<IpNetwork>>,
    /// Set when it was logged that the firewall cannot look at bridges.
    told: OnceLock<()>,
}

impl Exposure {
    pub(crate) fn new(
        store: Arc<Store>,
        port: u16,
        further_ports: Vec<TcpPort>,
        addresses: Vec<IpNetwork>,
    ) -> Self {
        Self { store, port, further_ports, addresses: Mutex::new(addresses), told: OnceLock::new() }
    }

    /// Puts everything in force that was saved; at launch.
    pub(crate) async fn restore(&self) -> Result<(), Failure> {
        let addresses = self.addresses.lock().await;
        for address in &*addresses {
            if let Err(e) = expose::expose(BRIDGE, *address).await {
                tracing::warn!(%address, error = %e, "cannot expose an address again");
            }
        }
        self.enforce(&addresses).await
    }

    /// Adds addresses; those that are there already are no error.
    pub(crate) async fn expose(&self, wanted: &[IpNetwork]) -> Result<(), Failure> {
        let mut addresses = self.addresses.lock().await;
        let mut next = addresses.clone();
        next.extend(wanted.iter().filter(|w| !addresses.contains(w)));
        self.save(&next).await?;
        let mut done = Vec::new();
        let result = async {
            for address in wanted {
                if expose::expose(BRIDGE, *address).await? {
                    done.push(*address);
                }
            }
            self.enforce(&next).await
        }
        .await;
        if let Err(e) = result {
            for address in done {
                // The first error is the one to tell.
                let _ = expose::hide(BRIDGE, address).await;
            }
            let _ = self.enforce(&addresses).await;
            self.save(&addresses).await?;
            return Err(e);
        }
        *addresses = next;
        Ok(())
    }

    /// Takes addresses away; those that are not there are no error.
    pub(crate) async fn hide(&self, unwanted: &[IpNetwork]) -> Result<(), Failure> {
        let mut addresses = self.addresses.lock().await;
        let next: Vec<_> = addresses.iter().copied().filter(|a| !unwanted.contains(a)).collect();
        self.save(&next).await?;
        *addresses = next;
        for address in unwanted {
            expose::hide(BRIDGE, *address).await?;
        }
        self.enforce(&addresses).await
    }

    pub(crate) async fn list(&self) -> Vec<IpNetwork> {
        self.addresses.lock().await.clone()
    }

    /// Puts rules back that somebody flushed, and closes the router's ports to bridges that Docker makes, for ever.
    pub(crate) async fn watch(&self) {
        // Without news of bridges, theirs is put right when the rules are looked at next.
        let mut bridges =
            NewBridges::start().inspect_err(|e| tracing::warn!(error = %e, "new bridges are seen late")).ok();
        let mut rounds = tokio::time::interval(WATCH);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    if !self.present().await && self.put_back().await {
                        tracing::warn!("somebody removed the firewall rules; they are back");
                    }
                }
                news = changed(&mut bridges) => {
                    if news.is_none() {
                        bridges = None;
                    }
                    if !firewall::present(BRIDGE).await.unwrap_or(true) && self.put_back().await {
                        tracing::info!("the router's ports are closed to containers on a new bridge");
                    }
                }
            }
        }
    }

    async fn present(&self) -> bool {
        match (firewall::present(BRIDGE).await, docker_forward::present(BRIDGE).await) {
            (Ok(tables), Ok(chain)) => tables && chain,
            _ => false,
        }
    }

    async fn put_back(&self) -> bool {
        let addresses = self.addresses.lock().await;
        let result = self.enforce(&addresses).await;
        if let Err(e) = &result {
            tracing::debug!(error = %e.0.error, "cannot put the firewall rules back");
        }
        result.is_ok()
    }

    async fn enforce(&self, addresses: &[IpNetwork]) -> Result<(), Failure> {
        let state = FirewallState {
            bridge: BRIDGE.to_owned(),
            exposed: addresses.to_vec(),
            router_port: self.port,
            further_ports: self.further_ports.clone(),
        };
        if let PortRules::AtInput { reason } = firewall::apply(&state).await?
            && self.told.set(()).is_ok()
        {
            tracing::info!(
                reason,
                "the firewall cannot filter at bridges: packets between peers meet its rules too, which takes some throughput"
            );
        }
        docker_forward::ensure(&state).await?;
        Ok(())
    }

    async fn save(&self, addresses: &[IpNetwork]) -> Result<(), Failure> {
        let (store, addresses) = (Arc::clone(&self.store), addresses.to_vec());
        crate::failure::blocking(move || store.set_exposed(&addresses)).await
    }
}

/// The next news of bridges, or none ever.
async fn changed(bridges: &mut Option<NewBridges>) -> Option<()> {
    match bridges {
        Some(bridges) => bridges.changed().await,
        None => std::future::pending().await,
    }
}
