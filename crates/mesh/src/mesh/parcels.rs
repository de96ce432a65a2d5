//! Parcels on their way, and sessions with peers that are not neighbours (P6.1 to P6.3).

use std::time::Instant;

use wire::{Message, Parcel, ParcelKind, PeerName};

use super::{LinkId, Mesh};
use crate::distant::{Dropped, Known, SessionEvent};

impl Mesh {
    /// Frames wait for this peer: agrees on a session with it if there is none, or if it is in doubt whether the other
    /// end still has it. To be called when the first frame waits and every few seconds while frames go on waiting; an
    /// offer that nobody asked for in 30 s is given up after a while.
    pub fn want_session(&mut self, now: Instant, peer: PeerName) {
        if peer != self.config.name && self.facts.knows(peer) {
            self.distant.want(now, peer, &mut self.rng);
            self.send_parcels();
        }
    }

    /// Frames went either way in the session with this peer, which 5 minutes without any would end. To be called now and
    /// then while they do, at least every minute.
    pub fn session_used(&mut self, now: Instant, peer: PeerName) {
        self.distant.used(now, peer, &mut self.rng);
        self.send_parcels();
    }

    /// Records of this peer opened under this index. To be called for the first of each index, for that is how the end
    /// that answered learns that the keys are in use, and now and then, at least every five seconds, while more come:
    /// when frames go out and nothing opens for half a minute, new keys are made.
    pub fn handle_session_opened(&mut self, now: Instant, peer: PeerName, index: u32) {
        self.distant.opened(now, peer, index);
    }

    /// So many records were sealed with the keys of this session that it needs new ones. That time passes is seen to here.
    pub fn rekey_session(&mut self, now: Instant, peer: PeerName) {
        self.distant.rekey(now, peer, &mut self.rng);
        self.send_parcels();
    }

    /// The next thing that happened to a session. To be drained as [`Mesh::poll_action`] is.
    pub fn poll_session(&mut self) -> Option<SessionEvent> {
        let mut event = self.distant.poll_event()?;
        if let SessionEvent::Keys { peer, udp_port, addresses, .. }
        | SessionEvent::Addresses { peer, udp_port, addresses } = &mut event
        {
            *addresses = self.candidates(*peer, *udp_port, addresses);
        }
        Some(event)
    }

    /// How many sessions there are with peers, neighbours' links not counted.
    pub fn session_count(&self) -> usize {
        self.distant.len()
    }

    /// Takes a parcel off a link: for ourselves, or to pass on (P6.1).
    pub(super) fn hear_parcel(&mut self, now: Instant, from: LinkId, mut parcel: Parcel) {
        let own = self.config.name;
        // One that we made has gone in a circle, or somebody speaks for us.
        if parcel.source == own || parcel.hops.contains(&own) {
            self.counters.parcels_looped += 1;
        } else if parcel.hops.is_empty() {
            self.take_parcel(now, &parcel);
        } else {
            let next = self.links.of_peer(parcel.hops.remove(0));
            match next.filter(|&link| link != from) {
                Some(link) => {
                    self.counters.parcels_relayed += 1;
                    self.send(link, Message::Parcel(parcel));
                }
                None => self.counters.parcels_unrouted += 1,
            }
        }
    }

    /// Ends sessions with peers that are forgotten or run anew, after something was learned of them.
    pub(super) fn review_sessions(&mut self, now: Instant) {
        let facts = &self.facts;
        self.distant.review(|peer| facts.incarnation(peer));
        for peer in self.distant.stuck() {
            if self.way_to(peer).is_some() {
                self.distant.routed(now, peer);
            }
        }
        self.send_parcels();
    }

    /// Does what is due of sessions.
    pub(super) fn tend_sessions(&mut self, now: Instant) {
        self.distant.handle_timeout(now, &mut self.rng);
        self.send_parcels();
    }

    fn take_parcel(&mut self, now: Instant, parcel: &Parcel) {
        let name = parcel.source;
        let Some((key, incarnation)) = self.facts.key(name).copied().zip(self.facts.incarnation(name)) else {
            self.counters.shares_unknown += 1;
            return;
        };
        let from = Known { name, key, incarnation };
        let taken = match parcel.kind {
            ParcelKind::OFFER => self.distant.hear_offer(now, from, &parcel.body, &mut self.rng),
            ParcelKind::ANSWER => self.distant.hear_answer(now, from, &parcel.body),
            ParcelKind::ADDRESSES => {
                let linked = self.links.has_peer(name);
                self.distant.hear_update(now, from, linked, &parcel.body)
            }
            ParcelKind::MEETING => {
                let linked = self.links.has_peer(name);
                let facing = self.facing(name);
                self.distant.hear_meeting(now, from, linked, &facing, &parcel.body, &mut self.rng)
            }
            _ => Err(Dropped::Malformed),
        };
        let counter = match taken {
            Ok(()) => &mut self.counters.shares_taken,
            Err(Dropped::Malformed | Dropped::Unusable) => &mut self.counters.shares_malformed,
            Err(Dropped::Stale) => &mut self.counters.shares_stale,
            Err(Dropped::Limited) => &mut self.counters.shares_limited,
            Err(Dropped::Forged) => &mut self.counters.shares_forged,
            Err(Dropped::Crossed) => &mut self.counters.shares_crossed,
        };
        *counter += 1;
        self.send_parcels();
    }

    pub(super) fn send_parcels(&mut self) {
        while let Some(outgoing) = self.distant.poll_outgoing() {
            let to = outgoing.to;
            let mut hops = self.way_to(to).unwrap_or_default();
            let Some(link) = hops.first().and_then(|&first| self.links.of_peer(first)) else {
                self.counters.parcels_unrouted += 1;
                self.distant.unrouted(to);
                continue;
            };
            hops.remove(0);
            self.counters.parcels_sent += 1;
            let source = self.config.name;
            let parcel = Parcel { hops, source, kind: outgoing.kind, body: outgoing.body };
            self.send(link, Message::Parcel(parcel));
        }
    }

    /// Those who pass on what we send to this peer, itself last. A link counts before the facts tell of it.
    fn way_to(&self, to: PeerName) -> Option<Vec<PeerName>> {
        if self.links.has_peer(to) { Some(vec![to]) } else { self.route(to).map(<[_]>::to_vec) }
    }
}
