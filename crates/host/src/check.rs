//! Whether this process can do its work at all, asked before anything is changed.

use std::fs::OpenOptions;
use std::path::Path;

use crate::error::{HostError, Result};

/// The clone device of the TUN driver (kernel documentation, networking/tuntap).
pub(crate) const TUN_DEVICE: &str = "/dev/net/tun";

/// Checks that the process is root and that the TUN driver is there.
///
/// # Errors
///
/// [`HostError::NotRoot`] and [`HostError::NoTunDevice`], in this order, since only root may open the device on many
/// systems.
pub fn preflight() -> Result<()> {
    root(nix::unistd::geteuid().as_raw())?;
    tun_device(Path::new(TUN_DEVICE))
}

fn root(uid: u32) -> Result<()> {
    if uid == 0 { Ok(()) } else { Err(HostError::NotRoot { uid }) }
}

/// Opens the device instead of looking for it: a file without the driver behind it exists but fails to open (ENODEV).
fn tun_device(path: &Path) -> Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| HostError::NoTunDevice { path: path.into(), source })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_is_not_root_is_told_so() {
        assert!(root(0).is_ok());
        assert_eq!(
            root(1000).unwrap_err().to_string(),
            "root is needed to set up networks, and this runs as user 1000: use `sudo`"
        );
    }

    #[test]
    fn a_missing_tun_device_names_both_ways_out() {
        let message = tun_device(Path::new("/nonexistent/tun")).unwrap_err().to_string();
        assert!(message.contains("/nonexistent/tun"), "{message}");
        assert!(message.contains("modprobe tun"), "{message}");
        assert!(message.contains("--device /dev/net/tun"), "{message}");
    }
}
