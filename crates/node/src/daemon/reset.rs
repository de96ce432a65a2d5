//! Back to a host that never knew the router.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, bail};

use crate::ResetPaths;
use crate::interfaces::{BRIDGE, TAP};
use crate::run_dir::RunDir;

/// Removes the bridge, the rules and the state.
pub(crate) async fn reset(paths: &ResetPaths) -> Result<()> {
    let run_dir = RunDir::claim(&paths.run_dir)?;
    let mut errors: Vec<String> = match host::wipe::reset(BRIDGE, TAP).await {
        Ok(()) => Vec::new(),
        Err(list) => list.iter().map(ToString::to_string).collect(),
    };
    for dir in [&paths.state_dir, &paths.run_dir] {
        errors.extend(empty(dir).err().map(|e| format!("cannot remove what is in {}: {e}", dir.display())));
    }
    drop(run_dir);
    if errors.is_empty() { Ok(()) } else { bail!("not everything could be removed: {}", errors.join("; ")) }
}

/// Removes our own files, and the directory if it is empty then.
fn empty(dir: &Path) -> std::io::Result<()> {
    const OURS: [&str; 8] = [
        "identity",
        "identity.new",
        "state.redb",
        "weave.sock",
        "weave.pid",
        "weave.log",
        "weave.log.old",
        "weave.sock.new",
    ];
    for file in OURS {
        match std::fs::remove_file(dir.join(file)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    // A directory that is a mount point, or holds what is not ours, stays.
    let _ = std::fs::remove_dir(dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_leaves_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["identity", "state.redb", "mine.txt"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        empty(dir.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.txt"]);
    }
}
