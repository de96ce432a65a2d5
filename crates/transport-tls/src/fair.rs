//! [`Fair`]: the frames that wait for a link, each flow in a queue of its own.
//!
//! Flows take turns (deficit round robin), and one that has just begun goes first, as in RFC 8290 section 4.1: a ping, a
//! query or a keystroke waits for no download. When there is too much, the flow that has most waiting loses its oldest frame:
//! its sender hears of it one queue earlier than if the newest were dropped, and nobody else pays.

use std::collections::VecDeque;

/// Queues. Flows that share one by chance share its fate.
pub(crate) const FLOWS: usize = 64;
/// Bytes of one turn: a quarter of the longest super-frame, which so waits for four turns.
const QUANTUM: isize = 16 * 1024;
/// What a message costs besides its bytes.
const OVERHEAD: usize = 64;

/// A message with a frame, or a relayed record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) bytes: Vec<u8>,
    /// Segments it stands for.
    pub(crate) frames: u64,
    /// Bytes of those, without what precedes a frame on the wire.
    pub(crate) frame_bytes: u64,
}

impl Waiting {
    const fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Fair {
    /// None until something waits: a thousand quiet links must cost little.
    flows: Vec<Flow>,
    /// Flows that have just begun, and those that go on.
    fresh: VecDeque<usize>,
    turns: VecDeque<usize>,
    cost: usize,
    messages: usize,
}

#[derive(Default)]
struct Flow {
    waiting: VecDeque<Waiting>,
    cost: usize,
    credit: isize,
    /// Whether it is in one of the two lists.
    is_listed: bool,
}

impl Fair {
    /// Puts a message behind those of its flow. Gives those that have to go for it, so that what waits stays within `limit`;
    /// but a single one may be longer.
    pub(crate) fn push(&mut self, flow: usize, message: Waiting, limit: usize) -> Vec<Waiting> {
        if self.flows.is_empty() {
            self.flows.resize_with(FLOWS, Flow::default);
        }
        let index = flow % FLOWS;
        let Some(flow) = self.flows.get_mut(index) else { return vec![message] };
        self.cost += message.cost();
        self.messages += 1;
        flow.cost += message.cost();
        flow.waiting.push_back(message);
        if !flow.is_listed {
            flow.is_listed = true;
            flow.credit = QUANTUM;
            self.fresh.push_back(index);
        }
        let mut dropped = Vec::new();
        while self.cost > limit && self.messages > 1 {
            dropped.extend(self.drop_one());
        }
        dropped
    }

    /// The message whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        loop {
            let is_fresh = !self.fresh.is_empty();
            let list = if is_fresh { &mut self.fresh } else { &mut self.turns };
            let index = list.pop_front()?;
            let flow = self.flows.get_mut(index)?;
            if flow.credit <= 0 {
                flow.credit += QUANTUM;
                self.turns.push_back(index);
            } else if let Some(message) = flow.waiting.pop_front() {
                flow.credit -= message.cost() as isize;
                flow.cost -= message.cost();
                self.cost -= message.cost();
                self.messages -= 1;
                let list = if is_fresh { &mut self.fresh } else { &mut self.turns };
                list.push_front(index);
                return Some(message);
            } else if is_fresh && !self.turns.is_empty() {
                // Else a flow that always has exactly one message would always be new, and go before all others.
                self.turns.push_back(index);
            } else {
                flow.is_listed = false;
            }
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Everything that waits, which so waits no longer. The memory goes too.
    pub(crate) fn clear(&mut self) -> u64 {
        let frames = self.flows.iter().flat_map(|flow| &flow.waiting).map(|message| message.frames).sum();
        *self = Self::default();
        frames
    }

    /// Takes the oldest message of the flow that has most waiting.
    fn drop_one(&mut self) -> Option<Waiting> {
        let flow = self.flows.iter_mut().max_by_key(|flow| flow.cost)?;
        let message = flow.waiting.pop_front()?;
        flow.cost -= message.cost();
        self.cost -= message.cost();
        self.messages -= 1;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(flow: usize, number: usize, len: usize) -> Waiting {
        let bytes = [&[flow as u8, number as u8][..], &vec![0; len.saturating_sub(2)]].concat();
        Waiting { bytes, frames: 1, frame_bytes: len as u64 }
    }

    fn label(message: &Waiting) -> (usize, usize) {
        (message.bytes[0].into(), message.bytes[1].into())
    }

    #[test]
    fn a_small_flow_goes_before_what_a_large_one_has_waiting() {
        let mut fair = Fair::default();
        (0..100).for_each(|n| assert!(fair.push(1, message(1, n, 4000), usize::MAX).is_empty()));
        (0..10).for_each(|_| drop(fair.pop()));
        fair.push(2, message(2, 0, 100), usize::MAX);
        let before = std::iter::from_fn(|| fair.pop()).take_while(|m| label(m).0 == 1).count();
        assert!(before <= 1, "{before}");
        assert_eq!(std::iter::from_fn(|| fair.pop()).count(), 90 - before);
    }

    #[test]
    fn flows_that_always_have_something_share_by_bytes() {
        let mut fair = Fair::default();
        let mut taken = [0; 3];
        for n in 0..300 {
            for (flow, len) in [(0, 60_000), (1, 1500), (2, 200)] {
                while fair.flows.get(flow).is_none_or(|f| f.cost < 70_000) {
                    fair.push(flow, message(flow, n, len), usize::MAX);
                }
            }
            let message = fair.pop().unwrap();
            taken[label(&message).0] += message.bytes.len();
        }
        // Another loop, long enough for the large messages to come into their own.
        for n in 0..20_000 {
            for (flow, len) in [(0, 60_000), (1, 1500), (2, 200)] {
                while fair.flows[flow].cost < 70_000 {
                    fair.push(flow, message(flow, n, len), usize::MAX);
                }
            }
            let message = fair.pop().unwrap();
            taken[label(&message).0] += message.cost();
        }
        let (most, least) = (taken.iter().max().unwrap(), taken.iter().min().unwrap());
        assert!(most - least < most / 10, "{taken:?}");
    }

    #[test]
    fn the_flow_with_most_waiting_loses_its_oldest() {
        let mut fair = Fair::default();
        assert!(fair.push(2, message(2, 0, 1000), 20_000).is_empty());
        let mut lost = Vec::new();
        for n in 0..50 {
            lost.extend(fair.push(1, message(1, n, 1000), 20_000).iter().map(label));
        }
        assert!(lost.iter().all(|(flow, _)| *flow == 1) && lost.is_sorted());
        assert_eq!(lost[0], (1, 0));
        let left: Vec<_> = std::iter::from_fn(|| fair.pop()).map(|m| label(&m)).collect();
        assert!(left.contains(&(2, 0)) && left.contains(&(1, 49)));
        assert_eq!(lost.len() + left.len(), 51);
    }

    #[test]
    fn a_message_longer_than_the_limit_travels_alone() {
        let mut fair = Fair::default();
        assert!(fair.push(1, message(1, 0, 65_000), 1000).is_empty());
        assert_eq!(fair.push(2, message(2, 0, 65_000), 1000).len(), 1);
        assert!(fair.pop().is_some() && fair.pop().is_none());
    }

    proptest! {
        #[test]
        fn each_flow_stays_in_order_and_within_the_limit(
            steps in prop::collection::vec((0..5_usize, 0..70_000_usize, 0..3_usize), 1..200),
            limit in 1000..300_000_usize,
        ) {
            let mut fair = Fair::default();
            let (mut sent, mut out, mut lost) = ([0; 5], Vec::new(), 0);
            for (flow, len, pops) in steps {
                let mut bytes = u64::to_be_bytes(sent[flow]).to_vec();
                bytes.push(flow as u8);
                bytes.resize(len.max(9), 0);
                sent[flow] += 1;
                lost += fair.push(flow, Waiting { bytes, frames: 1, frame_bytes: 1 }, limit).len();
                prop_assert!(fair.cost <= limit || fair.messages == 1);
                out.extend((0..pops).filter_map(|_| fair.pop()));
            }
            out.extend(std::iter::from_fn(|| fair.pop()));
            prop_assert!(fair.is_empty() && fair.cost == 0 && fair.flows.iter().all(|flow| flow.cost == 0));
            prop_assert_eq!(out.len() + lost, sent.iter().sum::<u64>() as usize);
            let mut next = [0; 5];
            for message in &out {
                let number = u64::from_be_bytes(message.bytes[..8].try_into().unwrap());
                let next = &mut next[usize::from(message.bytes[8])];
                prop_assert!(number >= *next);
                *next = number + 1;
            }
        }
    }
}
