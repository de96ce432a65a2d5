//! Whom to dial, and when.
//!
//! A *target* was given by the operator; it is kept exactly as given, and for ever. An *address* was heard of from
//! others; it is dialled while its peer is within reach, not linked and wanted, and given up when its peer is forgotten.
//! Which peers are wanted is decided elsewhere (P8.3).

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use topology::Reached;
use wire::{PeerName, RefuseCode};

use crate::attempt::{Attempt, Failure, Past, Progress};
use crate::links::Links;
use crate::mesh::{DialId, DialTo, LinkId};
use crate::view::{ConnectionState, TargetView};
use entry::{Discovered, Goal, Target};

pub(crate) use entry::is_dialable;

/// How much later than the other one the peer with the higher name dials an address it heard of, so that two who
/// hear of each other seldom dial at once. Longer than a handshake across the globe with its two round trips.
const HEAD_START: Duration = Duration::from_millis(500);

/// Everything that is or may be dialled.
#[derive(Debug)]
pub(crate) struct Targets {
    own: PeerName,
    discovery: bool,
    /// Most links at once; 0: no limit. Targets are exempt: the operator named them.
    limit: usize,
    configured: Vec<Target>,
    discovered: BTreeMap<PeerName, Discovered>,
    dials: BTreeMap<DialId, Goal>,
    last_dial: u64,
    /// When the next dial is due, as long as nothing changed since that was worked out.
    next: Option<Option<Instant>>,
}

/// Whom links are wanted to.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Each peer with the addresses that others state.
    pub(crate) peers: BTreeMap<PeerName, BTreeSet<SocketAddr>>,
    /// Whether a target within reach is left alone if it is not among them.
    pub(crate) sparing: bool,
    /// Over which time first dials are spread.
    pub(crate) spread: Duration,
    /// Whether they are dialled though nothing reaches them: we have no link, so that nobody can tell who is there.
    pub(crate) blindly: bool,
}

/// One line of what is being tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) address: String,
    pub(crate) state: ConnectionState,
    pub(crate) peer: Option<PeerName>,
    pub(crate) error: Option<String>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) target: Option<String>,
}

impl Targets {
    pub(crate) const fn new(own: PeerName, discovery: bool, limit: usize) -> Self {
        Self {
            own,
            discovery,
            limit,
            configured: Vec::new(),
            discovered: BTreeMap::new(),
            dials: BTreeMap::new(),
            last_dial: 0,
            next: None,
        }
    }

    /// Adds a target, or tries it again at once.
    pub(crate) fn connect(&mut self, now: Instant, text: &str) {
        self.next = None;
        match self.configured.iter_mut().find(|t| t.text == text) {
            Some(target) => target.attempt.anew(now),
            None => {
                let attempt = Attempt::new(now);
                self.configured.push(Target { text: text.to_owned(), peer: None, attempt, spared: false });
            }
        }
    }

    /// What failed before may not fail now: all that waits for its next try because of that is tried at once.
    pub(crate) fn retry(&mut self, now: Instant) {
        self.next = None;
        let addresses = self.discovered.values_mut().flat_map(|found| found.addresses.values_mut());
        let attempts = self.configured.iter_mut().map(|target| &mut target.attempt).chain(addresses);
        attempts.filter(|attempt| attempt.error().is_some()).for_each(|attempt| attempt.anew(now));
    }

    /// Removes a target. A link it led to stays.
    pub(crate) fn forget(&mut self, text: &str) {
        self.next = None;
        self.configured.retain(|t| t.text != text);
    }

    /// Removes all targets but these, and adds those that are new.
    pub(crate) fn replace(&mut self, now: Instant, texts: &[String]) {
        self.next = None;
        self.configured.retain(|t| texts.contains(&t.text));
        for text in texts {
            self.connect(now, text);
        }
    }

    /// Takes who is within reach and who of them is wanted.
    pub(crate) fn want(&mut self, now: Instant, reached: &Reached, wanted: &Wanted, rng: &mut StdRng) {
        self.next = None;
        let mut later = || now + wanted.spread.mul_f64(rng.random_range(0.0..1.0));
        for (&peer, addresses) in &wanted.peers {
            let due = later() + self.head_start(peer);
            let discovered = self.discovered.entry(peer).or_default();
            for &address in addresses {
                discovered.add(address, due, addresses);
            }
            discovered.lost |= wanted.blindly;
            if !std::mem::replace(&mut discovered.wanted, true) {
                discovered.addresses.values_mut().for_each(|a| a.not_before(due));
            }
        }
        for (&peer, discovered) in &mut self.discovered {
            discovered.wanted = wanted.peers.contains_key(&peer);
            let before = std::mem::replace(&mut discovered.reachable, reached.contains(peer));
            if discovered.reachable && !before {
                // It is back: what was learned while it was away is void.
                discovered.lost = false;
                let due = later() + if self.own > peer { HEAD_START } else { Duration::ZERO };
                discovered.addresses.values_mut().filter(|a| !a.is_final()).for_each(|a| a.anew(due));
            }
        }
        for target in &mut self.configured {
            let spare = |peer| wanted.sparing && reached.contains(peer) && !wanted.peers.contains_key(&peer);
            let before = std::mem::replace(&mut target.spared, target.peer.is_some_and(spare));
            if before && !target.spared {
                target.attempt.not_before(later());
            }
        }
    }

    /// Whether there is little hope to reach this peer: no address of it is known, or none led to it of late.
    pub(crate) fn is_closed(&self, peer: PeerName) -> bool {
        self.attempts(peer).all(Attempt::is_closed)
    }

    /// Whether dialling this peer has led nowhere so far: a try failed, or takes longer than `patience`, or there is nothing to try. Not so
    /// where it has no room for us, or refuses us for good.
    pub(crate) fn is_tried_in_vain(&self, now: Instant, peer: PeerName, patience: Duration) -> bool {
        self.attempts(peer).all(|a| a.is_vain(now, patience) && !a.is_full() && !a.is_final())
    }

    /// What the last try to reach this peer met. `None` when it was not tried or has no room for us.
    pub(crate) fn trouble(&self, peer: PeerName) -> Option<&str> {
        if self.attempts(peer).any(Attempt::is_full) {
            return None;
        }
        match self.attempts(peer).next() {
            None => Some("nobody knows an address it listens on"),
            Some(_) => self.attempts(peer).find_map(Attempt::error),
        }
    }

    /// Gives up a peer that is forgotten.
    pub(crate) fn forget_peer(&mut self, peer: PeerName) {
        self.next = None;
        self.discovered.remove(&peer);
    }

    /// Begins what is due.
    pub(crate) fn poll_dials(&mut self, now: Instant, links: &Links) -> Vec<(DialId, DialTo)> {
        let mut begun = Vec::new();
        if self.next_due(links).is_none_or(|at| now < at) {
            self.next = Some(self.next_due(links));
            return begun;
        }
        for target in &mut self.configured {
            if target.attempt.due().is_some_and(|at| at <= now) && !target.is_satisfied(links) {
                let id = next_id(&mut self.last_dial);
                target.attempt.begin(now, id);
                self.dials.insert(id, Goal::Target(target.text.clone()));
                begun.push((id, DialTo::Target(target.text.clone())));
            }
        }
        while let Some((at, peer)) = self.next_peer(links)
            && at <= now
            && let Some(discovered) = self.discovered.get_mut(&peer)
        {
            let id = next_id(&mut self.last_dial);
            let is_left = |address| is_target(&self.configured, peer, address);
            let addresses = discovered.begin(now, id, is_left);
            self.dials.insert(id, Goal::Addresses(peer));
            begun.push((id, DialTo::Addresses { addresses, expect: peer }));
        }
        self.next = None;
        self.next = Some(self.next_due(links));
        begun
    }

    /// When the next dial is due.
    pub(crate) fn next_due(&self, links: &Links) -> Option<Instant> {
        if let Some(next) = self.next {
            return next;
        }
        let targets =
            self.configured.iter().filter(|t| !t.is_satisfied(links)).filter_map(|t| t.attempt.due());
        targets.chain(self.next_peer(links).map(|(at, _)| at)).min()
    }

    /// The dial goes to this address.
    pub(crate) fn dialling(&mut self, id: DialId, address: SocketAddr) {
        self.next = None;
        if let Some(target) = self.dials.get(&id).cloned().and_then(|goal| self.target_mut(&goal)) {
            target.attempt.address = Some(address);
        }
    }

    /// Whom this dial must reach: it went to an address heard of, and not to a target.
    pub(crate) fn expected(&self, id: DialId) -> Option<PeerName> {
        match self.dials.get(&id)? {
            Goal::Target(_) => None,
            &Goal::Addresses(peer) => Some(peer),
        }
    }

    /// A dial led to no link. Says whether it was one of ours.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        id: DialId,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) -> bool {
        self.next = None;
        let Some(goal) = self.dials.remove(&id) else { return false };
        let is_target = matches!(goal, Goal::Target(_));
        for attempt in self.tried_by(&goal, id) {
            match failure.code {
                Some(RefuseCode::Oneself) if is_target => attempt.oneself(),
                _ => attempt.failed(now, failure, rng),
            }
        }
        true
    }

    /// A dial reached a peer that is linked already, by a link that stays.
    pub(crate) fn duplicate(&mut self, now: Instant, id: DialId, peer: PeerName) {
        self.next = None;
        let Some(goal) = self.dials.remove(&id) else { return };
        if let Some(target) = self.target_mut(&goal) {
            target.peer = Some(peer);
        }
        self.tried_by(&goal, id).for_each(|attempt| attempt.stand_by(now));
    }

    /// A link to `peer` is up; `dial` led to it. The peer can be dialled at `address` from now on.
    pub(crate) fn link_up(
        &mut self,
        now: Instant,
        link: LinkId,
        dial: Option<DialId>,
        peer: PeerName,
        address: Option<SocketAddr>,
    ) {
        self.next = None;
        let goal = dial.and_then(|id| Some((id, self.dials.remove(&id)?)));
        if let Some((id, goal)) = &goal {
            if let Some(target) = self.target_mut(goal) {
                target.peer = Some(peer);
                target.attempt.linked(link);
            } else {
                self.tried_by(goal, *id).for_each(|attempt| attempt.stand_by(now));
            }
        }
        let discovered = self.discovered.entry(peer).or_default();
        discovered.lost = false;
        if goal.is_some() {
            discovered.worked = address;
        }
        if let Some(address) = address {
            discovered.add(address, now, &BTreeSet::from([address]));
        }
    }

    /// A link to `peer` was closed in favour of another one to the same peer.
    pub(crate) fn link_replaced(&mut self, now: Instant, link: LinkId) {
        self.next = None;
        for target in self.configured.iter_mut().filter(|t| t.attempt.progress() == Progress::Linked(link)) {
            target.attempt.stand_by(now);
        }
    }

    /// The link to `peer` was lost.
    pub(crate) fn link_down(
        &mut self,
        now: Instant,
        peer: PeerName,
        past: Past,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) {
        self.next = None;
        let head_start = self.head_start(peer);
        let targets = self.configured.iter_mut().filter(|t| t.peer == Some(peer));
        let targets = targets.map(|t| (&mut t.attempt, Duration::ZERO));
        let discovered = self.discovered.get_mut(&peer);
        let addresses = discovered.into_iter().flat_map(|d| {
            // Who does not want the link is not sought just because it was lost.
            d.lost = !matches!(failure.code, Some(RefuseCode::ShuttingDown | RefuseCode::NotNeeded));
            d.addresses.values_mut().map(|a| (a, head_start))
        });
        for (attempt, head_start) in targets.chain(addresses) {
            if failure.code == Some(RefuseCode::NotNeeded) {
                attempt.unneeded(now, rng);
            } else {
                attempt.lost(now, past, head_start, failure, rng);
            }
        }
    }

    /// The targets in the order they were given in.
    pub(crate) fn views(&self, links: &Links) -> Vec<TargetView> {
        let view = |t: &Target| {
            let waits = t.is_satisfied(links) && t.attempt.due().is_some();
            TargetView {
                target: t.text.clone(),
                state: if waits { ConnectionState::Waiting } else { t.attempt.state() },
                peer: t.peer,
                error: t.attempt.error().filter(|_| !waits).map(str::to_owned),
                retry_at: t.attempt.due().filter(|_| !waits),
            }
        };
        self.configured.iter().map(view).collect()
    }

    /// How many targets there are, and of how many peers addresses are kept.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.configured.len(), self.discovered.len())
    }

    /// The target that stands for the link to this peer.
    pub(crate) fn target_of(&self, link: LinkId, peer: PeerName) -> Option<&str> {
        let own = self.configured.iter().find(|t| t.attempt.progress() == Progress::Linked(link));
        own.or_else(|| self.configured.iter().find(|t| t.peer == Some(peer))).map(|t| t.text.as_str())
    }

    /// What is being tried and has led to no link yet: each target, and the likeliest address of each peer.
    pub(crate) fn pending(&self, links: &Links) -> Vec<Pending> {
        let tried = |t: &&Target| !t.is_satisfied(links) && t.attempt.state() != ConnectionState::Established;
        let targets = self.configured.iter().filter(tried).map(|t| Pending {
            address: t.attempt.address.map_or_else(|| t.text.clone(), |a| a.to_string()),
            state: t.attempt.state(),
            peer: t.peer,
            error: t.attempt.error().map(str::to_owned),
            retry_at: t.attempt.due(),
            target: Some(t.text.clone()),
        });
        // One line for each peer will do: that of the target, if one leads to it.
        let unnamed = |peer| !self.configured.iter().any(|t| t.peer == Some(peer));
        let wanted =
            self.discovered.iter().filter(|&(&peer, d)| unnamed(peer) && self.is_wanted(peer, d, links));
        let addresses = wanted.filter_map(|(&peer, d)| {
            let (address, attempt) = d.addresses.iter().min_by_key(|(_, a)| a.due())?;
            Some(Pending {
                address: address.to_string(),
                state: attempt.state(),
                peer: Some(peer),
                error: attempt.error().map(str::to_owned),
                retry_at: attempt.due(),
                target: None,
            })
        });
        targets.chain(addresses).collect()
    }

    /// The peer that is due next, of all that may be dialled.
    fn next_peer(&self, links: &Links) -> Option<(Instant, PeerName)> {
        let under_way = self.discovered.values().filter(|d| d.is_dialling()).count();
        if self.limit > 0 && links.len() + under_way >= self.limit {
            return None;
        }
        let is_dialled =
            |peer| self.configured.iter().any(|t| t.attempt.is_dialling() && t.peer == Some(peer));
        let idle = |&(&peer, d): &(&PeerName, &Discovered)| {
            self.is_wanted(peer, d, links) && !d.is_dialling() && !is_dialled(peer)
        };
        let due = |(&peer, d): (&PeerName, &'_ Discovered)| {
            let free =
                d.addresses.iter().filter(|&(&address, _)| !is_target(&self.configured, peer, address));
            free.filter_map(|(_, attempt)| Some((attempt.due()?, peer))).min()
        };
        self.discovered.iter().filter(idle).filter_map(due).min()
    }

    fn is_wanted(&self, peer: PeerName, d: &Discovered, links: &Links) -> bool {
        self.discovery && d.is_sought() && !links.has_peer(peer)
    }

    fn attempts(&self, peer: PeerName) -> impl Iterator<Item = &Attempt> {
        let targets = self.configured.iter().filter(move |t| t.peer == Some(peer)).map(|t| &t.attempt);
        targets.chain(self.discovered.get(&peer).into_iter().flat_map(|d| d.addresses.values()))
    }

    fn head_start(&self, peer: PeerName) -> Duration {
        if self.own > peer { HEAD_START } else { Duration::ZERO }
    }

    fn target_mut(&mut self, goal: &Goal) -> Option<&mut Target> {
        let Goal::Target(text) = goal else { return None };
        self.configured.iter_mut().find(|t| t.text == *text)
    }

    /// What this dial tries, unless it is tried by another one since.
    fn tried_by(&mut self, goal: &Goal, id: DialId) -> impl Iterator<Item = &mut Attempt> {
        let (target, discovered) = match goal {
            Goal::Target(text) => (self.configured.iter_mut().find(|t| t.text == *text), None),
            Goal::Addresses(peer) => (None, self.discovered.get_mut(peer)),
        };
        let target = target.map(|t| &mut t.attempt).filter(|a| a.progress() == Progress::Dialling(id));
        target.into_iter().chain(discovered.into_iter().flat_map(move |d| d.tried_by(id)))
    }
}

/// Whether a target leads to this address, which is left to it.
fn is_target(configured: &[Target], peer: PeerName, address: SocketAddr) -> bool {
    let leads_there = |t: &&Target| t.attempt.address == Some(address);
    configured.iter().filter(leads_there).any(|t| t.attempt.is_dialling() || t.peer == Some(peer))
}

const fn next_id(last: &mut u64) -> DialId {
    *last += 1;
    DialId(*last)
}

#[cfg(test)]
mod tests;
