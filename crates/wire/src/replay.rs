//! The window of counters that were seen (P4.4, P7.2), as RFC 6479 lays it out: a ring of words, cleared word by word as
//! it moves.

/// How far a record may lag behind the newest, in records (P4.4), or a frame for everyone, in frames (P7.2). Batches of two
/// paths overtake each other by this much at most.
pub const REPLAY_WINDOW: u64 = 8192;

const WORD: u64 = 64;
/// One word more than the window, so that the word being filled never takes one still in use (RFC 6479 section 2).
const WORDS: usize = (REPLAY_WINDOW / WORD) as usize + 1;

/// Which counters were seen.
pub struct ReplayWindow {
    /// One past the greatest counter seen.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { next: 0, words: Box::new([0; WORDS]) }
    }

    /// Notes that `counter` was seen.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let newest_word = self.next.saturating_sub(1) / WORD;
            let steps = (counter / WORD - newest_word).min(WORDS as u64);
            for step in 1..=steps {
                self.words[slot(newest_word + step)] = 0;
            }
            self.next = counter.saturating_add(1);
        } else if self.next - counter > REPLAY_WINDOW {
            return;
        }
        self.words[slot(counter / WORD)] |= 1 << (counter % WORD);
    }

    /// Whether `counter` lies in or beyond the window and was not seen.
    pub fn is_new(&self, counter: u64) -> bool {
        counter >= self.next
            || (self.next - counter <= REPLAY_WINDOW
                && self.words[slot(counter / WORD)] & (1 << (counter % WORD)) == 0)
    }
}

const fn slot(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_edge_of_the_window_is_where_p4_4_puts_it() {
        let mut w = ReplayWindow::new();
        w.mark(REPLAY_WINDOW);
        assert!(w.is_new(1), "8191 behind the newest");
        assert!(!w.is_new(0), "8192 behind the newest");
    }

    #[test]
    fn the_greatest_counter_does_not_overflow() {
        let mut w = ReplayWindow::new();
        w.mark(u64::MAX - 1);
        assert!(!w.is_new(u64::MAX - 1));
        w.mark(u64::MAX);
        assert!(!w.is_new(0));
    }

    proptest! {
        /// Against a set that remembers everything: the same answers inside the window.
        #[test]
        fn it_answers_as_a_set_would(steps in proptest::collection::vec((any::<bool>(), 0u64..20_000), 1..300)) {
            let (mut window, mut seen, mut newest) = (ReplayWindow::new(), BTreeSet::new(), 0u64);
            for (jump, distance) in steps {
                let counter = if jump { newest + distance } else { newest.saturating_sub(distance % 9000) };
                let expected = !seen.contains(&counter) && (seen.is_empty() || newest < counter || newest - counter < REPLAY_WINDOW);
                prop_assert_eq!(window.is_new(counter), expected, "counter {} newest {}", counter, newest);
                if expected {
                    window.mark(counter);
                    seen.insert(counter);
                    newest = newest.max(counter);
                }
            }
        }
    }
}
