//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// Wait after the first failure. A restarted neighbour is back within it, and P3.7 needs 3 s to let it in again.
const FIRST: Duration = Duration::from_secs(2);
/// Longest wait before jitter: a host that comes back after a day is found again within minutes.
const LONGEST: Duration = Duration::from_secs(6 * 60);
/// By how much each failure in a row stretches the wait.
const GROWTH: f64 = 1.5;

/// Grows by half with each failure, from 2 s to 6 min; each wait is varied by up to a half either way, so that
/// hosts which failed together do not try together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    interval: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { interval: FIRST }
    }

    /// The wait after one more failure.
    pub(crate) fn next(&mut self, rng: &mut StdRng) -> Duration {
        let wait = self.interval.mul_f64(rng.random_range(0.5..1.5));
        self.interval = self.interval.mul_f64(GROWTH).min(LONGEST);
        wait
    }

    /// The longest wait at once: for a refusal that only a change on one of the hosts can turn.
    pub(crate) fn longest(&mut self, rng: &mut StdRng) -> Duration {
        self.interval = LONGEST;
        self.next(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_grow_by_half_from_2_s_to_6_min_and_vary_by_half() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut backoff = Backoff::new();
        let mut nominal = 2.0_f64;
        for _ in 0..40 {
            let wait = backoff.next(&mut rng).as_secs_f64();
            assert!(wait >= nominal * 0.499 && wait <= nominal * 1.501, "{wait} s where {nominal} s was due");
            nominal = (nominal * 1.5).min(360.0);
        }
        assert!((nominal - 360.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_longest_wait_comes_at_once_when_asked_for() {
        let mut rng = StdRng::from_seed([2; 32]);
        let wait = Backoff::new().longest(&mut rng);
        assert!(wait >= Duration::from_secs(180) && wait <= Duration::from_secs(540), "{wait:?}");
    }
}
