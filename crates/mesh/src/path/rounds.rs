//! When probes go out, and when the path is given up.

use std::net::SocketAddr;
use std::time::Instant;

use super::pace::{EAGER, doubt, gap};
use super::{PathEvent, PathProber, PathState, TRUST};

/// Rounds without an answer after which a path that never worked is called down.
const GIVE_UP: u32 = 5;
/// Rounds without an answer after which all other addresses are asked too, although the path is still up.
const DOUBT: u32 = 2;

impl PathProber {
    pub(super) fn begin_round(&mut self, now: Instant) {
        if self.state == PathState::Probing && self.unanswered >= GIVE_UP {
            self.go_down(now);
        }
        if self.is_up() && self.unanswered >= DOUBT {
            self.open_since.get_or_insert(now);
        }
        let to = match (self.state, self.rival) {
            _ if self.open_since.is_some() => self.candidates.clone(),
            (PathState::Up { address, .. }, Some(rival)) if !rival.declined => vec![address, rival.address],
            (PathState::Up { address, .. }, _) => vec![address],
            _ => self.candidates.clone(),
        };
        // What the system said of earlier rounds, it says again if it still holds.
        self.unreachable = false;
        self.transmits.clear();
        for to in to {
            match self.state {
                PathState::Up { address, .. } if address == to => self.ask_again(now, to),
                _ => self.send_pair(now, to, self.full),
            }
        }
        if let PathState::Up { address, .. } = self.state
            && self.size.is_full()
        {
            for long in self.long.into_iter().flatten() {
                self.transmits.push_back(self.flight.send(now, address, long));
            }
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.round_at = Some(now);
        if let PathState::Up { rtt, .. } = self.state {
            self.doubt_until.get_or_insert(now + doubt(rtt));
            self.next_at = now + EAGER;
        } else {
            self.next_at = now + gap(now.saturating_duration_since(self.trying_since));
        }
    }

    /// Asks the address in use whether what passed still does.
    pub(super) fn ask_again(&mut self, now: Instant, address: SocketAddr) {
        self.send_pair(now, address, self.size.passes());
        self.size.asked(now);
    }

    /// Two probes: one of this length, and one that passes nearly everywhere. The long one goes first, so that where both pass
    /// its answer is the first to arrive.
    fn send_pair(&mut self, now: Instant, to: SocketAddr, length: u16) {
        self.transmits.push_back(self.flight.send(now, to, length));
        if self.base < length {
            self.transmits.push_back(self.flight.send(now, to, self.base));
        }
    }

    /// When a path that works is given up unless something is answered before.
    pub(super) fn trust_ends(&self) -> Option<Instant> {
        let trust = self.answered_at? + TRUST;
        Some(self.doubt_until.map_or(trust, |doubt| doubt.min(trust)))
    }

    pub(super) fn go_down(&mut self, now: Instant) {
        if self.is_up() {
            self.trying_since = now;
            self.hurry(now);
        }
        (self.doubt_until, self.open_since) = (None, None);
        self.state = PathState::Down;
        self.rival = None;
        self.narrow = None;
        self.size.stop();
        self.note(PathEvent::Down);
    }

    /// Begins the next round as soon as the pace allows.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soonest = self.round_at.map_or(now, |at| now.max(at + EAGER));
        self.next_at = self.next_at.min(soonest);
    }
}
