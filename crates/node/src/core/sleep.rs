//! Whether this host slept: then everything that was known of links and paths is old, although no clock says so.

use std::time::{Duration, Instant};

/// A look that comes so much too late found a process that did not run: a virtual machine that was paused, say.
const LATE: Duration = Duration::from_secs(10);
/// The clock that goes on in sleep may gain so much on the one that does not before it was sleep.
const GAIN: Duration = Duration::from_secs(3);

/// The two clocks at the last look.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    before: Option<(Instant, Option<Duration>)>,
}

impl Sleep {
    /// Looks once a second, with the time since boot, sleep included. Gives how long the sleep was, if there was one.
    pub(super) fn look(&mut self, now: Instant, uptime: Option<Duration>) -> Option<Duration> {
        let (then, uptime_then) = self.before.replace((now, uptime))?;
        let ran = now.saturating_duration_since(then);
        let gain = uptime.zip(uptime_then).map(|(now, then)| now.saturating_sub(then).saturating_sub(ran));
        match gain {
            Some(gain) if gain > GAIN => Some(gain),
            _ => Some(ran).filter(|ran| *ran > LATE),
        }
    }
}

/// The time since boot, sleep included (proc_uptime(5)).
pub(super) fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_one_clock_gains_or_what_both_pass_over() {
        let (mut sleep, start) = (Sleep::default(), Instant::now());
        let secs = Duration::from_secs;
        let mut look = |ran, up: Option<u64>| sleep.look(start + secs(ran), up.map(secs));
        assert_eq!(look(0, Some(1000)), None, "the first look has nothing to compare with");
        assert_eq!(look(1, Some(1001)), None);
        assert_eq!(look(2, Some(1005)), None, "clocks are read one after the other");
        assert_eq!(look(3, Some(4600)), Some(secs(3594)));
        assert_eq!(look(4, Some(4601)), None, "told once");
        assert_eq!(look(14, Some(4611)), None);
        assert_eq!(look(25, Some(4622)), Some(secs(11)));
        assert_eq!(look(26, None), None);
        assert_eq!(look(27, Some(9999)), None, "nothing to compare with");
        assert_eq!(look(60, None), Some(secs(33)));
    }

    #[test]
    fn the_time_since_boot_is_known() {
        let first = uptime().unwrap();
        assert!(first > Duration::ZERO && uptime().unwrap() >= first);
    }
}
