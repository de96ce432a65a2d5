//! [`Ahead`]: small frames go before what others have put in front of them.
//!
//! The TAP's queue is one for all flows, and a bulk flow keeps it filled: each of its super-frames takes as long to seal and to send
//! as it takes to read five. So a batch is read first, and of it the small frames go first whose flow has nothing else in it, as
//! the queues of new flows do in RFC 8290 section 4.1. A flow keeps its order.

use packet::Flow;

/// Frames of so many bytes at most go ahead: requests for names and their answers, what somebody types, echoes, acknowledgements.
const SMALL: usize = 512;
/// So many are looked at in a batch, which bounds the comparisons.
const LOOKS: usize = 8;

/// Finds the frames of a batch that go before the others. Kept from batch to batch for its memory.
#[derive(Debug, Default)]
pub struct Ahead {
    found: Vec<usize>,
}

impl Ahead {
    /// The places of those in `frames`, in their order.
    pub fn of<'f, F>(&mut self, frames: F) -> &[usize]
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
        &self.found
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

    fn ahead(frames: &[(u8, usize)]) -> Vec<usize> {
        let frames: Vec<_> = frames.iter().copied().map(frame).collect();
        Ahead::default().of(frames.iter().map(Vec::as_slice)).to_vec()
    }

    #[test]
    fn what_is_small_goes_before_another_flows_bulk() {
        assert_eq!(ahead(&[(1, 60_000), (1, 60_000), (2, 98), (1, 60_000), (3, 66)]), [2, 4]);
        assert_eq!(ahead(&[(1, 1400), (2, 98), (2, 98)]), [1, 2], "both of one flow, in their order");
    }

    #[test]
    fn the_tail_of_a_flow_stays_behind_it() {
        assert_eq!(ahead(&[(1, 60_000), (1, 60), (2, 513), (2, 60)]), [0_usize; 0]);
        assert_eq!(ahead(&[(2, 60), (1, 60_000), (2, 60)]), [0_usize; 0], "so does what follows a small one");
    }

    #[test]
    fn where_all_are_small_or_none_is_nothing_changes() {
        assert_eq!(ahead(&[(1, 60), (2, 60), (3, 512)]), [0_usize; 0]);
        assert_eq!(ahead(&[(1, 600), (2, 1400), (3, 60_000)]), [0_usize; 0]);
        assert_eq!(ahead(&[]), [0_usize; 0]);
    }

    #[test]
    fn only_so_many_are_looked_at() {
        let many: Vec<_> = std::iter::once((0, 60_000)).chain((1..40).map(|port| (port, 60))).collect();
        assert_eq!(ahead(&many), (1..=LOOKS).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn a_flow_keeps_its_order(frames in prop::collection::vec((0..4_u8, prop::sample::select(vec![60, 500, 1400, 9000])), 0..64)) {
            let ahead = ahead(&frames);
            let rest = (0..frames.len()).filter(|place| !ahead.contains(place));
            let order: Vec<_> = ahead.iter().copied().chain(rest).collect();
            prop_assert_eq!(order.len(), frames.len());
            for port in 0..4 {
                let of_it: Vec<_> = order.iter().copied().filter(|place| frames[*place].0 == port).collect();
                prop_assert!(of_it.is_sorted(), "{:?} of {:?}", of_it, frames);
            }
        }
    }
}
