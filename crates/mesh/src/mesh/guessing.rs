//! Guessing ports where nothing else leads to a direct path (P6.7).

use std::net::SocketAddr;
use std::time::Instant;

use wire::{Mapping, PeerName};

use super::Mesh;
use crate::distant::{Facing, Guess, Part};
use crate::targets::is_dialable;

impl Mesh {
    /// Whether the operator allows it. Without that a peer that asks is refused.
    pub const fn set_guessing(&mut self, is_on: bool) {
        self.distant.set_guessing(is_on);
    }

    /// Where our neighbours see our UDP port, in the order they became such.
    pub fn set_seen_at(&mut self, seen: impl IntoIterator<Item = SocketAddr>) {
        self.distant.set_seen_at(seen);
    }

    /// Frames to this peer go through others, as the direct path over UDP does not come up. To be called every second while that is so.
    /// Where the NATs of both are such that guessing may help, and it is this end that has to begin, it does.
    pub fn want_guess(&mut self, now: Instant, peer: PeerName) {
        if !self.links.has_peer(peer) && self.part(peer) == Some(Part::Opens) {
            self.distant.want_guess(now, peer, &mut self.rng);
            self.send_parcels();
        }
    }

    /// What is to be done next. To be drained as [`Mesh::poll_action`] is.
    pub fn poll_guess(&mut self) -> Option<Guess> {
        self.distant.poll_guess()
    }

    /// A socket that [`Guess::Open`] asked for cannot be had.
    pub fn handle_no_socket(&mut self, now: Instant) {
        self.distant.no_more_sockets(now);
        self.send_parcels();
    }

    /// The direct path to this peer works. To be told while it is the one of [`Mesh::guessing_with`].
    pub fn handle_guessed(&mut self, now: Instant, peer: PeerName) {
        self.distant.guessed(now, peer);
    }

    /// With whom it is under way.
    pub fn guessing_with(&self) -> Option<PeerName> {
        self.distant.guessing_with()
    }

    /// How guessing goes with this peer, for people; nothing if it is not under way.
    pub fn guessing_now(&self, peer: PeerName) -> Option<String> {
        self.distant.guessing_now(peer)
    }

    /// The same, or how it went; nothing if it was not tried.
    pub fn guessing(&self, now: Instant, peer: PeerName) -> Option<String> {
        self.distant.guessing_story(now, peer)
    }

    /// How often it led to what.
    pub const fn guess_counts(&self) -> crate::GuessCounts {
        self.distant.guess_counts()
    }

    /// What a step of this peer is judged by.
    pub(super) fn facing(&self, peer: PeerName) -> Facing {
        let about = |by: PeerName| self.facts.links(by).filter(move |back| back.peer == peer);
        let seen = self.facts.links(peer).flat_map(|entry| about(entry.peer)).map(|back| back.address);
        Facing { part: self.part(peer), at: seen.filter(is_dialable).map(|address| address.ip()).collect() }
    }

    fn part(&self, peer: PeerName) -> Option<Part> {
        match (self.nat.mapping(), self.mapping(peer)) {
            (Mapping::Dependent, Mapping::Independent) => Some(Part::Opens),
            (Mapping::Independent, Mapping::Dependent) => Some(Part::Guesses),
            _ => None,
        }
    }
}
