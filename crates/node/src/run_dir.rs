//! The run directory: pid file, control socket, log.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

const PID_FILE: &str = "weave.pid";
const SOCKET: &str = "weave.sock";

/// Holds the lock on the pid file for as long as the router runs: whatever the file says, only a live router holds it.
pub(crate) struct RunDir {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl RunDir {
    /// Makes the directory, takes the lock, writes our pid.
    pub(crate) fn claim(dir: &Path) -> Result<Self> {
        let no = || format!("cannot use the run directory {}", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(no)?;
        let path = dir.join(PID_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(no)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).with_context(no)?;
                bail!("weave is running already (pid {}): stop it with `weave stop` first", pid.trim());
            }
            Err((_, e)) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
        };
        lock.set_len(0).with_context(no)?;
        writeln!(lock, "{}", std::process::id()).with_context(no)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // The lock goes with the descriptor; a file left behind does no harm.
        let _ = fs::remove_file(self.dir.join(PID_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_router_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = RunDir::claim(dir.path()).unwrap();
        let error = RunDir::claim(dir.path()).err().unwrap().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        RunDir::claim(dir.path()).unwrap();
    }

    #[test]
    fn a_pid_file_left_by_a_killed_router_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PID_FILE), "99999999\n").unwrap();
        let _claimed = RunDir::claim(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(PID_FILE)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
    }
}
