//! What was done about frames that do not fit, and how often a sender hears of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::Mac;

/// How often in a second one sender is told that its frames are too big, at most. It remembers what it is told for minutes, but
/// for each destination by itself.
pub const TOLD_PER_SECOND: u32 = 16;

/// What was done so that frames fit.
#[derive(Debug, Default)]
pub struct Acted {
    /// SYNs, either way, whose maximum segment size was lowered.
    pub mss_clamped: AtomicU64,
    /// Times that a container was told, by ICMP, that its packets are too big.
    pub too_big_told: AtomicU64,
    /// Frames that were cut into IPv4 fragments.
    pub fragmented: AtomicU64,
    /// Frames of TCP connections that were cut into smaller segments than their sender meant them to be.
    pub resegmented: AtomicU64,
}

impl Acted {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}

/// Places for senders.
const PLACES: usize = 256;

/// How many answers senders have got in this second. Those whose addresses fall on one place share it, so that made-up addresses
/// need no memory; a place is the second, then the count.
pub(crate) struct Allowance([AtomicU64; PLACES]);

impl Default for Allowance {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES])
    }
}

impl Allowance {
    /// Whether `sender` may be told something more.
    pub(crate) fn is_left(&self, sender: Mac, now: u32) -> bool {
        next(self.place(sender).load(Relaxed), now).is_some()
    }

    /// Counts an answer; `false` if it is one too many.
    pub(crate) fn take(&self, sender: Mac, now: u32) -> bool {
        self.place(sender).fetch_update(Relaxed, Relaxed, |place| next(place, now)).is_ok()
    }

    fn place(&self, sender: Mac) -> &AtomicU64 {
        // Any mixing will do; the highest bits of the product depend on all bytes.
        let number = sender.bytes().iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        &self.0[(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PLACES]
    }
}

/// The place after one more answer.
fn next(place: u64, now: u32) -> Option<u64> {
    let (second, count) = (place >> 32, place & u64::from(u32::MAX));
    if second != u64::from(now) {
        return Some(u64::from(now) << 32 | 1);
    }
    (count < u64::from(TOLD_PER_SECOND)).then_some(place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_is_told_so_often_in_a_second_and_no_more() {
        let allowance = Allowance::default();
        let (one, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        for now in [0, 1, 7, u32::MAX] {
            for _ in 0..TOLD_PER_SECOND {
                assert!(allowance.is_left(one, now));
                assert!(allowance.take(one, now));
            }
            assert!(!allowance.is_left(one, now));
            assert!(!allowance.take(one, now));
            assert!(allowance.take(other, now), "that is another one's");
        }
    }

    #[test]
    fn senders_that_share_a_place_share_what_is_left() {
        let allowance = Allowance::default();
        let told = (0..u32::MAX).take(100_000).filter(|n| {
            let [a, b, c, d] = n.to_be_bytes();
            allowance.take(Mac([2, 0, a, b, c, d]), 5)
        });
        let most = PLACES * TOLD_PER_SECOND as usize;
        let told = told.count();
        assert!(told <= most && told > most / 2, "{told}");
    }
}
