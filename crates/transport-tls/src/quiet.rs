//! [`Quiet`]: whether a link has been so quiet that its congestion control has forgotten what the path carries.

use std::time::{Duration, Instant};

/// Of so long is told whether it was quiet. BBR takes three round trips to conclude that a path carries no more than it was given: on paths
/// longer than a third of this it does not come to that, and on shorter ones it soon knows better.
const WINDOW: Duration = Duration::from_millis(200);
/// Bytes in this time that tell nothing about a path: echoes, keystrokes, the messages of the link itself.
const LIGHT: usize = 16 * 1024;
/// So long a silence is quiet whatever was before, as it is for the kernel's own restart after idleness (RFC 5681 section 4.1).
const PAUSE: Duration = Duration::from_secs(1);
/// For so long after it was full a path counts as busy: a slow one takes this time for what waits in the kernel.
const FULL: Duration = Duration::from_secs(2);

/// What a link has sent lately.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    window: Option<Window>,
    full_at: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    /// When something was sent last.
    last: Instant,
    bytes: usize,
}

impl Quiet {
    /// Frames go out, and none waits before them: whether little was sent in the time before. Said once in that time at most, and not
    /// of the first frames: a new connection knows nothing that could be wrong.
    pub(crate) fn ends(&mut self, now: Instant, bytes: usize) -> bool {
        let Some(window) = &mut self.window else {
            self.window = Some(Window { since: now, last: now, bytes });
            return false;
        };
        let paused = now.saturating_duration_since(window.last) >= PAUSE;
        window.last = now;
        if now.saturating_duration_since(window.since) < WINDOW {
            window.bytes = window.bytes.saturating_add(bytes);
            return false;
        }
        let was_quiet = paused || window.bytes <= LIGHT;
        (window.since, window.bytes) = (now, bytes);
        was_quiet && self.full_at.is_none_or(|at| now.saturating_duration_since(at) >= FULL)
    }

    /// There was more to send than the kernel took: what congestion control knows now, it knows of this path.
    pub(crate) fn is_full(&mut self, now: Instant) {
        self.full_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    /// Sends so many bytes each tick for a number of seconds; how often that ended a quiet time.
    fn run(quiet: &mut Quiet, now: &mut Instant, seconds: u32, bytes: usize) -> usize {
        (0..seconds * 20)
            .filter(|_| {
                *now += TICK;
                quiet.ends(*now, bytes)
            })
            .count()
    }

    #[test]
    fn echoes_end_it_again_and_again_and_a_transfer_never() {
        let (mut quiet, mut now) = (Quiet::default(), Instant::now());
        assert!(!quiet.ends(now, 100), "a new link");
        assert_eq!(run(&mut quiet, &mut now, 10, 100), 50, "once in a window");
        // The beginning of a transfer follows echoes; from then on it is one.
        assert!(run(&mut quiet, &mut now, 1, 10_000) <= 1);
        assert_eq!(run(&mut quiet, &mut now, 10, 10_000), 0);
        // Likewise the other way round.
        assert!(run(&mut quiet, &mut now, 10, 100) >= 48);
    }

    #[test]
    fn a_pause_is_quiet_however_much_was_sent_before() {
        let (mut quiet, mut now) = (Quiet::default(), Instant::now());
        run(&mut quiet, &mut now, 2, 1_000_000);
        assert!(!quiet.ends(now + WINDOW, 1_000_000));
        assert!(quiet.ends(now + WINDOW + PAUSE, 1));
    }

    #[test]
    fn a_slow_path_that_is_full_is_not_quiet() {
        let (mut quiet, mut now) = (Quiet::default(), Instant::now());
        run(&mut quiet, &mut now, 2, 100);
        for _ in 0..10 {
            quiet.is_full(now);
            assert_eq!(run(&mut quiet, &mut now, 1, 100), 0);
        }
        assert!(run(&mut quiet, &mut now, 3, 100) > 5, "and then it is");
    }
}
