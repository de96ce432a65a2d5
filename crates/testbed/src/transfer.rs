//! A large transfer between containers, compared by checksum.

use std::time::Duration;

use crate::{Host, Running, eventually};

/// Puts a file of random bytes where the web server of a `web:lab` container serves it as `/big`; gives its SHA-256.
pub fn serve_random_file(host: &Host, container: &str, megabytes: u32) -> String {
    let make = format!(
        "dd if=/dev/urandom bs=1M count={megabytes} 2>/dev/null | tee /www/big | sha256sum; stat -c %s /www/big"
    );
    let made = host.inside(container, &["sh", "-c", &make]).ok();
    let (sum, size) = made.split_once('\n').unwrap_or_else(|| panic!("sum and size expected, not: {made}"));
    assert_eq!(size, (u64::from(megabytes) << 20).to_string(), "all of the file is there");
    sum.into()
}

/// Has a container send no more than so much a second: else a transfer would be over before anything could happen to it.
pub fn slow_down(host: &Host, container: &str, megabits: u32) {
    let rate = format!("{megabits}mbit");
    let shape = ["tc", "qdisc", "replace", "dev", "ethwe", "root", "tbf", "rate", &rate, "burst", "256kb"];
    let words = host.within_network_of(container, &[&shape[..], &["latency", "50ms"]].concat());
    host.exec(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
}

/// A download of `/big` in progress.
pub struct Transfer<'a> {
    host: &'a Host,
    container: String,
    download: Running<'a>,
}

impl<'a> Transfer<'a> {
    /// Starts to fetch `/big` from the web server at `from`, in a container of `host`. An IPv6 address is written in
    /// brackets, as in any URL.
    pub fn start(host: &'a Host, container: &str, from: &str) -> Self {
        let fetch = format!("set -o pipefail; wget -q -O - http://{from}/big | sha256sum");
        Self {
            host,
            container: container.into(),
            download: host.spawn_inside(container, &["sh", "-c", &fetch]),
        }
    }

    /// Waits for the end and gives the SHA-256 of what came.
    #[track_caller]
    pub fn sum(mut self, within: Duration) -> String {
        self.download.wait(within).ok()
    }

    /// Waits until some megabytes more have arrived.
    #[track_caller]
    pub fn await_progress(&self) {
        let received = || {
            let count =
                self.host.inside(&self.container, &["cat", "/sys/class/net/ethwe/statistics/rx_bytes"]);
            count.ok().parse::<u64>().unwrap_or(0)
        };
        let before = received();
        eventually("the transfer goes on", Duration::from_secs(30), || {
            let more = received() - before;
            if more > 3_000_000 { Ok(()) } else { Err(format!("only {more} bytes since")) }
        });
    }

    /// Whether it is still going on.
    pub fn is_running(&self) -> bool {
        self.download.stdout().is_empty()
    }
}
