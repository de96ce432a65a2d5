//! Whether the kernel may put datagrams together before they are received (UDP_GRO). Pure, as [`Trust`](crate::Trust) is.
//!
//! It is one switch for the whole socket. What speaks against it are records that came in a train and do not open; whether it
//! is the kernel's doing shows when they come one by one.

use std::time::{Duration, Instant};

/// Forged records in trains that are held against it.
const BAD: u64 = 10;
/// Of a thousand records in trains. Less is not worth what it costs to go without.
const CORRUPT: u64 = 1;
/// How long single datagrams are watched before it is decided.
const TRIAL: Duration = Duration::from_secs(10);
/// A suspicion that came to nothing is not repeated for this long at first, and at most.
const EXCUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// What was switched off stays so for this long at first, and at most.
const OFF: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(6 * 3600));

/// Records received since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Received {
    /// In trains, whether or not they opened.
    pub(crate) in_trains: u64,
    /// Of these, those that did not open.
    pub(crate) forged_in_trains: u64,
    /// Others that did not open.
    pub(crate) forged_singly: u64,
}

#[derive(Debug)]
pub(crate) struct Coalescing {
    state: State,
    last: Received,
    excuse: Duration,
    off: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    On {
        excused_until: Option<Instant>,
    },
    /// Off, to see whether forged records, of which `forged` came in a second, go on.
    Trial {
        at: Received,
        until: Instant,
        forged: u64,
    },
    Off {
        until: Instant,
    },
}

impl Coalescing {
    pub(crate) const fn new() -> Self {
        let last = Received { in_trains: 0, forged_in_trains: 0, forged_singly: 0 };
        Self { state: State::On { excused_until: None }, last, excuse: EXCUSED.0, off: OFF.0 }
    }

    /// Whether the kernel may.
    pub(crate) const fn allowed(&self) -> bool {
        matches!(self.state, State::On { .. })
    }

    /// Looks at what was received; due once a second.
    pub(crate) fn handle_tick(&mut self, now: Instant, received: Received) {
        let last = std::mem::replace(&mut self.last, received);
        let forged = received.forged_in_trains.saturating_sub(last.forged_in_trains);
        match self.state {
            State::On { excused_until } => {
                let all = received.in_trains.saturating_sub(last.in_trains);
                let excused = excused_until.is_some_and(|until| now < until);
                if !excused && forged >= BAD && forged.saturating_mul(1000) >= all.saturating_mul(CORRUPT) {
                    self.state = State::Trial { at: received, until: now + TRIAL, forged };
                }
            }
            State::Trial { at, until, forged } if now >= until => {
                // In ten seconds half of what came in one: they are somebody's, and go on coming.
                let go_on = received.forged_singly.saturating_sub(at.forged_singly) * 2 >= forged;
                self.state = if go_on {
                    let excused_until = Some(now + self.excuse);
                    self.excuse = (self.excuse * 2).min(EXCUSED.1);
                    State::On { excused_until }
                } else {
                    let until = now + self.off;
                    self.off = (self.off * 2).min(OFF.1);
                    State::Off { until }
                };
            }
            State::Off { until } if now >= until => self.state = State::On { excused_until: None },
            State::Trial { .. } | State::Off { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Host {
        policy: Coalescing,
        now: Instant,
        received: Received,
    }

    impl Host {
        fn new() -> Self {
            Self { policy: Coalescing::new(), now: Instant::now(), received: Received::default() }
        }

        /// Seconds in each of which `records` arrive, in trains if allowed; some of them forged.
        fn run(&mut self, seconds: u32, records: u64, in_trains: u64, singly: u64) -> &mut Self {
            for _ in 0..seconds {
                self.now += SECOND;
                if self.policy.allowed() {
                    self.received.in_trains += records;
                    self.received.forged_in_trains += in_trains;
                } else {
                    self.received.forged_singly += singly;
                }
                self.policy.handle_tick(self.now, self.received);
            }
            self
        }
    }

    #[test]
    fn trains_whose_records_do_not_open_are_given_up_and_tried_again_later() {
        let mut host = Host::new();
        assert!(!host.run(1, 1000, 100, 0).policy.allowed());
        host.run(300, 1000, 100, 0);
        assert!(!host.policy.allowed());
        assert!(host.run(310, 1000, 0, 0).policy.allowed(), "after ten minutes, and all is well");
        assert!(!host.run(1, 1000, 100, 0).policy.allowed());
        assert!(!host.run(1100, 1000, 0, 0).policy.allowed(), "twice as long");
    }

    #[test]
    fn forged_records_that_come_singly_too_are_not_the_kernels_doing() {
        let mut host = Host::new();
        host.run(1, 1000, 100, 100);
        assert!(!host.policy.allowed());
        assert!(host.run(10, 1000, 100, 100).policy.allowed());
        assert!(host.run(30, 1000, 100, 100).policy.allowed(), "and not suspected at once again");
    }

    #[test]
    fn a_few_of_many_are_borne() {
        let mut host = Host::new();
        assert!(host.run(100, 1_000_000, 50, 0).policy.allowed());
        assert!(host.run(100, 10, 5, 0).policy.allowed());
    }
}
