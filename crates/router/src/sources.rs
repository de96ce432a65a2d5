//! [`Sources`]: which frames for everyone were here before (P7.2).

use std::sync::{Mutex, PoisonError};

use foldhash::HashMap;
use transport::Drop;
use wire::{GroupHeader, PeerName, REPLAY_WINDOW, ReplayWindow};

/// Most sources whose frames are told apart. A network has fewer peers; what is above are names that somebody made up.
pub const MAX_SOURCES: usize = 4096;
/// Most segments of a super-frame for everyone. More than the window holds could not be told apart, and to look at many keeps the
/// lock for long; TCP and UDP make no more than this of 64 KiB.
pub(crate) const MAX_SEGMENTS: usize = REPLAY_WINDOW as usize / 4;
/// A source that was silent for so many seconds may be forgotten for another one. No frame is under way for that long, so none of
/// its frames comes by again.
const IDLE_SECS: u32 = 10;
/// How often the control side is asked for a tree, in seconds: more often than it may lose a question, and not for each frame.
const ASK_SECS: u32 = 1;

/// The windows of all sources. The lock is held for a look at one of them.
#[derive(Default)]
pub(crate) struct Sources(Mutex<Known>);

#[derive(Default)]
struct Known {
    sources: HashMap<PeerName, Source>,
    /// Until this second there is no use in looking for an idle source.
    full_until: u32,
}

struct Source {
    run: u64,
    window: ReplayWindow,
    /// When it was last heard.
    seen: u32,
    /// When its tree was last asked for.
    asked: Option<u32>,
}

/// A frame that was not here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct New {
    /// Whether its source's tree should be asked for.
    pub(crate) ask: bool,
}

impl Sources {
    /// Takes note of a frame of so many segments, whose source's tree is known or not. All its numbers are new, or none is taken.
    ///
    /// # Errors
    /// When it was here before.
    pub(crate) fn take(
        &self,
        group: &GroupHeader,
        segments: usize,
        tree_known: bool,
        now: u32,
    ) -> Result<New, Drop> {
        if segments > MAX_SEGMENTS {
            return Err(Drop::Malformed);
        }
        let numbers = group.sequence..group.sequence.saturating_add(segments as u64);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = known.source(group, now)?;
        if group.run < source.run || !numbers.clone().all(|n| source.window.is_new(n)) {
            return Err(Drop::Duplicate);
        }
        numbers.for_each(|n| source.window.mark(n));
        source.seen = now;
        let ask = !tree_known && source.asked.is_none_or(|at| now.saturating_sub(at) >= ASK_SECS);
        if ask {
            source.asked = Some(now);
        }
        Ok(New { ask })
    }
}

impl Known {
    fn source(&mut self, group: &GroupHeader, now: u32) -> Result<&mut Source, Drop> {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&group.source) {
            self.make_room(now)?;
        }
        let source = self.sources.entry(group.source).or_insert_with(|| Source {
            run: group.run,
            window: ReplayWindow::new(),
            seen: now,
            asked: None,
        });
        if group.run > source.run {
            (source.run, source.window) = (group.run, ReplayWindow::new());
        }
        Ok(source)
    }

    /// Forgets the source that was idle for the longest. If none was idle for long enough the newcomer is not taken: to forget one
    /// that still sends would let its frames pass twice.
    fn make_room(&mut self, now: u32) -> Result<(), Drop> {
        if now < self.full_until {
            return Err(Drop::Duplicate);
        }
        let oldest = self.sources.iter().map(|(name, s)| (s.seen, *name)).min();
        match oldest {
            Some((seen, name)) if now.saturating_sub(seen) >= IDLE_SECS => {
                self.sources.remove(&name);
                Ok(())
            }
            _ => {
                self.full_until = now.saturating_add(1);
                Err(Drop::Duplicate)
            }
        }
    }
}

#[cfg(test)]
mod tests;
