//! Connections that both ends open at the same moment, up to an established link or the reason why there is none (P6.6).

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mesh::Meet;
use tokio::sync::mpsc;
use transport_tls::{Endpoint, Established, Turn, dial_simultaneous};

use crate::connect::{plain, race};
use crate::core::Input;

/// How long the connections of both ends may miss each other: the kernel repeats a SYN after 1 and after 3 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// Connects, and reports to the event loop.
pub(crate) async fn meet(endpoint: Arc<Endpoint>, meeting: Meet, inputs: mpsc::Sender<Input>) {
    let outcome = open(&endpoint, &meeting).await.map(Box::new);
    // The loop is gone only when the router stops.
    let _ = inputs.send(Input::Met(meeting.peer, outcome)).await;
}

/// Tries all ways at once; the first handshake that gets to its end is the link.
async fn open(endpoint: &Endpoint, meeting: &Meet) -> Result<Established, String> {
    let turn = Turn::new();
    let way = |(local, remote)| -> BoxFuture<'_, _> {
        let turn = &turn;
        Box::pin(async move {
            let tcp = dial_simultaneous(local, remote, meeting.at, PATIENCE)
                .await
                .map_err(|e| format!("{remote}: {}", plain(&e)))?;
            endpoint.meet(tcp, meeting.peer, turn).await.map_err(|e| format!("{remote}: {e}"))
        })
    };
    let ways: Vec<_> = meeting.ways.iter().copied().map(way).collect();
    race(ways, Duration::ZERO).await.map_err(|reasons| reasons.join("; "))
}
