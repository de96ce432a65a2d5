//! Whether trains (UDP_SEGMENT) are trusted on the way to one peer. Pure: counts and times come in, a decision comes out.
//!
//! A kernel may refuse trains; that is plain. A network card, driver or hypervisor that loses or damages them says nothing, so
//! it is found out by comparison, in the order A-B-A:
//!
//! 1. Of the records sent with trains many do not arrive: trains are suspected.
//! 2. The same without trains. As many are lost: it has another cause, and trains come back.
//! 3. With trains again. The loss is back, and not because more was sent: trains are off.
//!
//! The third step, and that single datagrams must have got at least as much through, keep trains on where the cause is plenty:
//! a receiver that is flooded loses less of what comes slower, and is served better with trains all the same. Where far more was
//! sent with trains than without, single datagrams must have got far more through: as much as before is what the receiver can
//! take, whatever it comes in. What was switched off is tried again later.

use std::time::{Duration, Instant};

mod window;

pub use window::Sample;
use window::{Share, Window};

/// From probe to probe while something is being found out, and the shortest window that tells a rate.
pub const PACE: Duration = Duration::from_millis(200);
/// What is not found out by then is dropped: too little is sent, and then trains matter little.
const PATIENCE: Duration = Duration::from_secs(30);
/// A window that gathers less than [`ENOUGH`] records in this time begins anew.
const STALE: Duration = Duration::from_secs(30);
/// Records after which a window without much loss has shown that all is well.
const ENOUGH: u64 = 200;
/// Lost records to expect if nothing had changed, before a difference counts. Fewer than half of 20 come about by chance in one
/// case of 200, one or none of 10 in one of 2000.
const EXPECTED: f64 = 20.0;
const EXPECTED_NONE: f64 = 10.0;
/// How many times as much sent with trains as without is far more: TCP does not send more while it loses more, programs that send
/// without regard to loss do, because trains cost them less.
const MORE_SENT: f64 = 1.25;
/// How many times as much must arrive without trains then.
const MORE_THROUGH: f64 = 1.5;
/// Suspicion that came to nothing is not repeated for this long at first, and at most.
const EXCUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// An excuse does not hold for so many times the loss.
const WORSE: f64 = 4.0;
/// Trains that were switched off stay so for this long at first, and at most.
const OFF: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(6 * 3600));

/// Why trains are off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The kernel refused one whose datagrams it then took; the error number.
    Refused(i32),
    /// This share of records was lost with trains, and this without.
    Lossy(f64, f64),
    /// As lossy, and records arrived that did not open.
    Corrupt(f64, f64),
    /// Suspected for this share of records lost, and being compared.
    Trial(f64),
}

impl Why {
    /// Every label, for metrics.
    pub const LABELS: [&str; 4] = ["refused", "lossy", "corrupt", "trial"];

    /// For metrics.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.number()]
    }

    const fn number(self) -> usize {
        match self {
            Self::Refused(_) => 0,
            Self::Lossy(..) => 1,
            Self::Corrupt(..) => 2,
            Self::Trial(_) => 3,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(errno) => {
                write!(f, "the kernel refuses them: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Lossy(with, without) => {
                write!(f, "they lose {} of records, single datagrams {}", Share(*with), Share(*without))
            }
            Self::Corrupt(with, without) => write!(
                f,
                "they are damaged on the way: {} of records lost, {} of single datagrams",
                Share(*with),
                Share(*without)
            ),
            Self::Trial(with) => {
                write!(f, "{} of records were lost, trying single datagrams", Share(*with))
            }
        }
    }
}

/// Decides about trains to one peer.
#[derive(Debug)]
pub struct Trust {
    state: State,
    /// The beginning of the window that is being looked at.
    base: Option<Sample>,
    /// When the state began. What was counted for a probe sent before does not belong to it.
    since: Instant,
    excused: Option<Excuse>,
    excuse: Duration,
    off: Duration,
    switched_off: [u64; Why::LABELS.len()],
}

#[derive(Debug, Clone, Copy)]
enum State {
    Trusted,
    /// Without trains (B), after what was seen with them.
    Trial {
        with: Window,
    },
    /// With trains again (A), after both.
    Recheck {
        with: Window,
        without: Window,
    },
    Off {
        why: Why,
        until: Instant,
    },
    /// On again after they were off, and watched.
    Retry,
}

/// A suspicion that came to nothing.
#[derive(Debug, Clone, Copy)]
struct Excuse {
    until: Instant,
    /// The share that was lost then.
    loss: f64,
}

impl Excuse {
    /// What was seen first may have been the mere beginning: much more loss is another matter.
    fn covers(&self, now: Instant, window: Window) -> bool {
        now < self.until && window.loss() <= self.loss * WORSE
    }
}

impl Trust {
    /// Trains are on.
    pub const fn new(now: Instant) -> Self {
        Self {
            state: State::Trusted,
            base: None,
            since: now,
            excused: None,
            excuse: EXCUSED.0,
            off: OFF.0,
            switched_off: [0; Why::LABELS.len()],
        }
    }

    /// Whether trains may be sent.
    pub const fn allowed(&self) -> bool {
        self.why().is_none()
    }

    /// Why not, if so.
    pub const fn why(&self) -> Option<Why> {
        match self.state {
            State::Off { why, .. } => Some(why),
            State::Trial { with } => Some(Why::Trial(with.loss())),
            State::Trusted | State::Recheck { .. } | State::Retry => None,
        }
    }

    /// How often trains were switched off, in the order of [`Why::LABELS`].
    pub const fn switched_off(&self) -> [u64; Why::LABELS.len()] {
        self.switched_off
    }

    /// The kernel refused a train with this error, and took its datagrams one by one.
    pub fn handle_refusal(&mut self, now: Instant, errno: i32) {
        // One that was on its way when they were switched off tells nothing new.
        if self.allowed() {
            self.switch_off(now, Why::Refused(errno));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Trusted => None,
            State::Off { until, .. } => Some(until),
            State::Trial { .. } | State::Recheck { .. } | State::Retry => Some(self.since + PATIENCE),
        }
    }

    /// Whether probes are wanted every [`PACE`], because something is being found out.
    pub const fn is_measuring(&self) -> bool {
        matches!(self.state, State::Trial { .. } | State::Recheck { .. } | State::Retry)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.state {
            State::Off { why: Why::Refused(_), .. } => self.enter(now, State::Trusted),
            State::Off { .. } => self.enter(now, State::Retry),
            State::Trial { with } | State::Recheck { with, .. } => self.acquit(now, with.loss()),
            State::Trusted | State::Retry => self.enter(now, State::Trusted),
        }
    }

    /// What was counted so far does not belong to what comes: some of it went another way.
    pub const fn interrupt(&mut self) {
        self.base = None;
    }

    /// An answer tells what had arrived of what had been sent when its probe was.
    pub fn handle_sample(&mut self, now: Instant, sample: Sample) {
        if sample.at < self.since {
            return;
        }
        let Some(window) = self.base.and_then(|base| base.to(&sample)) else {
            self.base = Some(sample);
            return;
        };
        match self.state {
            State::Off { .. } => self.base = Some(sample),
            State::Trusted => {
                let excused = self.excused.is_some_and(|excuse| excuse.covers(now, window));
                if !excused && window.is_suspicious() {
                    self.suspect(now, window);
                } else if window.sent >= ENOUGH || window.elapsed >= STALE {
                    self.base = Some(sample);
                }
            }
            State::Trial { with } => {
                let expected = with.loss() * window.sent as f64;
                let none = expected >= EXPECTED_NONE && window.bad as f64 * 10.0 <= expected;
                if window.elapsed < PACE || (expected < EXPECTED && !none) {
                    return;
                }
                if is_like(window, expected) {
                    self.acquit(now, with.loss());
                } else {
                    self.enter(now, State::Recheck { with, without: window });
                }
            }
            State::Recheck { with, without } => {
                let expected = with.loss() * window.sent as f64;
                if window.elapsed < PACE || (expected < EXPECTED && !window.is_suspicious()) {
                    return;
                }
                let is_back = is_like(window, expected) && window.is_suspicious();
                let flooded = window.offered() > without.offered() * MORE_SENT;
                let more = if flooded { MORE_THROUGH } else { 1.0 };
                if is_back && without.rate() >= window.rate() * more {
                    self.switch_off(now, verdict(with.and(window), without.loss()));
                } else {
                    self.acquit(now, with.loss());
                }
            }
            State::Retry => {
                if window.is_suspicious() {
                    self.suspect(now, window);
                } else if window.elapsed >= PACE && window.sent >= ENOUGH {
                    self.enter(now, State::Trusted);
                }
            }
        }
    }

    fn suspect(&mut self, now: Instant, with: Window) {
        // Long ago is another matter.
        if self.excused.is_some_and(|excuse| now > excuse.until + self.excuse) {
            self.excuse = EXCUSED.0;
        }
        self.switched_off[Why::Trial(0.0).number()] += 1;
        self.enter(now, State::Trial { with });
    }

    fn acquit(&mut self, now: Instant, loss: f64) {
        self.excused = Some(Excuse { until: now + self.excuse, loss });
        self.excuse = (self.excuse * 2).min(EXCUSED.1);
        self.enter(now, State::Trusted);
    }

    fn switch_off(&mut self, now: Instant, why: Why) {
        // Trains that were good for as long as they can be off are a new case.
        if matches!(self.state, State::Trusted) && now.saturating_duration_since(self.since) >= OFF.1 {
            self.off = OFF.0;
        }
        self.switched_off[why.number()] += 1;
        self.enter(now, State::Off { why, until: now + self.off });
        self.off = (self.off * 2).min(OFF.1);
    }

    fn enter(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
        self.base = None;
    }
}

/// Whether as much was lost as expected, by and large.
fn is_like(window: Window, expected: f64) -> bool {
    window.bad as f64 * 2.0 >= expected
}

fn verdict(with: Window, without: f64) -> Why {
    if with.is_damaged() { Why::Corrupt(with.loss(), without) } else { Why::Lossy(with.loss(), without) }
}

#[cfg(test)]
mod tests;
