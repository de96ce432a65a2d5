//! Which links to keep (P8.3).
//!
//! A few peers are all linked to each other. Many keep links to their neighbours on the rings; who cannot be reached by
//! dialling is passed over for the one behind. All that is decided here is whom we *want* to be linked to: the targets
//! dial them, and what we dialled and want no more is closed after a while. That takes its time on purpose, because each
//! peer that joins changes what its neighbours want.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;
use topology::{EVERYONE, RINGS};
use wire::{PeerName, Refuse, RefuseCode};

use super::{Action, COALESCE, LinkId, Mesh};
use crate::discovery;
use crate::targets::Wanted;
use crate::view::Unlinked;

/// How long a link that is not needed is kept (P8.3).
const KEEP: Duration = Duration::from_secs(30);
/// By up to this much longer for each peer within reach, so that a mesh that came up at once does not close all such
/// links at once: in all of it about thirty peers a second close what they have of them.
const KEEP_SPREAD: Duration = Duration::from_millis(30);
/// How long a link that frames go by is kept for keys to be agreed on that do not depend on it.
const AGREE: Duration = Duration::from_secs(5);
/// How long a wanted peer has to become a neighbour before it may be passed over: a dial from either end takes less.
const PATIENCE: Duration = Duration::from_secs(3);
/// Who has no link at all passes over so many without a second try: of two halves of a network a few of the next are on its side.
const MOST_HURRIED: usize = 40;
/// After this long without a link people are told.
const TELL_AFTER: Duration = Duration::from_secs(15);
/// How long a mesh that shrank must have stayed small before everyone is dialled: a peer that restarts at the border
/// would cost hundreds of dials each time.
const SMALL_FOR: Duration = Duration::from_secs(10);
/// While a mesh grows by more than a twentieth in this time, each newcomer would make its neighbours dial and soon after
/// close again. So whom we did not want before is not dialled until that is over, ...
const GROWTH_OVER: Duration = Duration::from_millis(300);
/// When it grew that much more than twice it is likely to go on, though news may come in lumps.
const GROWTH_OVER_LATER: Duration = Duration::from_millis(600);
/// ... but at last after this long: [`HOLD_FEW`] where everyone is to be linked to everyone, as each link may stay.
const HOLD: Duration = Duration::from_secs(4);
const HOLD_FEW: Duration = Duration::from_millis(500);
/// First dials of a large mesh are spread over this long.
const SPREAD: Duration = Duration::from_millis(400);

/// What we want, and since when.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Whom a link is kept to, or would be if one could be had.
    kept: BTreeSet<PeerName>,
    /// All that are dialled: those on our rings, and where these were passed over those behind them.
    since: BTreeMap<PeerName, Instant>,
    /// Those of them that were not held back.
    granted: BTreeSet<PeerName>,
    growth: Growth,
    /// Those among them that stand beside us on a ring.
    sought: Vec<PeerName>,
    /// When each link that we dialled and do not need may be closed.
    surplus: BTreeMap<PeerName, Instant>,
    /// There are too many for everyone to be linked to everyone.
    many: bool,
    /// Since when there are not.
    small_since: Option<Instant>,
    review_at: Option<Instant>,
    /// The last time that all of this was looked at.
    looked: Option<Instant>,
}

/// Whether the mesh grows so fast that it is too soon to dial.
#[derive(Debug, Default)]
struct Growth {
    /// When it was looked at last, and how many peers were known.
    seen: Option<(Instant, usize)>,
    held_since: Option<Instant>,
    /// How often it grew while dials were held back.
    times: u32,
}

impl Growth {
    /// Takes how many there are now; says whether to hold new dials back.
    fn holds(&mut self, now: Instant, known: usize, longest: Duration) -> bool {
        // At first a peer knows itself.
        let (at, before) = *self.seen.get_or_insert((now, 1));
        let grows = known > before + before / 20 + 1;
        let over = now >= at + self.quiet();
        if grows || over {
            self.seen = Some((now, known));
        }
        if grows {
            self.held_since.get_or_insert(now);
            self.times += 1;
        }
        let holds = self.held_since.is_some_and(|since| now < since + longest) && (grows || !over);
        if !holds {
            (self.held_since, self.times) = (None, 0);
        }
        holds
    }

    /// When to look again, while dials are held back.
    fn look_at(&self) -> Option<Instant> {
        self.held_since.and(self.seen).map(|(at, _)| at + self.quiet())
    }

    const fn quiet(&self) -> Duration {
        if self.times > 2 { GROWTH_OVER_LATER } else { GROWTH_OVER }
    }
}

impl Mesh {
    /// Decides whom to dial and which links to close, with what the last survey found.
    pub(super) fn choose_links(&mut self, now: Instant) {
        (self.policy.review_at, self.policy.looked) = (None, Some(now));
        if !self.config.discovery {
            // The operator chose the links; all that is kept is the targets.
            let wanted = Wanted::default();
            self.targets.want(now, &self.found.reached, &wanted, &mut self.rng);
            return;
        }
        // Who has lost all its neighbours takes those on the rings of everyone it remembers: the next ones may be within reach.
        let is_alone = self.links.len() == 0 && self.facts.peers() > 1;
        if is_alone {
            self.found.rings.update(&self.facts.origins().collect());
        } else {
            self.found.rings.update(&self.found.reached);
        }
        let everyone = self.wants_everyone(now);
        self.choose_wanted(now, everyone);
        // Those who join are heard of before anyone states a link to them.
        let known = self.facts.peers();
        let longest = if self.policy.many || known > EVERYONE { HOLD } else { HOLD_FEW };
        if self.policy.growth.holds(now, known, longest) {
            self.policy.granted.retain(|peer| self.policy.since.contains_key(peer));
        } else {
            self.policy.granted = self.policy.since.keys().copied().collect();
        }
        let (facts, graph, own) = (&self.facts, &self.found.graph, self.config.name);
        let addresses = |&peer: &PeerName| {
            // Where a neighbour is to be dialled is looked up when it is none any more, as far as that takes time.
            let known = self.policy.many && self.links.has_peer(peer);
            let heard = if known { BTreeSet::new() } else { discovery::addresses(facts, graph, own, peer) };
            (peer, heard)
        };
        let wanted = Wanted {
            peers: self.policy.granted.iter().map(addresses).collect(),
            sparing: !everyone,
            spread: if self.policy.many { SPREAD } else { Duration::ZERO },
            blindly: is_alone,
        };
        self.targets.want(now, &self.found.reached, &wanted, &mut self.rng);
        self.close_surplus(now);
        self.make_room_for_wanted(now);
        self.next_review(now);
    }

    /// Looks again whether someone is to be passed over, or a link to be closed.
    pub(super) fn review_links(&mut self, now: Instant) {
        if self.policy.review_at.is_some_and(|at| at <= now) {
            self.decide(now);
        }
    }

    /// When [`Mesh::review_links`] has something to do.
    pub(super) const fn next_link_review(&self) -> Option<Instant> {
        self.policy.review_at
    }

    /// Whether a link to this peer is one we want.
    pub(super) fn is_kept(&self, peer: PeerName) -> bool {
        self.policy.kept.contains(&peer)
    }

    /// How many peers a link is wanted to.
    pub(super) fn wanted_links(&self) -> usize {
        self.policy.since.len()
    }

    /// Closes a link that nobody needs to reach anyone, so that another one fits under the limit; one that we want to keep
    /// only if `newcomer`, as someone whom nobody else reaches goes before. Says whether there was one.
    pub(super) fn make_room(&mut self, now: Instant, newcomer: bool) -> bool {
        let own = self.config.name;
        let spare = |peer| (newcomer || !self.is_kept(peer)) && self.found.graph.connected_without(own, peer);
        // The oldest: who was linked longest has found other ways.
        let victim = self.links.iter().filter(|(_, link)| spare(link.peer));
        let victim = victim.min_by_key(|(id, link)| (self.is_kept(link.peer), link.up_since, *id));
        let victim = victim.map(|(id, _)| id);
        if let Some(id) = victim {
            let (name, nickname) = (self.config.name, &self.config.nickname);
            let limit = self.config.conn_limit;
            let text =
                format!("{name} ({nickname}) has {limit} links at most, and another peer needs this one");
            self.close_unneeded(now, id, text);
        }
        victim.is_some()
    }

    /// Peers that we want to be linked to and cannot.
    pub fn unlinked(&self) -> Vec<Unlinked> {
        let since = |peer: &PeerName| {
            self.policy.since.get(peer).is_some_and(|&at| self.policy.looked >= Some(at + TELL_AFTER))
        };
        let missing =
            self.policy.sought.iter().filter(|&&peer| !self.links.has_peer(peer)).filter(|p| since(p));
        let tell = |&peer: &PeerName| {
            let trouble = self.targets.trouble(peer)?.to_owned();
            let via = *self.route(peer)?.first()?;
            Some(Unlinked { peer, via, trouble })
        };
        missing.filter_map(tell).collect()
    }

    /// Whether everyone is to be linked to everyone. Not with a limit that has no room for it.
    fn wants_everyone(&mut self, now: Instant) -> bool {
        let members = self.found.rings.len();
        let policy = &mut self.policy;
        if members > EVERYONE {
            (policy.many, policy.small_since) = (true, None);
        } else if policy.many && now >= *policy.small_since.get_or_insert(now) + SMALL_FOR {
            policy.many = false;
        }
        let limit = self.config.conn_limit;
        !policy.many && (limit == 0 || limit + 1 >= members)
    }

    fn choose_wanted(&mut self, now: Instant, everyone: bool) {
        let own = self.config.name;
        let others = |name: &PeerName| *name != own;
        if everyone {
            self.policy.sought = self.found.reached.iter().filter(others).collect();
            self.policy.kept = self.policy.sought.iter().copied().collect();
            self.keep_since(now, BTreeSet::new());
            return;
        }
        let limit = self.config.conn_limit;
        let rings = if limit == 0 { RINGS } else { (limit / 2).clamp(1, RINGS) };
        let over = RefCell::new(BTreeSet::new());
        let passed = |peer| {
            let patient = self.policy.since.get(&peer).is_none_or(|&at| now < at + PATIENCE);
            let hurries = self.links.len() == 0 && over.borrow().len() < MOST_HURRIED;
            let passed = !patient
                && !self.links.has_peer(peer)
                && (self.targets.is_closed(peer)
                    || hurries && self.targets.is_tried_in_vain(now, peer, PATIENCE));
            if passed {
                over.borrow_mut().insert(peer);
            }
            passed
        };
        let sought = self.found.rings.wanted(own, rings, |_| false);
        let kept = self.found.rings.wanted(own, rings, passed);
        (self.policy.sought, self.policy.kept) = (sought, kept.into_iter().collect());
        let relayed = self.relayed(now);
        self.policy.kept.extend(relayed);
        self.keep_since(now, over.into_inner());
    }

    /// Notes since when each peer is dialled. Those passed over still are, or else they would be taken up again as new.
    fn keep_since(&mut self, now: Instant, over: BTreeSet<PeerName>) {
        let policy = &mut self.policy;
        let dialled = policy.sought.iter().chain(&policy.kept).chain(&over);
        policy.since = dialled.map(|&peer| (peer, policy.since.get(&peer).copied().unwrap_or(now))).collect();
    }

    /// Closes what we dialled and have not needed for long enough, unless someone might be lost by it.
    fn close_surplus(&mut self, now: Instant) {
        let is_surplus = |peer: PeerName, outbound: bool| {
            // One that nobody states yet may be all that somebody has.
            outbound && !self.policy.kept.contains(&peer) && self.found.reached.contains(peer)
        };
        let (mut surplus, mut busy) = (BTreeMap::new(), BTreeSet::new());
        let spread = KEEP_SPREAD * u32::try_from(self.found.rings.len()).unwrap_or(u32::MAX);
        // What becomes superfluous at about the same time is closed at the same time: everyone is told once.
        let soon = self.policy.surplus.values().copied().filter(|&at| at >= now + KEEP).min();
        let together = soon.unwrap_or_else(|| now + KEEP + spread.mul_f64(self.rng.random_range(0.0..1.0)));
        for (_, link) in self.links.iter().filter(|(_, link)| is_surplus(link.peer, link.outbound)) {
            let at = self.policy.surplus.get(&link.peer).copied().unwrap_or(together);
            surplus.insert(link.peer, at);
            if link.is_busy(now) {
                busy.insert(link.peer);
            }
        }
        let due: Vec<_> = surplus.iter().filter(|&(_, &at)| at <= now).map(|(&peer, _)| peer).collect();
        self.policy.surplus = surplus;
        // Frames go on without a gap if there are keys, and a direct path perhaps, before the link is gone.
        busy.retain(|&peer| !self.distant.has(peer));
        busy.iter().for_each(|&peer| self.want_session(now, peer));
        if due.is_empty() {
            return;
        }
        // Everyone closes such links without asking, so only the others count when it comes to who is lost.
        let graph = &self.found.graph;
        let safe = self.found.rings.reached(self.config.name, |a, b| graph.linked(a, b));
        for peer in due {
            match self.links.of_peer(peer).filter(|_| safe.contains(peer)) {
                Some(_) if busy.contains(&peer) => {
                    self.policy.surplus.insert(peer, now + AGREE);
                }
                Some(id) => {
                    self.policy.surplus.remove(&peer);
                    self.close_unneeded(now, id, "other links reach this peer".to_owned());
                }
                None => {
                    self.policy.surplus.insert(peer, now + KEEP);
                }
            }
        }
    }

    /// At the limit one link that is not needed gives way, if one that is can be had.
    fn make_room_for_wanted(&mut self, now: Instant) {
        let limit = self.config.conn_limit;
        let missing = |&&peer: &&PeerName| !self.links.has_peer(peer) && !self.targets.is_closed(peer);
        let is_full = limit > 0 && self.links.len() >= limit;
        let settled = self.links.iter().all(|(_, link)| now >= link.up_since + KEEP);
        if is_full && settled && self.policy.kept.iter().any(|peer| missing(&peer)) {
            self.make_room(now, false);
        }
    }

    fn next_review(&mut self, now: Instant) {
        let closing = self.policy.surplus.values().copied().min();
        let unlinked = self.policy.since.iter().filter(|&(&peer, _)| !self.links.has_peer(peer));
        // A peer that was long looked for in vain is passed over already.
        let unlinked =
            unlinked.map(|(_, &at)| now + PATIENCE.max(now.saturating_duration_since(at) / 4)).min();
        let small = self.policy.small_since.filter(|_| self.policy.many).map(|at| at + SMALL_FOR);
        let held = self.policy.growth.look_at();
        self.policy.review_at = [closing, unlinked, small, held].into_iter().flatten().min();
    }

    fn close_unneeded(&mut self, now: Instant, id: LinkId, text: String) {
        let Some(mut link) = self.links.remove(id) else { return };
        link.refusal = Some(RefuseCode::NotNeeded);
        self.counters.links_unneeded += 1;
        self.lose(now, &link, &text);
        self.state_by(now + COALESCE);
        let refuse = Refuse::new(RefuseCode::NotNeeded, text);
        self.actions.push_back(Action::Close { link: id, refuse });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn dials_are_held_back_while_a_mesh_grows_but_for_four_seconds_at_most() {
        let (now, mut growth) = (start(), Growth::default());
        let at = |ms| now + Duration::from_millis(ms);
        assert!(!growth.holds(at(0), 1, HOLD));
        assert!(growth.holds(at(100), 400, HOLD), "it knew nobody a moment ago");
        assert_eq!(growth.look_at(), Some(at(400)));
        assert!(growth.holds(at(300), 402, HOLD));
        assert!(!growth.holds(at(400), 410, HOLD), "nobody to speak of came");
        assert_eq!(growth.look_at(), None);
        let held: Vec<_> =
            (0..60).map(|n| growth.holds(at(1000 + 100 * n), 500 + 100 * n as usize, HOLD)).collect();
        let first_free = held.iter().position(|held| !held);
        assert_eq!((held[0], first_free), (true, Some(40)));
    }

    #[test]
    fn one_more_peer_holds_nothing_back() {
        let (now, mut growth) = (start(), Growth::default());
        assert!(growth.holds(now, 100, HOLD), "a newcomer");
        for n in 1..100_u32 {
            assert!(!growth.holds(now + Duration::from_millis(500) * n, 100 + n as usize, HOLD));
        }
    }
}
