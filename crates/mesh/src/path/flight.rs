//! Probes that were sent and not answered yet.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;

use super::Probe;

/// Most probes kept: eight addresses, two probes to each, for eight rounds, and as many again for lengths that are asked about. Answers
/// that come later are ignored.
const MAX: usize = 256;

/// The probes in flight.
#[derive(Debug)]
pub(super) struct Flight {
    rng: StdRng,
    sent: VecDeque<(Probe, Instant)>,
}

impl Flight {
    pub(super) const fn new(rng: StdRng) -> Self {
        Self { rng, sent: VecDeque::new() }
    }

    /// A new probe, taken down as sent now.
    pub(super) fn send(&mut self, now: Instant, to: SocketAddr, length: u16) -> Probe {
        let probe = Probe { to, token: self.rng.random(), length };
        if self.sent.len() >= MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((probe, now));
        probe
    }

    /// The probe with this token, and when it was sent; once only.
    pub(super) fn take(&mut self, token: u64) -> Option<(Probe, Instant)> {
        let at = self.sent.iter().position(|(p, _)| p.token == token)?;
        self.sent.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;
    use rand::SeedableRng;

    #[test]
    fn a_probe_is_answered_once_and_only_so_many_are_kept() {
        let (now, mut flight) = (start(), Flight::new(StdRng::from_seed([1; 32])));
        let probes: Vec<_> = (0..=MAX).map(|_| flight.send(now, ([10, 0, 0, 1], 1).into(), 100)).collect();
        assert_eq!(flight.take(probes[0].token), None);
        assert_eq!(flight.take(probes[1].token), Some((probes[1], now)));
        assert_eq!(flight.take(probes[1].token), None);
        assert_eq!(flight.sent.len(), MAX - 1);
    }
}
