//! [`Ahead`]: small frames go before what others have put in front of them.
//!
//! The TAP's queue is one for all flows, and a bulk flow keeps it filled: of what a super-frame takes of this thread, reading it is
//! about an eighth, sealing and sending it the rest (docs/performance.md, "Where the time goes"). So a batch is read first, and of it
//! the small frames go first whose flow has nothing else in it, as the queues of new flows do in RFC 8290 section 4.1. A flow
//! keeps its order.

use packet::Flow;

/// Frames of so many bytes at most go ahead: requests for names and their answers, what somebody types, echoes, acknowledgements.
const SMALL: usize = 512;
/// So many are looked at in a batch, which bounds the comparisons.
const LOOKS: usize = 8;

/// Says in which order the frames of a batch go. Kept from batch to batch for its memory.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Places of those that go before the others, in their order.
    found: Vec<usize>,
}

impl Ahead {
    /// The places of all `frames`, in the order in which they go.
    pub fn order<'f, F>(&mut self, frames: F) -> impl Iterator<Item = usize>
    where
        F: ExactSizeIterator<Item = &'f [u8]> + Clone,
    {
        let all = 0..frames.len();
        self.find(frames);
        let mut gone = self.found.iter().peekable();
        let rest = all.filter(move |place| gone.next_if_eq(&place).is_none());
        self.found.iter().copied().chain(rest)
    }

    fn find<'f, F>(&mut self, frames: F)
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        self.found.clear();
        let large = |frame: &[u8]| frame.len() > SMALL;
        let first = frames.clone().position(large).unwrap_or(usize::MAX);
        let small = frames.clone().enumerate().skip(first).filter(|(_, frame)| !large(frame));
        for (place, frame) in small.take(LOOKS) {
            let flow = Flow::of(frame);
            let stays = |(before, _): &(usize, &[u8])| !self.found.contains(before);
            let mut staying = frames.clone().enumerate().take(place).filter(stays);
            if !staying.any(|(_, before)| Flow::of(before).may_be(&flow)) {
                self.found.push(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of so many bytes from this port.
    fn frame((port, length): (u8, usize)) -> Vec<u8> {
        let mut frame = vec![0; length.max(42)];
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[23], frame[35]) = (0x45, 17, port);
        frame
    }

    fn order(frames: &[(u8, usize)]) -> Vec<usize> {
        let frames: Vec<_> = frames.iter().copied().map(frame).collect();
        Ahead::default().order(frames.iter().map(Vec::as_slice)).collect()
    }

    #[test]
    fn what_is_small_goes_before_another_flows_bulk() {
        assert_eq!(order(&[(1, 60_000), (1, 60_000), (2, 98), (1, 60_000), (3, 66)]), [2, 4, 0, 1, 3]);
        assert_eq!(order(&[(1, 1400), (2, 98), (2, 98)]), [1, 2, 0], "both of one flow, in their order");
    }

    #[test]
    fn the_tail_of_a_flow_stays_behind_it() {
        assert_eq!(order(&[(1, 60_000), (1, 60), (2, 513), (2, 60)]), [0, 1, 2, 3]);
        assert_eq!(order(&[(2, 60), (1, 60_000), (2, 60)]), [0, 1, 2], "so does what follows a small one");
    }

    #[test]
    fn where_all_are_small_or_none_is_nothing_changes() {
        assert_eq!(order(&[(1, 60), (2, 60), (3, 512)]), [0, 1, 2]);
        assert_eq!(order(&[(1, 600), (2, 1400), (3, 60_000)]), [0, 1, 2]);
        assert_eq!(order(&[]), [0_usize; 0]);
    }

    #[test]
    fn only_so_many_are_looked_at() {
        let many: Vec<_> = std::iter::once((0, 60_000)).chain((1..40).map(|port| (port, 60))).collect();
        let expected: Vec<_> = (1..=LOOKS).chain([0]).chain(LOOKS + 1..40).collect();
        assert_eq!(order(&many), expected);
    }

    proptest! {
        #[test]
        fn every_frame_goes_once_and_a_flow_keeps_its_order(frames in prop::collection::vec((0..4_u8, prop::sample::select(vec![60, 500, 1400, 9000])), 0..64)) {
            let order = order(&frames);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..frames.len()).collect::<Vec<_>>());
            for port in 0..4 {
                let of_it: Vec<_> = order.iter().copied().filter(|place| frames[*place].0 == port).collect();
                prop_assert!(of_it.is_sorted(), "{:?} of {:?}", of_it, frames);
            }
        }
    }
}
