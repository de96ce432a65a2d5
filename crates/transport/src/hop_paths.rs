//! [`HopPaths`]: the ways to one neighbour.

use std::sync::Arc;

use packet::SuperFrame;
use wire::{Hops, UNICAST_OVERHEAD};

use crate::HopPath;

/// The ways to one neighbour for what is not for it alone, best first.
#[derive(Clone)]
pub struct HopPaths {
    /// What is taken.
    pub primary: Arc<dyn HopPath>,
    /// What is taken for what does not fit the first.
    pub fallback: Option<Arc<dyn HopPath>>,
}

impl HopPaths {
    /// The one that carries this frame for everyone. If it fits none, the first, which counts what it refuses.
    ///
    /// As with records, the first is taken only if it carries the largest too: frames keep their order.
    pub fn for_frame(&self, frame: &SuperFrame<'_>) -> &Arc<dyn HopPath> {
        let len = frame.longest_segment();
        let largest = len.max(self.primary.max_frame());
        match &self.fallback {
            Some(fallback)
                if largest > self.primary.max_group_frame() && len <= fallback.max_group_frame() =>
            {
                fallback
            }
            _ => &self.primary,
        }
    }

    /// The one that carries a record of `len` bytes behind these names; as [`for_frame`](Self::for_frame) if there is none.
    ///
    /// The first is taken only if it carries the longest records too, so that short ones of a flow do not overtake them (P6.4).
    pub fn for_record(&self, hops: Hops<'_>, len: usize) -> &Arc<dyn HopPath> {
        let names = hops.bytes().len();
        let longest = len.max(self.primary.max_frame() + UNICAST_OVERHEAD);
        match &self.fallback {
            Some(fallback)
                if names + longest > self.primary.max_relayed() && names + len <= fallback.max_relayed() =>
            {
                fallback
            }
            _ => &self.primary,
        }
    }
}

#[cfg(test)]
mod tests {
    use packet::VnetHdr;
    use wire::{GroupHeader, PeerName};

    use super::*;
    use crate::memory::MemoryPath;
    use crate::{FrameSink, Outbox, TapFrame};

    struct Nowhere;

    impl FrameSink for Nowhere {
        fn deliver(&self, _: PeerName, _: TapFrame<'_>) {}

        fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
            false
        }

        fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
    }

    fn end() -> (PeerName, Arc<dyn FrameSink>) {
        (PeerName::new([2; 6]), Arc::new(Nowhere))
    }

    fn path(max: usize) -> Arc<dyn HopPath> {
        let path = MemoryPath::pair(end(), end(), max, 1 << 20).0;
        path.set_max_relayed(max);
        path
    }

    #[test]
    fn the_first_that_fits_is_taken_and_the_first_of_all_if_none_does() {
        let (small, big) = (path(100), path(1000));
        let both = HopPaths { primary: Arc::clone(&small), fallback: Some(Arc::clone(&big)) };
        let alone = HopPaths { primary: Arc::clone(&small), fallback: None };
        for (len, expected) in [(60, &small), (100, &small), (101, &big), (1000, &big), (1001, &small)] {
            let bytes = vec![0; len];
            let frame = SuperFrame::checked(VnetHdr::default(), &bytes).unwrap();
            assert!(Arc::ptr_eq(both.for_frame(&frame), expected), "{len}");
            assert!(Arc::ptr_eq(alone.for_frame(&frame), &small));
        }
    }

    #[test]
    fn records_take_the_first_path_only_where_it_passes_the_longest_behind_as_many_names() {
        let paths = |max_relayed: usize| {
            let (small, big) = (MemoryPath::pair(end(), end(), 100, 1 << 20).0, path(1000));
            small.set_max_relayed(max_relayed);
            let small = small as Arc<dyn HopPath>;
            (HopPaths { primary: Arc::clone(&small), fallback: Some(Arc::clone(&big)) }, small, big)
        };
        let names = [[2; 6]; 8];
        let [none, two] = [0, 2].map(|n| Hops::new(&names[..n]).unwrap());
        let full = 100 + UNICAST_OVERHEAD;
        let (both, small, big) = paths(full + 12);
        for len in [40, full] {
            assert!(Arc::ptr_eq(both.for_record(two, len), &small), "{len}");
            assert!(Arc::ptr_eq(both.for_record(none, len), &small), "{len}");
        }
        assert!(Arc::ptr_eq(both.for_record(two, full + 1), &big));
        assert!(Arc::ptr_eq(both.for_record(two, 1001), &small), "it fits none; the first counts it");
        let (both, small, big) = paths(full + 11);
        assert!(Arc::ptr_eq(both.for_record(two, 40), &big), "or else it would overtake longer ones");
        assert!(Arc::ptr_eq(both.for_record(none, 40), &small));
    }
}
