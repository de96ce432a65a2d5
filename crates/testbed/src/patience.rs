//! Waiting for what takes a while, but not for ever.

use std::thread;
use std::time::{Duration, Instant};

/// Between two tries: short beside what is waited for, long beside what a try costs.
const PAUSE: Duration = Duration::from_millis(100);

/// Tries until `attempt` succeeds and gives its result; panics with the last reason when time is up.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) => assert!(start.elapsed() < within, "not within {within:?}: {what}: {reason}"),
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_success_ends_the_waiting() {
        let mut tries = 0;
        let found = eventually("three tries", Duration::from_secs(5), || {
            tries += 1;
            if tries == 3 { Ok(tries) } else { Err(format!("only {tries}")) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    fn when_time_is_up_the_last_reason_is_told() {
        let panic = std::panic::catch_unwind(|| {
            eventually("the moon", Duration::from_millis(10), || Err::<(), _>("still not here".to_owned()))
        });
        let message = panic.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("the moon: still not here"), "{message}");
    }
}
