//! Kernel settings below `/proc/sys`, which shows each thread those of its own network namespace.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{HostError, Result};

const ROOT: &str = "/proc/sys";

/// Sets a value unless it is set already. Reading first spares systems on which `/proc/sys` is read-only and the value
/// is right.
pub(crate) fn set(key: &str, value: &str) -> Result<()> {
    let path = path(key);
    let now = fs::read_to_string(&path).map_err(|source| HostError::Sysctl {
        what: "read",
        path: path.clone(),
        source,
    })?;
    if now.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| HostError::Sysctl { what: "write", path, source })
}

/// As [`set`], for settings that help and are not needed: a kernel without IPv6 lacks many of them.
pub(crate) fn prefer(key: &str, value: &str) {
    if let Err(error) = set(key, value) {
        tracing::debug!(key, value, error = %error, "kernel setting left as it is");
    }
}

/// Whether the kernel has a setting.
pub(crate) fn exists(key: &str) -> bool {
    path(key).exists()
}

fn path(key: &str) -> PathBuf {
    Path::new(ROOT).join(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_does_not_exist_is_an_error_only_when_it_is_needed() {
        let error = set("net/ipv4/no_such_setting", "1").unwrap_err();
        assert_eq!(error.to_string(), "cannot read /proc/sys/net/ipv4/no_such_setting");
        prefer("net/ipv4/no_such_setting", "1");
        assert!(!exists("net/ipv4/no_such_setting"));
    }

    #[test]
    fn a_setting_that_is_right_already_is_not_written() {
        // The kernel release is read-only for everyone: writing it would fail.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        set("kernel/osrelease", release.trim()).unwrap();
    }
}
