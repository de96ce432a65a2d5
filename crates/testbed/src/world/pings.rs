//! Echo requests between containers, and what became of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Site;
use crate::{Process, outage};

/// Echo requests that a container sends all the time.
pub struct Echoes {
    ping: Process,
    interval: Duration,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Echo {
    /// When it came, since 1970.
    pub at: Duration,
    /// The number of its request, from 1.
    pub number: u64,
    /// How long the way there and back took.
    pub round_trip: Duration,
}

impl Site {
    /// Has the container send echo requests to an address until the result is dropped.
    pub fn echo(&self, to: &str, interval: Duration) -> Echoes {
        let seconds = interval.as_secs_f64().to_string();
        Echoes { ping: self.container.start(&["ping", "-n", "-D", "-i", &seconds, to]), interval }
    }
}

impl Echoes {
    /// Those answered so far, in the order of their answers, each once.
    pub fn answered(&self) -> Vec<Echo> {
        let mut seen = std::collections::BTreeSet::new();
        let all = outage::answers(&self.ping.stdout());
        let echo = all.into_iter().map(|one| Echo {
            at: Duration::from_secs_f64(one.at),
            number: one.number,
            round_trip: Duration::from_secs_f64(one.round_trip),
        });
        echo.filter(|one| seen.insert(one.number)).collect()
    }

    /// How many requests sent in a time were never answered, and how long the longest silence in it was. To be asked a
    /// second after `to`, as answers take their time.
    pub fn lost(&self, from: Duration, to: Duration) -> (u64, Duration) {
        judge(&self.answered(), self.interval, from, to)
    }
}

fn judge(answers: &[Echo], interval: Duration, from: Duration, to: Duration) -> (u64, Duration) {
    let inside = |at: Duration| at > from && at < to;
    let times = answers.iter().map(|one| one.at).filter(|at| inside(*at));
    let times: Vec<_> = [from].into_iter().chain(times).chain([to]).collect();
    let silence = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
    // Requests are numbered and sent at a steady pace: what lies between two that were answered and came not is lost.
    let sent = |one: &Echo| one.at.saturating_sub(one.round_trip);
    let mut by_number: Vec<_> = answers.iter().collect();
    by_number.sort_by_key(|one| one.number);
    let gaps = by_number.windows(2).filter(|pair| sent(pair[1]) > from && sent(pair[0]) < to);
    let mut lost: u64 = gaps.map(|pair| pair[1].number - pair[0].number - 1).sum();
    if let Some(last) = by_number.last().filter(|last| sent(last) < to) {
        let unanswered = to.saturating_sub(sent(last)).as_millis() / interval.as_millis().max(1);
        lost += (unanswered as u64).saturating_sub(2);
    }
    (lost, silence.saturating_sub(interval))
}

/// Now, by the clock that ping(8) prints.
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(1_000_000 + n)
    }

    /// Requests 0, 1, 2 … are sent every 50 ms and answered after a millisecond; all but some.
    fn without(missing: std::ops::Range<u64>) -> Vec<Echo> {
        let numbers = (0..100).filter(|n| !missing.contains(n));
        numbers
            .map(|number| Echo { at: ms(number * 50 + 1), number, round_trip: Duration::from_millis(1) })
            .collect()
    }

    #[test]
    fn what_lies_between_answers_is_lost() {
        let (lost, silence) = judge(&without(20..24), INTERVAL, ms(500), ms(3000));
        assert_eq!(lost, 4);
        assert_eq!(silence, Duration::from_millis(200));
        assert_eq!(judge(&without(0..0), INTERVAL, ms(500), ms(3000)).0, 0);
        assert_eq!(judge(&without(2..4), INTERVAL, ms(500), ms(3000)).0, 0, "before the time that counts");
    }

    #[test]
    fn a_silence_that_lasts_to_the_end_counts_as_lost_but_what_is_on_its_way_does_not() {
        let (lost, silence) = judge(&without(40..100), INTERVAL, ms(500), ms(3000));
        assert!((18..=20).contains(&lost), "{lost} of the 20 in the last second");
        assert!(silence > Duration::from_millis(950), "{silence:?}");
    }
}
