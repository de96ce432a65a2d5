//! Which way frames take between two hosts, looked at again and again.

use std::thread;
use std::time::Duration;

use testbed::world::{Site, Way, wall_clock};

/// What has been seen of one end.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) way: Way,
    pub(crate) reason: String,
    /// When it began to be so, by the clock of the wall.
    pub(crate) since: Duration,
    /// How often it changed.
    pub(crate) changes: usize,
}

/// The ways from each of two hosts to the other.
pub(crate) struct Watch<'a> {
    sites: [&'a Site; 2],
    pub(crate) ends: [End; 2],
}

impl<'a> Watch<'a> {
    pub(crate) fn new(sites: [&'a Site; 2]) -> Self {
        let end = End { way: Way::None, reason: String::new(), since: wall_clock(), changes: 0 };
        let mut watch = Self { sites, ends: [end.clone(), end] };
        watch.look();
        watch
    }

    /// Looks once.
    pub(crate) fn look(&mut self) {
        for (own, other) in [(0, 1), (1, 0)] {
            let (way, reason) = self.sites[own].router().way_to(self.sites[other].router().name());
            let end = &mut self.ends[own];
            if way != end.way {
                (end.way, end.since) = (way, wall_clock());
                end.changes += 1;
            }
            end.reason = reason;
        }
    }

    /// Goes on looking for a time.
    pub(crate) fn look_for(&mut self, time: Duration) {
        let end = wall_clock() + time;
        while wall_clock() < end {
            self.look();
            thread::sleep(PACE);
        }
    }

    /// Looks until both ends have had one of these ways for `stay`; says whether that came within `patience`.
    pub(crate) fn until(&mut self, ways: &[Way], stay: Duration, patience: Duration) -> bool {
        let end = wall_clock() + patience;
        loop {
            self.look();
            let now = wall_clock();
            if self.ends.iter().all(|end| ways.contains(&end.way) && now.saturating_sub(end.since) >= stay) {
                return true;
            }
            if now > end {
                return false;
            }
            thread::sleep(PACE);
        }
    }

    /// When the later of both ends began to be as it is.
    pub(crate) fn since(&self) -> Duration {
        self.ends.iter().map(|end| end.since).max().unwrap_or_default()
    }

    /// How often the ways of both ends have changed.
    pub(crate) fn changes(&self) -> usize {
        self.ends.iter().map(|end| end.changes).sum()
    }

    /// The worse of both ways, or the other where they are equal.
    pub(crate) fn worse(&self) -> &End {
        let [a, b] = &self.ends;
        if b.way < a.way { b } else { a }
    }
}

/// Between two looks.
const PACE: Duration = Duration::from_millis(40);
