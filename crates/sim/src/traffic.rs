//! What a peer sent on its links, by kind of message.

use std::ops::{AddAssign, Sub};

/// How many, and how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Bytes of them: length, type and body (P2.5), before TLS.
    pub bytes: u64,
}

/// Messages sent, by type (P2.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    by_type: [Tally; Self::TYPES],
}

impl Traffic {
    /// Types that are told apart; whatever has a greater number counts as the last.
    const TYPES: usize = 16;
    /// Facts, digests, announcements, wants, prunes: what gossip consists of (P5).
    const GOSSIP: [u8; 5] = [0x07, 0x08, 0x0b, 0x0c, 0x0d];

    /// Counts a message in its encoding.
    pub(crate) fn count(&mut self, message: &[u8]) {
        let kind = message.get(4).map_or(0, |&kind| usize::from(kind));
        let tally = &mut self.by_type[kind.min(Self::TYPES - 1)];
        tally.messages += 1;
        tally.bytes += message.len() as u64;
    }

    /// Messages of one type.
    pub fn of(&self, kind: u8) -> Tally {
        self.by_type[usize::from(kind).min(Self::TYPES - 1)]
    }

    /// Messages of gossip.
    pub fn gossip(&self) -> Tally {
        let mut sum = Tally::default();
        Self::GOSSIP.iter().for_each(|&kind| sum += self.of(kind));
        sum
    }

    /// All messages, pings included.
    pub fn all(&self) -> Tally {
        let mut sum = Tally::default();
        self.by_type.iter().for_each(|&tally| sum += tally);
        sum
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        for (mine, other) in self.by_type.iter_mut().zip(other.by_type) {
            *mine += other;
        }
    }
}

impl Sub for Traffic {
    type Output = Self;

    /// What was sent since `earlier`.
    fn sub(mut self, earlier: Self) -> Self {
        for (mine, earlier) in self.by_type.iter_mut().zip(earlier.by_type) {
            mine.messages = mine.messages.saturating_sub(earlier.messages);
            mine.bytes = mine.bytes.saturating_sub(earlier.bytes);
        }
        self
    }
}
