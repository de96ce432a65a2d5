//! One try, what became of it, and how either is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::PeerName;

use super::ports::Ports;
use super::{OPENED, TRIED};

/// The one that is under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) peer: PeerName,
    pub(super) number: u32,
    pub(super) since: Instant,
    pub(super) stage: Stage,
    pub(super) next_at: Instant,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// We asked the peer to guess.
    Called,
    /// Sockets are being opened.
    Opening {
        to: SocketAddr,
        opened: u32,
    },
    /// So many are open, and the peer guesses.
    Open(u32),
    /// We agreed to guess, and wait until all are open.
    Answered(Ports),
    Guessing(Ports),
    /// There is a way.
    Settling,
}

/// What became of the last time with one peer.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) failures: usize,
    pub(super) next_at: Instant,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Found(Duration),
    Failed { opened: bool, count: u32 },
    Unanswered,
    Refused,
}

impl Run {
    /// How far it is.
    pub(super) fn progress(&self) -> String {
        match &self.stage {
            Stage::Called => "guessing ports: the peer is asked whether it guesses".to_owned(),
            Stage::Opening { opened, .. } => format!("guessing ports: {opened} of {OPENED} opened"),
            Stage::Open(opened) => format!("guessing ports: {opened} opened, the peer guesses"),
            Stage::Answered(_) => "guessing ports: the peer opens them".to_owned(),
            Stage::Guessing(ports) => format!("guessing ports: {} of {TRIED} tried", ports.count()),
            Stage::Settling => "guessing ports: found".to_owned(),
        }
    }
}

impl Tried {
    pub(super) fn words(&self, now: Instant) -> String {
        let wait = self.next_at.saturating_duration_since(now).as_secs();
        let again = match wait {
            0 => String::new(),
            1..120 => format!(", tried again in {wait} s"),
            _ => format!(", tried again in {} min", wait / 60),
        };
        match self.outcome {
            Outcome::Found(after) => {
                format!("guessing ports: found after {:.1} s", after.as_secs_f64())
            }
            Outcome::Failed { opened: true, count } => {
                format!("guessing ports: {count} were opened and none was guessed{again}")
            }
            Outcome::Failed { opened: false, count } => {
                format!("guessing ports: {count} were tried and none was right{again}")
            }
            Outcome::Unanswered => format!("guessing ports: the peer did not answer{again}"),
            Outcome::Refused => {
                format!("guessing ports: the peer was launched without --guess-ports{again}")
            }
        }
    }
}
