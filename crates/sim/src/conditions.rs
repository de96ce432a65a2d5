//! The network below, and what is wrong with it.

use std::collections::BTreeSet;
use std::time::Duration;

/// What the network below is like.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Time that everything takes at least, one way.
    pub latency: Duration,
    /// What is added between the two corners of the map that are farthest apart. Peers sit on it at random.
    pub spread: Duration,
    /// What is added at random to each message. Messages of one link keep their order.
    pub jitter: Duration,
    /// What one peer can send, in bits per second.
    pub bandwidth: u64,
    /// Frames lost on each link, in a million. Messages never are: TCP sends them again.
    pub frame_loss: u32,
    /// Connections that a peer accepts at once.
    pub accept_burst: u32,
    /// How long after them it accepts the next, and then each further one.
    pub accept_every: Duration,
}

impl Default for Conditions {
    /// A continent: 1 to 41 ms there and back, 1 Gb/s.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(500),
            spread: Duration::from_millis(20),
            jitter: Duration::from_micros(200),
            bandwidth: 1_000_000_000,
            frame_loss: 0,
            accept_burst: 64,
            accept_every: Duration::from_millis(5),
        }
    }
}

/// What is wrong with the network below. Peers by their number.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// (from, to): nothing gets through that way, and nobody is told.
    pub(crate) silent: BTreeSet<(usize, usize)>,
    /// (from, to): `from` cannot dial `to`; its calls are not answered.
    pub(crate) blocked: BTreeSet<(usize, usize)>,
    /// Nothing passes between peers on different sides.
    pub(crate) split: bool,
}
