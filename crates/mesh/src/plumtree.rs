//! How news spread: along a tree that finds itself (P5.5).
//!
//! Of the links that each peer has, those in the tree are *eager*: news are sent over them at once. Over the others they
//! are only announced, a line each, in case the tree is broken. A link leaves the tree when news that came over it were known
//! already, and enters it again when news had to be asked for over it.
//!
//! Pure book-keeping: what is held, and what a fact says, is the caller's business. It says which facts are new, which were
//! heard again, announced or asked for, and carries out what comes out of [`Plumtree::handle_timeout`].

mod missing;
mod places;
mod untold;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::{DigestEntry, FactKind, PeerName};

use crate::mesh::LinkId;
use missing::Missing;
use places::Places;
use untold::Untold;

/// While news pour in they are passed on in one message this often. What comes after a quiet moment goes at once.
const GATHER: Duration = Duration::from_millis(20);
/// A link is not taken for superfluous so soon after it came up, or after a comparison of digests began on it: what is
/// heard twice then says nothing about the tree.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long the news of one origin alone shape the tree after the last of them.
const ROOT_FOR: Duration = Duration::from_millis(300);
/// A peer that has so many eager links lets those that it dials come up as others.
const ENOUGH: usize = 3;
/// Most links that take the place of one that broke.
const MAX_MENDERS: usize = 16;

/// What a fact is known by, whatever its version.
pub(crate) type Key = (PeerName, FactKind);

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Push {
    /// These facts.
    Facts(LinkId, Vec<Arc<[u8]>>),
    /// An announcement of these.
    Announce(LinkId, Vec<DigestEntry>),
    /// A request for these.
    Want(LinkId, Vec<DigestEntry>),
}

/// Who gets news at once, who is told of them, and what we were told of ourselves.
#[derive(Debug, Default)]
pub(crate) struct Plumtree {
    links: BTreeMap<LinkId, Neighbour>,
    /// Places of links that are gone.
    free: Vec<usize>,
    news: BTreeMap<Key, News>,
    /// When news are passed on next, and when they last were.
    push_at: Option<Instant>,
    pushed: Option<Instant>,
    /// Whose news shape the tree, and when the last of them came.
    root: Option<(PeerName, Instant)>,
    untold: Untold,
    missing: Missing,
    /// Links that became eager because another one broke: their other ends are to be told.
    mending: Vec<LinkId>,
}

#[derive(Debug)]
struct Neighbour {
    /// Which it is in sets of links.
    place: usize,
    is_eager: bool,
    /// In which turn it is told of news.
    turn: usize,
    patient_until: Instant,
}

/// A fact that is to be passed on.
#[derive(Debug)]
struct News {
    version: (u64, u64),
    bytes: Arc<[u8]>,
    /// The links whose other ends have it.
    has: Places,
}

/// A fact that was held already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Which it is.
    pub(crate) line: DigestEntry,
    /// A newer one is held.
    pub(crate) is_older: bool,
    /// Where that which is held came from; `None`: it is our own.
    pub(crate) first: Option<LinkId>,
}

impl Plumtree {
    /// A link came up: it is eager. `is_first` tells whether we announce first on it, or the other end does.
    pub(crate) fn link_up(&mut self, now: Instant, link: LinkId, is_first: bool) {
        let place = match self.links.get(&link) {
            Some(neighbour) => neighbour.place,
            // All places are taken or free.
            None => self.free.pop().unwrap_or(self.links.len()),
        };
        self.news.values_mut().for_each(|news| news.has.remove(place));
        self.untold.link_up(place);
        let turn = usize::from(!is_first);
        self.links.insert(link, Neighbour { place, is_eager: true, turn, patient_until: now + PATIENCE });
    }

    /// Whether a link that came up is left out of the tree from the first: there are enough by which news come. To be asked by one
    /// end, which then asks the other to send no more.
    pub(crate) fn is_superfluous(&mut self, now: Instant, link: LinkId) -> bool {
        let is_superfluous = self.eager() > ENOUGH;
        if is_superfluous && let Some(neighbour) = self.links.get_mut(&link) {
            neighbour.is_eager = false;
            neighbour.patient_until = now + PATIENCE;
        }
        is_superfluous
    }

    /// Links that are gone are forgotten. Where one of them was eager the tree is broken: others take its place at once,
    /// without waiting for news to be missed.
    pub(crate) fn retain(&mut self, is_up: impl Fn(LinkId) -> bool) {
        let before = self.eager();
        let all = self.links.len();
        let free = &mut self.free;
        self.links.retain(|&link, neighbour| {
            let stays = is_up(link);
            if !stays {
                free.push(neighbour.place);
            }
            stays
        });
        if self.links.len() == all {
            return;
        }
        self.missing.retain(is_up);
        if self.eager() < before {
            let idle = self.links.iter_mut().filter(|(_, neighbour)| !neighbour.is_eager);
            for (&link, neighbour) in idle.take(MAX_MENDERS) {
                neighbour.is_eager = true;
                self.mending.push(link);
            }
        }
    }

    /// A comparison of digests began on this link: facts will arrive on it that are known already.
    pub(crate) fn compared(&mut self, now: Instant, link: LinkId) {
        if let Some(neighbour) = self.links.get_mut(&link) {
            neighbour.patient_until = now + PATIENCE;
        }
    }

    /// A fact is new. It came over `from`, or is our own.
    pub(crate) fn news(&mut self, now: Instant, line: DigestEntry, bytes: Arc<[u8]>, from: Option<LinkId>) {
        let key = (line.origin, line.kind);
        self.missing.arrived(&line);
        self.is_of_root(now, &line);
        let mut has = Places::default();
        if let Some(neighbour) = from.and_then(|link| self.links.get_mut(&link)) {
            has.insert(neighbour.place);
            self.untold.has(neighbour.place, &line);
            // The other end holds us for eager, or it would not have sent this: the two must not differ. Unless it was
            // under way when we asked for no more.
            neighbour.is_eager |= now >= neighbour.patient_until;
        }
        self.news.insert(key, News { version: line.version, bytes, has });
        let earliest = self.pushed.map_or(now, |at| now.max(at + GATHER));
        self.push_at.get_or_insert(earliest);
    }

    /// A fact came over this link that was held already, in this version or a newer one, which came over `first` or is our
    /// own. Tells whether the other end is to be asked to send no more.
    pub(crate) fn repeated(&mut self, now: Instant, link: LinkId, heard: &Repeated) -> bool {
        if !heard.is_older {
            self.has(link, &heard.line);
        }
        // Many peers have news at the same moment, and each judges by what crosses its own links. Were the link they came
        // over first out of the tree by now, giving up this one could cut us off.
        let comes_anyway = heard.first.is_none_or(|first| first != link && self.is_eager(first));
        let is_of_root = self.is_of_root(now, &heard.line);
        let Some(neighbour) = self.links.get_mut(&link) else { return false };
        // Also when we hold the link for superfluous already: the other end does not, or it would not have sent this.
        let is_superfluous = is_of_root && comes_anyway && now >= neighbour.patient_until;
        if is_superfluous {
            neighbour.is_eager = false;
            // What is under way must not cause the same request again.
            neighbour.patient_until = now + PATIENCE;
        }
        is_superfluous
    }

    /// The other end announced a fact that we hold.
    pub(crate) fn announced_known(&mut self, link: LinkId, line: &DigestEntry) {
        self.has(link, line);
    }

    /// The other end announced a fact that we lack.
    pub(crate) fn announced_missing(&mut self, now: Instant, link: LinkId, line: &DigestEntry) {
        if self.links.contains_key(&link) {
            self.missing.add(now, link, line);
        }
    }

    /// A fact arrived that is not worth keeping: there is no point in asking others for it.
    pub(crate) fn is_unwanted(&mut self, line: &DigestEntry) {
        self.missing.arrived(line);
    }

    /// The other end asks to send no more. Tells whether to object, with a request for nothing in particular: it was the
    /// last link over which we hear news.
    pub(crate) fn pruned(&mut self, link: LinkId) -> bool {
        let is_last = self.is_eager(link) && self.eager() == 1;
        self.set_eager(link, is_last);
        is_last
    }

    /// The other end asks for facts, and for new ones as they come.
    pub(crate) fn wanted(&mut self, link: LinkId) {
        self.set_eager(link, true);
    }

    /// What is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Push> {
        let mending = std::mem::take(&mut self.mending).into_iter();
        let mut pushes: Vec<_> = mending.map(|link| Push::Want(link, Vec::new())).collect();
        if self.push_at.is_some_and(|at| at <= now) {
            self.push_at = None;
            self.pushed = Some(now);
            self.push(now, &mut pushes);
        }
        while let Some(turn) = self.untold.take_due(now) {
            self.announce(turn, &mut pushes);
        }
        for (link, lines) in self.missing.handle_timeout(now) {
            self.set_eager(link, true);
            pushes.push(Push::Want(link, lines));
        }
        pushes
    }

    /// When something is due next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.push_at, self.untold.poll_timeout(), self.missing.poll_timeout()].into_iter().flatten().min()
    }

    /// How many links are eager.
    pub(crate) fn eager(&self) -> usize {
        self.links.values().filter(|neighbour| neighbour.is_eager).count()
    }

    /// How many facts wait: to be announced, and to come after they were.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.untold.len(), self.missing.len())
    }

    /// The other end has this fact.
    fn has(&mut self, link: LinkId, line: &DigestEntry) {
        let Some(place) = self.links.get(&link).map(|neighbour| neighbour.place) else { return };
        if let Some(news) = self.news.get_mut(&(line.origin, line.kind))
            && news.version <= line.version
        {
            news.has.insert(place);
        }
        self.untold.has(place, line);
    }

    /// Whether this is news of the origin that shapes the tree: of those with news of late the one with the smallest name.
    ///
    /// News of one origin leave a tree, whatever they meet. Those of many at the same moment would each take other links out
    /// of it, and what is left would hang together no more. So all go by the same one.
    fn is_of_root(&mut self, now: Instant, line: &DigestEntry) -> bool {
        let is_root = self.root.is_none_or(|(root, at)| line.origin <= root || now >= at + ROOT_FOR);
        if is_root {
            self.root = Some((line.origin, now));
        }
        is_root
    }

    fn is_eager(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|neighbour| neighbour.is_eager)
    }

    fn set_eager(&mut self, link: LinkId, is_eager: bool) {
        if let Some(neighbour) = self.links.get_mut(&link) {
            neighbour.is_eager = is_eager;
        }
    }

    /// Passes the news on to those who are eager, and notes them down for the others.
    fn push(&mut self, now: Instant, pushes: &mut Vec<Push>) {
        let news = std::mem::take(&mut self.news);
        for (&link, neighbour) in self.links.iter().filter(|(_, neighbour)| neighbour.is_eager) {
            let unknown = news.values().filter(|news| !news.has.contains(neighbour.place));
            let facts: Vec<_> = unknown.map(|news| Arc::clone(&news.bytes)).collect();
            if !facts.is_empty() {
                pushes.push(Push::Facts(link, facts));
            }
        }
        let (eager, lazy): (Vec<_>, Vec<_>) = self.links.values().partition(|neighbour| neighbour.is_eager);
        let [eager, lazy]: [Places; 2] =
            [eager, lazy].map(|links| links.into_iter().map(|neighbour| neighbour.place).collect());
        for (key, mut news) in news {
            if news.has.covers(&lazy) {
                self.untold.remove(&key);
            } else {
                news.has.insert_all(&eager);
                self.untold.add(now, key, news.version, news.has);
            }
        }
    }

    fn announce(&mut self, turn: usize, pushes: &mut Vec<Push>) {
        for (&link, neighbour) in self.links.iter().filter(|(_, neighbour)| neighbour.turn == turn) {
            let lines = self.untold.tell(turn, neighbour.place);
            if !lines.is_empty() {
                pushes.push(Push::Announce(link, lines));
            }
        }
        self.untold.end_turn(turn);
    }
}

#[cfg(test)]
mod tests;
