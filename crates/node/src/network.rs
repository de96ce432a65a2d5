//! The network of this host: told to the event loop when it changes, and asked to let others in.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use host::network::{Network, NetworkWatch};
use portmap::{Gateway, Ports, State};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::core::Input;
use crate::interfaces::BRIDGE;
use crate::{Config, TransportChoice};

/// How long the end of mappings may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Tells the event loop of every change, and whoever maps ports which router there is, for ever.
pub(crate) async fn follow(inputs: mpsc::Sender<Input>, gateway: watch::Sender<Option<Gateway>>) {
    let mut network = match NetworkWatch::start(BRIDGE).await {
        Ok(network) => network,
        Err(e) => return tracing::warn!("changes of this host's network are not noticed at once: {e}"),
    };
    gateway.send_replace(router(network.network()));
    loop {
        let changed = match network.changed().await {
            Ok(Some(changed)) => changed,
            Ok(None) => return,
            Err(e) => return tracing::warn!("changes of this host's network are not noticed any more: {e}"),
        };
        let addresses: Vec<_> = changed.addresses.iter().map(ToString::to_string).collect();
        tracing::info!(addresses = addresses.join(" "), "this host's network changed");
        gateway.send_replace(router(changed));
        if inputs.send(Input::NetworkChanged).await.is_err() {
            return;
        }
    }
}

/// The default gateway, and the address of this host that it sees.
fn router(network: &Network) -> Option<Gateway> {
    let address = network.gateway?;
    // Nothing is sent: the kernel says which address it would send from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((address, 9)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) => Some(Gateway { address, local: *local.ip() }),
        SocketAddr::V6(_) => None,
    }
}

/// The task that keeps ports mapped.
pub(crate) struct PortMapping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl PortMapping {
    /// Begins, unless the operator forbids it, or UDP, by which all routers are asked. What comes of it is in the watch.
    pub(crate) fn start(
        config: &Config,
        gateway: watch::Receiver<Option<Gateway>>,
    ) -> (Option<Self>, watch::Receiver<State>) {
        let (sender, state) = watch::channel(State::default());
        if !config.port_mapping || config.transport == TransportChoice::Tls {
            return (None, state);
        }
        let port = NonZeroU16::new(config.port);
        let (stop, stopped) = oneshot::channel();
        let task = portmap::keep(Ports { udp: port, tcp: port }, gateway, sender, async {
            drop(stopped.await);
        });
        (Some(Self { stop, task: tokio::spawn(task) }), state)
    }

    /// Takes the mappings back.
    pub(crate) async fn end(self) {
        drop(self.stop);
        // What is not taken back ends by itself.
        let _ = tokio::time::timeout(FAREWELL, self.task).await;
    }
}
