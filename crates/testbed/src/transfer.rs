//! A large transfer between containers, compared by checksum.

use std::time::Duration;

use crate::{Host, Running};

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

/// A download of `/big` in progress.
pub struct Transfer<'a> {
    download: Running<'a>,
}

impl<'a> Transfer<'a> {
    /// Starts to fetch `/big` from the web server at `from`, in a container of `host`. An IPv6 address is written in
    /// brackets, as in any URL.
    pub fn start(host: &'a Host, container: &str, from: &str) -> Self {
        let fetch = format!("set -o pipefail; wget -q -O - http://{from}/big | sha256sum");
        Self { download: host.spawn(&["docker", "exec", container, "sh", "-c", &fetch]) }
    }

    /// Waits for the end and gives the SHA-256 of what came.
    #[track_caller]
    pub fn sum(mut self, within: Duration) -> String {
        self.download.wait(within).ok()
    }

    /// Whether it is still going on.
    pub fn is_running(&self) -> bool {
        self.download.stdout().is_empty()
    }
}
