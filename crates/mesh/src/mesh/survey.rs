//! Who is within reach, by which routes, and who passes frames for everyone on to whom (P5.7, P7.3, P8.2).
//!
//! All of it follows from the links facts. It does not happen with each fact: those that came since the last time are looked
//! at together, and what they do not change is left as it is.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use topology::{Change, Graph, Reached, Rings, Routes, children};
use wire::PeerName;

use super::{Action, COALESCE, Mesh};
use crate::facts::Changes;

/// Between two surveys passes a tenth of a second and this much for each peer: so a mesh of a thousand spends less than
/// a hundredth of its time on them.
const PACE: Duration = Duration::from_micros(400);
/// Up to this many peers that is left out.
const FEW: usize = 64;
/// When a link of ours is lost, frames wait for the next survey: it comes this many times sooner.
const HURRY: u32 = 5;
/// When one in so many peers states something else, the graph is made anew.
const MANY: usize = 8;
/// Most sources whose trees are kept until the next survey.
const MAX_TREES: usize = 1024;

/// What the last survey found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) graph: Graph,
    pub(super) reached: Reached,
    /// Worked out when someone asks.
    routes: OnceLock<Routes>,
    /// The last ones that were, so that a route stays where it may.
    earlier: Routes,
    pub(super) rings: Rings,
    /// For each source asked for the neighbours that we pass its frames on to.
    trees: BTreeMap<PeerName, Vec<PeerName>>,
    at: Option<Instant>,
    /// A link of ours was lost since.
    hurry: bool,
    /// Worked out when someone asks, after each change of who is out of reach.
    pub(super) absences: OnceLock<Absences>,
}

/// When something is to be done about those who are out of reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absences {
    /// The facts of one more are to be withheld.
    pub(super) withheld: Option<Instant>,
    /// One is to be forgotten.
    pub(super) forgotten: Option<Instant>,
}

impl Mesh {
    /// The hops behind us on the way to this peer, itself the last: at most fifteen. To a neighbour it is the link.
    pub fn route(&self, to: PeerName) -> Option<&[PeerName]> {
        self.all_routes().to(to).filter(|hops| self.is_open(hops))
    }

    /// All peers that there is a route to, by name, and the hops on the way there.
    pub fn routes(&self) -> impl Iterator<Item = (PeerName, &[PeerName])> {
        self.all_routes().iter().filter(|(_, hops)| self.is_open(hops))
    }

    /// The neighbours that a frame for everyone, begun by `source`, goes on to from here (P7.3). All of them when nothing
    /// is known of the source: the one that it came from is for the caller to leave out.
    pub fn children(&mut self, source: PeerName) -> Vec<PeerName> {
        let tree = match self.found.trees.get(&source) {
            Some(tree) => tree.clone(),
            None => {
                let tree = children(&self.found.graph, source, self.config.name);
                let tree = tree.unwrap_or_else(|| self.links.peers().collect());
                if self.found.trees.len() < MAX_TREES {
                    self.found.trees.insert(source, tree.clone());
                }
                tree
            }
        };
        tree.into_iter().filter(|&peer| self.links.has_peer(peer)).collect()
    }

    /// Works out anew who is within reach, by which ways, and whom to be linked to.
    pub(super) fn survey(&mut self, now: Instant) {
        self.look_around(now);
        self.decide(now);
    }

    /// Decides which links to have. If some were closed for it, no frame waits until the routes know.
    pub(super) fn decide(&mut self, now: Instant) {
        self.choose_links(now);
        if self.found.hurry {
            self.look_around(now);
        }
    }

    fn look_around(&mut self, now: Instant) {
        (self.found.at, self.found.hurry) = (Some(now), false);
        let changes = self.facts.take_changes();
        let change = self.follow(&changes);
        let mut moved = changes == Changes::Known;
        if change == Change::Links {
            let reached = self.found.graph.reachable([self.config.name]);
            moved |= reached != self.found.reached;
            self.found.reached = reached;
        }
        if change > Change::Nothing {
            if let Some(routes) = self.found.routes.take() {
                self.found.earlier = routes;
            }
            self.found.trees.clear();
            self.actions.push_back(Action::RoutesChanged);
        }
        if moved {
            self.reach.update(now, &self.found.reached, self.facts.origins());
        }
        self.withhold(now);
    }

    /// Keeps those who are out of reach out of comparisons, so that hearsay does not revive the dead (P5.6).
    pub(super) fn withhold(&mut self, now: Instant) {
        self.facts.withhold(self.reach.withheld(now));
        self.found.absences = OnceLock::new();
    }

    /// Forgets those who were out of reach for too long (P5.7).
    pub(super) fn forget_absent(&mut self, now: Instant) {
        if self.absences().forgotten.is_some_and(|at| at <= now) {
            self.found.absences = OnceLock::new();
            for name in self.reach.take_forgotten(now) {
                self.forget_peer(name);
            }
        }
    }

    /// When something is to be done about those who are out of reach.
    pub(super) fn absences(&self) -> Absences {
        *self.found.absences.get_or_init(|| Absences {
            withheld: self.reach.next_withheld(),
            forgotten: self.reach.next_forgotten(),
        })
    }

    /// Brings the graph up to date. Our own links count while they live, whether or not the other end's fact has arrived.
    fn follow(&mut self, changes: &Changes) -> Change {
        let (facts, links) = (&self.facts, self.links.costs());
        if let Changes::Of(origins) = changes
            && origins.len() * MANY < self.found.graph.names().len() + MANY
        {
            let changed =
                origins.iter().map(|&name| (name, facts.links(name).map(|link| (link.peer, link.cost))));
            if let Some(change) = self.found.graph.update(&links, changed) {
                return change;
            }
        }
        let stated = facts.all_links().map(|(name, links)| (name, links.map(|l| (l.peer, l.cost))));
        let graph = Graph::seen_by(self.config.name, &links, stated);
        if graph == self.found.graph {
            return Change::Nothing;
        }
        self.found.graph = graph;
        Change::Links
    }

    /// A survey is due soon, after a link of ours was lost at once.
    pub(super) fn survey_soon(&mut self, now: Instant, lost: bool) {
        let at = if lost { now } else { now + COALESCE };
        self.survey_at = Some(self.survey_at.map_or(at, |before| before.min(at)));
        self.found.hurry |= lost;
    }

    /// When the next survey is due: when it was asked for, but not too soon after the last.
    pub(super) fn survey_due(&self) -> Option<Instant> {
        let asked = self.survey_at?;
        let peers = self.found.graph.names().len();
        let pace = COALESCE
            + if peers > FEW { PACE * u32::try_from(peers).unwrap_or(u32::MAX) } else { Duration::ZERO };
        let pace = if self.found.hurry { pace / HURRY } else { pace };
        Some(self.found.at.map_or(asked, |last| asked.max(last + pace)))
    }

    /// How many routes, and how many trees are at hand.
    pub(super) fn kept_ways(&self) -> (usize, usize) {
        (self.found.routes.get().unwrap_or(&self.found.earlier).len(), self.found.trees.len())
    }

    fn all_routes(&self) -> &Routes {
        let found = &self.found;
        found.routes.get_or_init(|| Routes::new(&found.graph, self.config.name, &found.earlier))
    }

    fn is_open(&self, hops: &[PeerName]) -> bool {
        hops.first().is_some_and(|&first| self.links.has_peer(first))
    }
}
