//! [`Pace`]: how fast a socket takes bytes, and how much may wait for it.

use std::time::{Duration, Instant};

/// Over how long the pace is measured: some round trips of most paths, and short beside what people notice.
const WINDOW: Duration = Duration::from_millis(50);
/// What waits is what goes out in this time. Senders inside take the delay for distance; more only makes them slower to notice
/// that they send too much.
const QUEUE: Duration = Duration::from_millis(100);
/// The queue's bounds in bytes: one super-frame has to fit; up to 330 Mb/s the upper one leaves what the time allows. Where a segment in
/// a hundred is lost at 50 ms, what the kernel takes comes in bursts, and 512 KiB overflow between two of them (docs/ways.md).
const QUEUE_LEAST: usize = 64 * 1024;
pub(crate) const QUEUE_MOST: usize = 4 * 1024 * 1024;
/// What a control message may have to wait for: one chunk of the writer, and as much unsent in the kernel. A writer that is woken
/// later than this runs the kernel dry, and would then take its own slowness for the path's.
const CHUNK: Duration = Duration::from_millis(20);
/// A chunk's bounds in bytes: below 32 KiB a path of 50 Mb/s would want a writer that is woken within 5 ms; above 128 KiB the
/// kernel's calls are no cheaper.
const CHUNK_LEAST: usize = 32 * 1024;
pub(crate) const CHUNK_MOST: usize = 128 * 1024;

/// The pace of a link's socket, measured while there is always something to send.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    bytes: usize,
    /// Bytes a second.
    rate: Option<usize>,
}

impl Pace {
    /// The socket took so many bytes, and there are more.
    pub(crate) fn took(&mut self, now: Instant, bytes: usize) {
        let Some(since) = self.since else {
            // These filled the kernel's buffer: only what leaves it counts.
            self.since = Some(now);
            self.bytes = 0;
            return;
        };
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(since);
        if elapsed < WINDOW {
            return;
        }
        let sample = self.bytes as u128 * 1_000_000 / elapsed.as_micros().max(1);
        let sample = usize::try_from(sample).unwrap_or(usize::MAX);
        self.rate = Some(self.rate.map_or(sample, |rate| rate / 2 + sample / 2));
        self.since = Some(now);
        self.bytes = 0;
    }

    /// Nothing waits: from now on the socket would take more than it is given.
    pub(crate) fn idle(&mut self) {
        self.since = None;
    }

    /// Bytes that may wait.
    pub(crate) fn queue(&self) -> usize {
        self.bytes_in(QUEUE).clamp(QUEUE_LEAST, QUEUE_MOST)
    }

    /// Bytes to seal at a time, and to leave unsent in the kernel; a power of two, so that it changes seldom.
    pub(crate) fn chunk(&self) -> usize {
        let bytes = self.bytes_in(CHUNK).clamp(CHUNK_LEAST, CHUNK_MOST);
        if bytes.is_power_of_two() { bytes } else { bytes.next_power_of_two() / 2 }
    }

    /// What is not measured yet counts as fast.
    fn bytes_in(&self, time: Duration) -> usize {
        let bytes = |rate: usize| rate as u128 * time.as_millis() / 1000;
        self.rate.map_or(usize::MAX, |rate| usize::try_from(bytes(rate)).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes a second for a while, in steps of 5 ms.
    fn run(pace: &mut Pace, start: Instant, ms: u64, rate: usize) {
        for step in 0..=ms / 5 {
            pace.took(start + Duration::from_millis(step * 5), rate / 200);
        }
    }

    #[test]
    fn the_slower_the_socket_the_less_may_wait() {
        for (rate, queue, chunk) in [
            (125_000, QUEUE_LEAST, CHUNK_LEAST),
            (1_250_000, 125_000, CHUNK_LEAST),
            (4_000_000, 400_000, 64 * 1024),
            (1_250_000_000, QUEUE_MOST, CHUNK_MOST),
        ] {
            let mut pace = Pace::default();
            assert_eq!((pace.queue(), pace.chunk()), (QUEUE_MOST, CHUNK_MOST), "not known yet");
            run(&mut pace, Instant::now(), 200, rate);
            assert!(pace.queue().abs_diff(queue) <= queue / 50, "{rate}: {}", pace.queue());
            assert_eq!(pace.chunk(), chunk, "{rate}");
        }
    }

    #[test]
    fn a_change_is_followed_and_idleness_is_no_slowness() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        run(&mut pace, start, 500, 10_000_000);
        let before = pace.rate;
        pace.idle();
        pace.took(start + Duration::from_secs(9), 1000);
        assert_eq!(pace.rate, before);
        run(&mut pace, start + Duration::from_secs(10), 500, 1_250_000);
        assert!(pace.queue().abs_diff(125_000) < 5000, "{}", pace.queue());
        pace.took(start + Duration::from_secs(100), 0);
        assert!(pace.queue() < 70_000, "a socket that takes nothing is slow");
    }
}
