//! [`Outbox`]: what one thread has on its way out, for all the paths it goes by.

use std::sync::Arc;

use crate::{Batch, FramePath};

/// Paths that can wait to be flushed at once. A batch that goes to more of them is sent in parts.
const MAX_WAITING: usize = 64;

/// What one thread keeps from batch to batch: the memory of its outgoing frames.
#[derive(Default)]
pub struct Outbox {
    /// Paths that were sent to in this batch, each with what waits for it. Their number and memory are those of the largest batch
    /// so far; [`MAX_WAITING`] bounds them.
    waiting: Vec<(Arc<dyn FramePath>, Batch)>,
    /// Memory of paths that were flushed.
    spare: Vec<Batch>,
    /// Where in `waiting` the last frame went: the next one mostly goes there too.
    last: usize,
}

impl Outbox {
    /// One without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where what goes to `path` waits. What waits longest is sent first when there are too many paths.
    pub fn batch(&mut self, path: &Arc<dyn FramePath>) -> &mut Batch {
        let same = |(other, _): &(Arc<dyn FramePath>, Batch)| Arc::ptr_eq(other, path);
        // A flood goes to all peers in one order each time: the next is where the last one's neighbour is.
        let next = if self.last + 1 < self.waiting.len() { self.last + 1 } else { 0 };
        if self.waiting.get(next).is_some_and(same) {
            self.last = next;
        } else if !self.waiting.get(self.last).is_some_and(same) {
            self.last = self.waiting.iter().position(same).unwrap_or_else(|| {
                if self.waiting.len() >= MAX_WAITING {
                    self.flush();
                }
                self.waiting.push((Arc::clone(path), self.spare.pop().unwrap_or_default()));
                self.waiting.len() - 1
            });
        }
        &mut self.waiting[self.last].1
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        for (path, mut batch) in self.waiting.drain(..) {
            path.flush(&mut batch);
            self.spare.push(batch);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
