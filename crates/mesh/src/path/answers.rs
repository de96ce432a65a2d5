//! What an answer means for the path.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pace::CALM;
use super::{LONG, Narrow, PathEvent, PathProber, PathState, Probe, Resized, SIZE_PATIENCE};
use crate::links::smooth;

/// How long a record of full size may be behind the short one that was sent after it, at least and at most.
const LEAST_BEHIND: Duration = Duration::from_millis(50);
const MOST_BEHIND: Duration = Duration::from_millis(300);

impl PathProber {
    /// A probe of up to full size was answered.
    pub(super) fn answered(&mut self, now: Instant, probe: &Probe, sent_at: Instant) {
        let rtt = now.saturating_duration_since(sent_at);
        match self.state {
            PathState::Up { rtt: before, address } if address == probe.to => {
                if let Some(rival) = self.rival.as_mut().filter(|r| sent_at >= r.since) {
                    rival.declined = true;
                }
                self.narrow = None;
                let rtt = smooth(Some(before), rtt);
                self.works(now, probe.to, rtt);
                if probe.length == self.full {
                    self.full_sent_at = self.full_sent_at.max(Some(sent_at));
                }
                self.size.answered(now, probe.length, sent_at, rtt);
                self.send_sizes(now);
            }
            // A late answer from an address that another one was faster than.
            PathState::Up { .. } if !self.may_take_over(probe.to, sent_at) => {}
            _ if probe.length == self.full => {
                self.full_sent_at = self.full_sent_at.max(Some(sent_at));
                self.take(now, probe.to, rtt);
                self.size.start(now, self.full, rtt);
                self.send_sizes(now);
                self.send_long(now, probe.to);
            }
            _ => {
                let until = now + (rtt / 2).clamp(LEAST_BEHIND, MOST_BEHIND);
                self.narrow.get_or_insert(Narrow { address: probe.to, rtt, until });
            }
        }
    }

    /// Nothing longer was answered in time.
    pub(super) fn take_narrow(&mut self, now: Instant, narrow: &Narrow) {
        let carried_over = self.is_up() && !self.size.is_full();
        self.size_wanted_until = (!self.is_up()).then_some(now + SIZE_PATIENCE);
        self.take(now, narrow.address, narrow.rtt);
        if carried_over {
            self.size.carry_over(now, narrow.rtt);
        } else {
            self.size.start(now, self.base, narrow.rtt);
        }
    }

    /// Whether an address may take the place of the one in use with an answer to what was sent at that time.
    fn may_take_over(&self, address: SocketAddr, sent_at: Instant) -> bool {
        self.rival.is_some_and(|rival| rival.address == address && !rival.declined)
            || self.open_since.is_some_and(|since| sent_at >= since)
    }

    /// Goes on with another address than before.
    fn take(&mut self, now: Instant, address: SocketAddr, rtt: Duration) {
        if self.is_up() {
            self.rival = None;
        } else {
            self.note(PathEvent::Up);
        }
        // What was said of an earlier way need not hold for this one.
        self.long_sent_at = [None; LONG];
        self.narrow = None;
        self.works(now, address, rtt);
    }

    fn works(&mut self, now: Instant, address: SocketAddr, rtt: Duration) {
        self.best = Some(address);
        self.state = PathState::Up { rtt, address };
        self.answered_at = Some(now);
        (self.unanswered, self.unsent, self.unreachable) = (0, 0, false);
        (self.doubt_until, self.open_since) = (None, None);
        self.next_at = self.round_at.unwrap_or(now) + CALM;
        if self.rival.is_some_and(|r| !r.declined) {
            self.hurry(now);
        }
    }

    /// Asks about lengths beyond the full one.
    fn send_long(&mut self, now: Instant, to: SocketAddr) {
        for long in self.long.into_iter().flatten() {
            let probe = self.flight.send(now, to, long);
            self.transmits.push_back(probe);
        }
    }

    /// Sends what the search for the longest record asks for, and tells what it has found.
    pub(super) fn send_sizes(&mut self, now: Instant) {
        let PathState::Up { address, .. } = self.state else { return };
        while let Some(length) = self.size.poll_length() {
            let probe = self.flight.send(now, address, length);
            self.transmits.push_back(probe);
        }
        let passes = self.size.passes();
        if self.size.is_searching() || passes == self.told_size {
            return;
        }
        let before = std::mem::replace(&mut self.told_size, passes);
        if self.size.is_full() {
            self.long_sent_at = [None; LONG];
            self.send_long(now, address);
        }
        self.note(PathEvent::Size(Resized { before, now: passes, because: self.size.cause() }));
    }
}
