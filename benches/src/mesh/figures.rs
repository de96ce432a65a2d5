//! What one run of one scenario gave.

use std::time::Duration;

use sim::Traffic;

use crate::shape::Shape;

/// The figures of one cell of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Time from the event to agreement; `None` when there was none within the time allowed.
    pub(crate) agreement: Option<Duration>,
    /// What was in the way of agreement when the time was up.
    pub(crate) flaw: Option<String>,
    /// What all peers sent while the scenario lasted.
    pub(crate) sent: Traffic,
    /// How long it lasted.
    pub(crate) lasted: Duration,
    /// Peers that took part.
    pub(crate) peers: usize,
    /// Links that stood at the end.
    pub(crate) links: usize,
    /// Changes of a link, counted as pairs of links facts that were stated; for the scenario of one change.
    pub(crate) changes: Option<f64>,
    /// Bytes of gossip beyond those of a quiet time of the same length.
    pub(crate) beyond_quiet: Option<u64>,
    /// Most bytes allocated at once, by the whole world.
    pub(crate) peak_bytes: u64,
    /// Bytes allocated in the end.
    pub(crate) rest_bytes: u64,
    /// What routes are like in the end.
    pub(crate) shape: Shape,
    /// How long the computer took.
    pub(crate) real: Duration,
}

impl Figures {
    /// When all agreed, or why they did not.
    pub(crate) fn settled(&mut self, after: Option<Duration>, flaw: Option<String>) {
        (self.agreement, self.flaw) = (after, flaw);
    }

    /// Messages of gossip that one peer sent.
    pub(crate) fn messages_per_peer(&self) -> f64 {
        self.sent.gossip().messages as f64 / self.peers as f64
    }

    /// Bytes of gossip that one peer sent.
    pub(crate) fn bytes_per_peer(&self) -> f64 {
        self.sent.gossip().bytes as f64 / self.peers as f64
    }

    /// Bytes of everything, pings too, that one peer sent in a second.
    pub(crate) fn rate_per_peer(&self) -> f64 {
        self.sent.all().bytes as f64 / self.peers as f64 / self.lasted.as_secs_f64().max(1e-9)
    }

    /// What one change of a link cost in all, in bytes for each link there is.
    pub(crate) fn change_per_link(&self) -> Option<f64> {
        Some(self.beyond_quiet? as f64 / self.links.max(1) as f64 / self.changes?.max(1.0))
    }

    /// Peak memory for each peer.
    pub(crate) fn peak_per_peer(&self) -> f64 {
        self.peak_bytes as f64 / self.peers as f64
    }
}
