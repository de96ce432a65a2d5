//! Where the peer may be: addresses that were given, told, or seen, and which of them is used.

use std::net::SocketAddr;
use std::time::Instant;

use super::PathProber;

/// Most addresses tried.
pub(super) const MAX_CANDIDATES: usize = 8;

/// An address that the peer sent from while another one works: it takes over if it is the first of the two to
/// answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rival {
    pub(super) address: SocketAddr,
    pub(super) since: Instant,
    pub(super) declined: bool,
}

impl PathProber {
    /// An authenticated record that is no answer came from this address, the newest so far. If it is not the one in
    /// use the peer may have moved (a NAT re-mapped, or it roamed): the address is probed, and takes over if it
    /// answers first.
    pub fn handle_address(&mut self, now: Instant, address: SocketAddr) {
        if self.best == Some(address) || self.rival.is_some_and(|r| r.address == address) {
            return;
        }
        self.add_candidate(address);
        if self.is_up() {
            self.rival = Some(Rival { address, since: now, declined: false });
            self.hurry(now);
        } else {
            // The first record shows that the peer has the keys now; a probe that came too early for it is repeated at
            // once, whatever the pace, and this one time only.
            if self.best.replace(address).is_none() {
                self.next_at = self.next_at.min(now);
            }
            self.hurry(now);
        }
    }

    /// Another address at which the peer may be; nothing is known of it.
    pub fn suggest(&mut self, now: Instant, address: SocketAddr) {
        if !self.candidates.contains(&address) && self.candidates.len() < MAX_CANDIDATES {
            self.add_candidate(address);
            if !self.is_up() {
                self.restart(now);
            }
        }
    }

    /// The peer says where it may be reached now, the best first, and tries us. Where there are too many addresses those tried longest
    /// give way to the first of these.
    pub fn told(&mut self, now: Instant, addresses: &[SocketAddr]) {
        for &address in addresses.iter().take(MAX_CANDIDATES / 2).rev() {
            if let Some(at) = self.candidates.iter().position(|&known| known == address) {
                self.candidates.remove(at);
            }
            self.add_candidate(address);
        }
        addresses.iter().for_each(|&address| self.suggest(now, address));
        self.restart(now);
    }

    /// The addresses at which the peer was or is tried, and when each answered last.
    pub fn candidates(&self) -> impl Iterator<Item = (SocketAddr, Option<Instant>)> {
        let answered = |to| self.answers.iter().find(|(address, _)| *address == to).map(|&(_, at)| at);
        self.candidates.iter().map(move |&address| (address, answered(address)))
    }

    /// The address to send to, whether or not it is known to work.
    pub fn best_address(&self) -> Option<SocketAddr> {
        self.best.or_else(|| self.candidates.first().copied())
    }

    /// Our own address as the peer sees it.
    pub const fn seen_address(&self) -> Option<SocketAddr> {
        self.seen
    }

    /// Where there are too many, the address tried longest gives way.
    pub(super) fn add_candidate(&mut self, address: SocketAddr) {
        if self.candidates.contains(&address) {
            return;
        }
        if self.candidates.len() >= MAX_CANDIDATES
            && let Some(oldest) = self.candidates.iter().position(|&a| Some(a) != self.best)
        {
            self.candidates.remove(oldest);
        }
        self.candidates.push(address);
    }
}
