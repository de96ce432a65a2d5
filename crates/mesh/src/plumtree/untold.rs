//! News that were passed on, and that some neighbours are still to be told of.

use std::time::{Duration, Instant};

use foldhash::HashMap;
use wire::DigestEntry;

use super::Key;
use super::places::Places;

/// How long announcements are gathered (P5.5). Two neighbours hear most news at nearly the same time. Were both to wait
/// equally long, both would announce; so the one with the smaller name does so first, and the other sees that there is no
/// need to.
const WAIT: [Duration; 2] = [Duration::from_millis(350), Duration::from_millis(500)];
/// Most facts that wait to be announced. Digests repair what this leaves out.
pub(super) const MAX_LINES: usize = 8192;

/// What is to be announced. Links take one of two turns: on some we announce first, on the others second.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Gone through only to gather what is put in order then.
    lines: HashMap<Key, Line>,
    /// When those of either turn are told.
    at: [Option<Instant>; 2],
}

#[derive(Debug)]
struct Line {
    version: (u64, u64),
    /// The links whose other ends have it or were told.
    has: Places,
    /// Which turns are over.
    over: [bool; 2],
}

impl Untold {
    /// Takes a fact that some do not have yet.
    pub(super) fn add(&mut self, now: Instant, key: Key, version: (u64, u64), has: Places) {
        if self.lines.len() < MAX_LINES || self.lines.contains_key(&key) {
            self.lines.insert(key, Line { version, has, over: [false; 2] });
            for (at, wait) in self.at.iter_mut().zip(WAIT) {
                at.get_or_insert(now + wait);
            }
        }
    }

    /// Everyone has this.
    pub(super) fn remove(&mut self, key: &Key) {
        self.lines.remove(key);
    }

    /// The other end of the link at this place has this fact.
    pub(super) fn has(&mut self, place: usize, line: &DigestEntry) {
        if let Some(untold) = self.lines.get_mut(&(line.origin, line.kind))
            && untold.version <= line.version
        {
            untold.has.insert(place);
        }
    }

    /// A link takes this place: it came up, and its ends compare what they hold.
    pub(super) fn link_up(&mut self, place: usize) {
        self.lines.values_mut().for_each(|line| line.has.insert(place));
    }

    /// The turn that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<usize> {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        self.at.iter_mut().position(due)
    }

    /// What the link at this place, of this turn, is to be told of.
    pub(super) fn tell(&mut self, turn: usize, place: usize) -> Vec<DigestEntry> {
        let mut told = Vec::new();
        for (&(origin, kind), line) in &mut self.lines {
            if !line.over.get(turn).is_some_and(|&over| over) && !line.has.contains(place) {
                line.has.insert(place);
                told.push(DigestEntry { origin, kind, version: line.version });
            }
        }
        told.sort_unstable();
        told
    }

    /// All of this turn were told. What both turns were told of is done with.
    pub(super) fn end_turn(&mut self, turn: usize) {
        self.lines.retain(|_, line| {
            if let Some(over) = line.over.get_mut(turn) {
                *over = true;
            }
            line.over.contains(&false)
        });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.at.into_iter().flatten().min()
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}
