//! Peers that frames reach through others only, although they need not: a link to them is worth having (P6.6, P8.3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::PeerName;

use super::Mesh;
use crate::distant::{Meet, MeetingPoint};

/// For so long after frames last took the way through others a link is wanted.
const WANTED: Duration = Duration::from_secs(60);
/// Most such peers; in a small mesh everyone is wanted anyway.
const MAX_RELAYED: usize = 32;
/// How long dialling a peer is waited for before both ends open a connection.
const DIALLING: Duration = Duration::from_secs(2);

/// Peers that frames go to through others, and when that was last so.
#[derive(Debug, Default)]
pub(super) struct Relayed(BTreeMap<PeerName, Instant>);

impl Relayed {
    /// Says whether that is news.
    fn note(&mut self, now: Instant, peer: PeerName) -> bool {
        self.0.retain(|_, at| now < *at + WANTED);
        let is_news = !self.0.contains_key(&peer);
        if !is_news || self.0.len() < MAX_RELAYED {
            self.0.insert(peer, now);
        }
        is_news && self.0.contains_key(&peer)
    }
}

impl Mesh {
    /// The local ports whose outer addresses others told us, the best first: from there we may open connections together with
    /// peers that cannot be dialled. None: we do not.
    pub fn set_meeting_points(&mut self, points: impl IntoIterator<Item = MeetingPoint>) {
        self.distant.set_meeting_points(points);
    }

    /// Frames to this peer go through others, as the direct path over UDP does not come up. To be called every second while that is so.
    /// A link to it is sought: by dialling, and where that leads nowhere by opening a connection from both ends.
    pub fn want_link(&mut self, now: Instant, peer: PeerName) {
        if !self.config.discovery || self.links.has_peer(peer) || !self.facts.knows(peer) {
            return;
        }
        if self.relayed.note(now, peer) && !self.is_kept(peer) {
            self.survey_soon(now, false);
        }
        let limit = self.config.conn_limit;
        let is_full = limit > 0 && self.links.len() >= limit;
        if !is_full && self.targets.is_tried_in_vain(now, peer, DIALLING) {
            self.distant.want_meeting(now, peer, &mut self.rng);
            self.send_parcels();
        }
    }

    /// The next connection to open together with its other end. To be drained as [`Mesh::poll_action`] is; what becomes of it is
    /// told by [`Mesh::handle_met`], after [`Mesh::handle_link_up`] where it is a link.
    pub fn poll_meeting(&mut self) -> Option<Meet> {
        self.distant.poll_meeting()
    }

    /// A connection was opened by both ends, or was not, for this reason.
    pub fn handle_met(&mut self, now: Instant, peer: PeerName, failed: Option<&str>) {
        let failed = failed.map(crate::text::printable);
        self.distant.meeting_over(now, peer, failed, &mut self.rng);
    }

    /// How opening a connection together with this peer goes, for people; nothing if it was not tried.
    pub fn meeting(&self, now: Instant, peer: PeerName) -> Option<String> {
        self.distant.meeting(now, peer)
    }

    /// Peers a link is wanted to because frames would go through others without it.
    pub(super) fn relayed(&mut self, now: Instant) -> BTreeSet<PeerName> {
        for (_, link) in self.links.iter().filter(|(_, link)| link.is_busy(now)) {
            if let Some(at) = self.relayed.0.get_mut(&link.peer) {
                *at = now;
            }
        }
        self.relayed.0.retain(|_, at| now < *at + WANTED);
        let reached = self.relayed.0.keys().copied().filter(|peer| self.found.reached.contains(*peer));
        reached.collect()
    }
}
