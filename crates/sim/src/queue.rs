//! What is going to happen, in order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events by time; those of one moment in the order they were put in.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    /// Lets something happen at `at`, in nanoseconds of the world's clock.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.next += 1;
        self.heap.push(Entry { at, number: self.next, event });
    }

    /// Takes out what happens next, unless that is later than `end`.
    pub(crate) fn pop_until(&mut self, end: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest: a heap gives its greatest entry first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_moment_as_they_were_put_in() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            queue.push(at, event);
        }
        let until =
            |queue: &mut Queue<char>, end| std::iter::from_fn(|| queue.pop_until(end)).collect::<Vec<_>>();
        assert_eq!(until(&mut queue, 5), [(3, 'a'), (3, 'b'), (5, 'c'), (5, 'd')]);
        assert_eq!(queue.len(), 1);
        assert_eq!(until(&mut queue, 8), []);
    }
}
