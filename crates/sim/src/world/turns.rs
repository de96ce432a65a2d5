//! Peers that get a processor only now and then.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Event, Input, World};
use crate::peer::Starved;

impl World {
    /// From now on a peer handles at most `budget` inputs every `every`, and nothing in between.
    pub fn starve(&mut self, peer: usize, every: Duration, budget: usize) {
        self.note(|| format!("{peer} gets {budget} inputs every {every:?}"));
        let inbox = self.peers[peer].starved.take().map_or_else(VecDeque::new, |s| s.inbox);
        self.peers[peer].starved = Some(Starved { every, budget, inbox, turn_is_set: false });
        self.set_turn(peer);
    }

    /// It has a processor again.
    pub fn feed(&mut self, peer: usize) {
        if let Some(starved) = self.peers[peer].starved.take() {
            starved.inbox.into_iter().for_each(|input| self.take(peer, input));
            self.look_soon(peer);
        }
    }

    /// Gives an input to a router, now or when it gets its turn.
    pub(super) fn hand(&mut self, peer: usize, input: Input) {
        match &mut self.peers[peer].starved {
            None => self.take(peer, input),
            Some(starved) => {
                starved.inbox.push_back(input);
                self.set_turn(peer);
            }
        }
    }

    pub(super) fn set_turn(&mut self, peer: usize) {
        if let Some(starved) = &mut self.peers[peer].starved
            && !std::mem::replace(&mut starved.turn_is_set, true)
        {
            let at = self.now + starved.every.as_nanos() as u64;
            self.queue.push(at, Event::Turn(peer as u32));
        }
    }

    pub(super) fn turn(&mut self, peer: usize) {
        let Some(starved) = &mut self.peers[peer].starved else { return };
        starved.turn_is_set = false;
        let budget = starved.budget.min(starved.inbox.len());
        let inputs: Vec<_> = starved.inbox.drain(..budget).collect();
        let more = !starved.inbox.is_empty();
        inputs.into_iter().for_each(|input| self.take(peer, input));
        self.look(peer);
        if more {
            self.set_turn(peer);
        }
    }
}
