//! One direction of the way: which frames pass, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::conditions::{Conditions, QUEUE};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on at once.
    Pass,
    /// It was taken, and goes on later.
    Held,
    Lost,
    /// It is longer than what passes.
    TooBig,
}

/// Frames under way in one direction.
pub(super) struct Lane {
    held: BinaryHeap<Reverse<Held>>,
    count: u64,
    /// When a hop of limited rate is done with what it has.
    free_at: Option<Instant>,
    random: u64,
}

struct Held {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

impl Lane {
    /// Equal seeds lose equal frames.
    pub(super) fn new(seed: u64) -> Self {
        Self { held: BinaryHeap::new(), count: 0, free_at: None, random: seed | 1 }
    }

    pub(super) fn take(&mut self, now: Instant, frame: &[u8], conditions: &Conditions) -> Verdict {
        if conditions.mtu.is_some_and(|mtu| frame.len() > mtu + ETHERNET) {
            return Verdict::TooBig;
        }
        if conditions.no_udp && is_udp(frame) || self.draw(conditions.lost) {
            return Verdict::Lost;
        }
        let mut due = now + conditions.delay;
        if let Some(rate) = conditions.rate {
            let start = self.free_at.unwrap_or(now).max(now);
            if start > now + QUEUE {
                return Verdict::Lost;
            }
            let end = start + Duration::from_nanos(frame.len() as u64 * 8 * 1_000_000_000 / rate.max(1));
            self.free_at = Some(end);
            due = end + conditions.delay;
        }
        if self.draw(conditions.late) {
            due += conditions.late_by;
        }
        if due <= now && self.held.is_empty() {
            return Verdict::Pass;
        }
        self.count += 1;
        self.held.push(Reverse(Held { due, number: self.count, frame: frame.to_vec() }));
        Verdict::Held
    }

    /// The next frame whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        self.held.pop().map(|Reverse(held)| held.frame)
    }

    /// When there will be one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// True `of` times in 10 000 (xorshift64*: Vigna, 2014).
    fn draw(&mut self, of: u32) -> bool {
        if of == 0 {
            return false;
        }
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let number = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        number % 10_000 < u64::from(of)
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

fn is_udp(frame: &[u8]) -> bool {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    match (byte(12), byte(13)) {
        (0x08, 0x00) => byte(ETHERNET + 9) == UDP,
        (0x86, 0xdd) => match byte(ETHERNET + 6) {
            FRAGMENT => byte(ETHERNET + 40) == UDP,
            next => next == UDP,
        },
        _ => false,
    }
}

pub(super) const ETHERNET: usize = 14;
const UDP: u8 = 17;
/// RFC 8200 section 4.5.
const FRAGMENT: u8 = 44;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0; length];
        frame[12] = 8;
        frame[ETHERNET + 9] = protocol;
        frame
    }

    #[test]
    fn a_frame_passes_at_once_or_after_the_delay_and_in_order() {
        let (now, mut lane) = (Instant::now(), Lane::new(1));
        assert_eq!(lane.take(now, &frame(6, 100), &Conditions::default()), Verdict::Pass);
        let slow = Conditions { delay: Duration::from_millis(25), ..Conditions::default() };
        assert_eq!(lane.take(now, &frame(6, 100), &slow), Verdict::Held);
        assert_eq!(lane.take(now, &frame(6, 101), &slow), Verdict::Held);
        // One that need not wait must not overtake those that do.
        assert_eq!(lane.take(now, &frame(6, 102), &Conditions::default()), Verdict::Held);
        assert_eq!(lane.due(now).map(|frame| frame.len()), Some(102));
        assert_eq!(lane.due(now), None);
        assert_eq!(lane.next(), Some(now + slow.delay));
        let later = now + slow.delay;
        let lengths = [lane.due(later), lane.due(later), lane.due(later)];
        assert_eq!(lengths.map(|frame| frame.map(|frame| frame.len())), [Some(100), Some(101), None]);
    }

    #[test]
    fn udp_is_lost_where_it_is_blocked_and_nothing_else() {
        let (now, mut lane) = (Instant::now(), Lane::new(1));
        let blocked = Conditions { no_udp: true, ..Conditions::default() };
        assert_eq!(lane.take(now, &frame(17, 60), &blocked), Verdict::Lost);
        assert_eq!(lane.take(now, &frame(6, 60), &blocked), Verdict::Pass);
        let mut sixth = vec![0; 80];
        (sixth[12], sixth[13], sixth[ETHERNET + 6]) = (0x86, 0xdd, 17);
        assert_eq!(lane.take(now, &sixth, &blocked), Verdict::Lost);
        (sixth[ETHERNET + 6], sixth[ETHERNET + 40]) = (44, 17);
        assert_eq!(lane.take(now, &sixth, &blocked), Verdict::Lost);
        assert_eq!(lane.take(now, &[0; 3], &blocked), Verdict::Pass, "a torn one is nobody's UDP");
    }

    #[test]
    fn what_is_longer_than_the_way_carries_does_not_pass() {
        let (now, mut lane) = (Instant::now(), Lane::new(1));
        let cut = Conditions { mtu: Some(1280), ..Conditions::default() };
        assert_eq!(lane.take(now, &frame(6, 1294), &cut), Verdict::Pass);
        assert_eq!(lane.take(now, &frame(6, 1295), &cut), Verdict::TooBig);
    }

    #[test]
    fn a_slow_hop_spreads_frames_and_loses_what_would_wait_too_long() {
        let (now, mut lane) = (Instant::now(), Lane::new(1));
        // 1000 bytes take one millisecond.
        let slow = Conditions { rate: Some(8_000_000), ..Conditions::default() };
        let taken: Vec<_> = (0..200).map(|_| lane.take(now, &frame(6, 1000), &slow)).collect();
        assert_eq!(taken.iter().filter(|verdict| **verdict == Verdict::Held).count(), 101);
        assert_eq!(lane.next(), Some(now + Duration::from_millis(1)));
        assert!(lane.due(now + Duration::from_micros(999)).is_none());
        let mut passed = 0;
        while lane.due(now + Duration::from_millis(50)).is_some() {
            passed += 1;
        }
        assert_eq!(passed, 50);
    }

    #[test]
    fn as_many_are_lost_and_late_as_was_asked_for() {
        let (now, mut lane) = (Instant::now(), Lane::new(7));
        let lossy = Conditions { lost: 500, ..Conditions::default() };
        let lost = (0..20_000).filter(|_| lane.take(now, &frame(6, 60), &lossy) == Verdict::Lost).count();
        assert!((900..1100).contains(&lost), "{lost} of 20 000 at 5 %");
        let late = Conditions { late: 1000, late_by: Duration::from_millis(3), ..Conditions::default() };
        let mut lane = Lane::new(7);
        let mut held = 0;
        for _ in 0..10_000 {
            // The lane is emptied each time: only what is late itself waits.
            if lane.take(now, &frame(6, 60), &late) == Verdict::Held {
                held += 1;
                assert_eq!(lane.next(), Some(now + Duration::from_millis(3)));
                lane.due(now + Duration::from_millis(3)).unwrap();
            }
        }
        assert!((900..1100).contains(&held), "{held} of 10 000 at 10 %");
    }
}
