//! Whom to dial, and when.
//!
//! A *target* was given by the operator; it is kept exactly as given, and for ever. An *address* was heard of from
//! others; it is dialled while its peer is within reach and not linked, and given up when its peer is forgotten.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use wire::{PeerName, RefuseCode};

use crate::attempt::{Attempt, Failure, Progress};
use crate::links::Links;
use crate::mesh::{DialId, DialTo, LinkId};
use crate::view::{ConnectionState, TargetView};
use entry::{Discovered, Goal, Target, address_mut};

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
        }
    }

    /// Adds a target, or tries it again at once.
    pub(crate) fn connect(&mut self, now: Instant, text: &str) {
        match self.configured.iter_mut().find(|t| t.text == text) {
            Some(target) => target.attempt.anew(now),
            None => {
                let attempt = Attempt::new(now);
                self.configured.push(Target { text: text.to_owned(), peer: None, attempt });
            }
        }
    }

    /// Removes a target. A link it led to stays.
    pub(crate) fn forget(&mut self, text: &str) {
        self.configured.retain(|t| t.text != text);
    }

    /// Removes all targets but these, and adds those that are new.
    pub(crate) fn replace(&mut self, now: Instant, texts: &[String]) {
        self.configured.retain(|t| texts.contains(&t.text));
        for text in texts {
            self.connect(now, text);
        }
    }

    /// Takes what the facts say about where peers within reach can be dialled.
    pub(crate) fn discover(
        &mut self,
        now: Instant,
        reachable: &BTreeSet<PeerName>,
        heard: &BTreeMap<PeerName, BTreeSet<SocketAddr>>,
    ) {
        for (&peer, addresses) in heard {
            let due = now + self.head_start(peer);
            let discovered = self.discovered.entry(peer).or_default();
            for &address in addresses {
                discovered.add(address, due, addresses);
            }
        }
        for (&peer, discovered) in &mut self.discovered {
            let before = std::mem::replace(&mut discovered.reachable, reachable.contains(&peer));
            if discovered.reachable && !before {
                // It is back: what was learned while it was away is void.
                discovered.lost = false;
                let due = now + if self.own > peer { HEAD_START } else { Duration::ZERO };
                discovered.addresses.values_mut().filter(|a| !a.is_final()).for_each(|a| a.anew(due));
            }
        }
    }

    /// Gives up a peer that is forgotten.
    pub(crate) fn forget_peer(&mut self, peer: PeerName) {
        self.discovered.remove(&peer);
    }

    /// Begins what is due.
    pub(crate) fn poll_dials(&mut self, now: Instant, links: &Links) -> Vec<(DialId, DialTo)> {
        let mut begun = Vec::new();
        for target in &mut self.configured {
            if target.attempt.due().is_some_and(|at| at <= now) && !target.is_satisfied(links) {
                let id = next_id(&mut self.last_dial);
                target.attempt.begin(id);
                self.dials.insert(id, Goal::Target(target.text.clone()));
                begun.push((id, DialTo::Target(target.text.clone())));
            }
        }
        while let Some((at, peer, address)) = self.next_address(links)
            && at <= now
            && let Some(attempt) = address_mut(&mut self.discovered, peer, address)
        {
            let id = next_id(&mut self.last_dial);
            attempt.begin(id);
            self.dials.insert(id, Goal::Address(peer, address));
            begun.push((id, DialTo::Address { address, expect: peer }));
        }
        begun
    }

    /// When the next dial is due.
    pub(crate) fn next_due(&self, links: &Links) -> Option<Instant> {
        let targets =
            self.configured.iter().filter(|t| !t.is_satisfied(links)).filter_map(|t| t.attempt.due());
        targets.chain(self.next_address(links).map(|(at, ..)| at)).min()
    }

    /// The dial goes to this address.
    pub(crate) fn dialling(&mut self, id: DialId, address: SocketAddr) {
        if let Some(attempt) = self.dials.get(&id).cloned().and_then(|goal| self.attempt_mut(&goal)) {
            attempt.address = Some(address);
        }
    }

    /// Whom this dial must reach: it went to an address heard of, and not to a target.
    pub(crate) fn expected(&self, id: DialId) -> Option<PeerName> {
        match self.dials.get(&id)? {
            Goal::Target(_) => None,
            &Goal::Address(peer, _) => Some(peer),
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
        let Some(goal) = self.dials.remove(&id) else { return false };
        if let Some(attempt) = self.attempt_mut(&goal).filter(|a| a.progress() == Progress::Dialling(id)) {
            match (&goal, failure.code) {
                (Goal::Target(_), Some(RefuseCode::Oneself)) => attempt.oneself(),
                _ => attempt.failed(now, failure, rng),
            }
        }
        true
    }

    /// A dial reached a peer that is linked already, by a link that stays.
    pub(crate) fn duplicate(&mut self, now: Instant, id: DialId, peer: PeerName) {
        let Some(goal) = self.dials.remove(&id) else { return };
        if let Some(target) = self.target_mut(&goal) {
            target.peer = Some(peer);
        }
        if let Some(attempt) = self.attempt_mut(&goal).filter(|a| a.progress() == Progress::Dialling(id)) {
            attempt.stand_by(now);
        }
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
        let goal = dial.and_then(|id| self.dials.remove(&id));
        if let Some(target) = goal.as_ref().and_then(|goal| self.target_mut(goal)) {
            target.peer = Some(peer);
            target.attempt.linked(link);
        } else if let Some(attempt) = goal.as_ref().and_then(|goal| self.attempt_mut(goal)) {
            attempt.stand_by(now);
        }
        let discovered = self.discovered.entry(peer).or_default();
        discovered.lost = false;
        if let Some(address) = address {
            discovered.add(address, now, &BTreeSet::from([address]));
        }
    }

    /// A link to `peer` was closed in favour of another one to the same peer.
    pub(crate) fn link_replaced(&mut self, now: Instant, link: LinkId) {
        for target in self.configured.iter_mut().filter(|t| t.attempt.progress() == Progress::Linked(link)) {
            target.attempt.stand_by(now);
        }
    }

    /// The link to `peer` was lost after `lived`.
    pub(crate) fn link_down(
        &mut self,
        now: Instant,
        peer: PeerName,
        lived: Duration,
        failure: Failure<'_>,
        rng: &mut StdRng,
    ) {
        for target in self.configured.iter_mut().filter(|t| t.peer == Some(peer)) {
            target.attempt.lost(now, lived, Duration::ZERO, failure, rng);
        }
        let head_start = self.head_start(peer);
        if let Some(discovered) = self.discovered.get_mut(&peer) {
            discovered.lost = failure.code != Some(RefuseCode::ShuttingDown);
            for attempt in discovered.addresses.values_mut() {
                attempt.lost(now, lived, head_start, failure, rng);
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

    /// The address that is due next, of all that may be dialled.
    fn next_address(&self, links: &Links) -> Option<(Instant, PeerName, SocketAddr)> {
        let under_way = self.discovered.values().filter(|d| d.is_dialling()).count();
        if self.limit > 0 && links.len() + under_way >= self.limit {
            return None;
        }
        let is_dialled =
            |peer| self.configured.iter().any(|t| t.attempt.is_dialling() && t.peer == Some(peer));
        let idle = |&(&peer, d): &(&PeerName, &Discovered)| {
            self.is_wanted(peer, d, links) && !d.is_dialling() && !is_dialled(peer)
        };
        // Where a target leads is left to the target.
        let is_target = |peer, address| {
            let leads_there = |t: &Target| t.attempt.address == Some(address);
            self.configured
                .iter()
                .any(|t| leads_there(t) && (t.attempt.is_dialling() || t.peer == Some(peer)))
        };
        let due = |(&peer, d): (&PeerName, &'_ Discovered)| {
            let free = d.addresses.iter().filter(|&(&address, _)| !is_target(peer, address));
            free.filter_map(|(&address, attempt)| Some((attempt.due()?, peer, address))).min()
        };
        self.discovered.iter().filter(idle).filter_map(due).min()
    }

    fn is_wanted(&self, peer: PeerName, d: &Discovered, links: &Links) -> bool {
        self.discovery && (d.reachable || d.lost) && !links.has_peer(peer)
    }

    fn head_start(&self, peer: PeerName) -> Duration {
        if self.own > peer { HEAD_START } else { Duration::ZERO }
    }

    fn target_mut(&mut self, goal: &Goal) -> Option<&mut Target> {
        let Goal::Target(text) = goal else { return None };
        self.configured.iter_mut().find(|t| t.text == *text)
    }

    fn attempt_mut(&mut self, goal: &Goal) -> Option<&mut Attempt> {
        match goal {
            Goal::Target(_) => self.target_mut(goal).map(|t| &mut t.attempt),
            &Goal::Address(peer, address) => address_mut(&mut self.discovered, peer, address),
        }
    }
}

const fn next_id(last: &mut u64) -> DialId {
    *last += 1;
    DialId(*last)
}

#[cfg(test)]
mod tests;
