//! A large transfer between containers, compared by checksum.

use std::time::Duration;

use crate::{Host, Running};

/// Puts a file of random bytes where the web server of a `web:lab` container serves it as `/big`; gives its SHA-256.
pub fn serve_random_file(host: &Host, container: &str, megabytes: u32) -> String {
    let make =
        format!("dd if=/dev/urandom of=/www/big bs=1M count={megabytes} 2>/dev/null && sha256sum </www/big");
    host.inside(container, &["sh", "-c", &make]).ok()
}

/// A download of `/big` in progress.
pub struct Transfer<'a> {
    download: Running<'a>,
}

impl<'a> Transfer<'a> {
    /// Starts to fetch `/big` from the web server at `from`, in a container of `host`.
    pub fn start(host: &'a Host, container: &str, from: &str) -> Self {
        let fetch = format!("wget -q -O - http://{from}/big | sha256sum");
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
