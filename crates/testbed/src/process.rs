//! A program that is left running in a network of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::read_lossy;
use crate::{Folder, Output, eventually};

/// A program running in a [`Space`](crate::Space); killed on drop.
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    _folder: Arc<Folder>,
}

impl Process {
    pub(crate) fn start(mut command: Command, name: &str, folder: &Arc<Folder>) -> Self {
        let (stdout, stderr) = (folder.file("stdout"), folder.file("stderr"));
        let file = |path: &PathBuf| File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let child = command.stdout(file(&stdout)).stderr(file(&stderr)).spawn();
        let child = child.unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { name: name.into(), child, stdout, stderr, _folder: folder.clone() }
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|e| panic!("{}: {signal}: {e}", self.name));
    }

    /// Waits until it has said these words.
    #[track_caller]
    pub fn await_words(&self, words: &str, within: Duration) {
        eventually(&format!("{} says \"{words}\"", self.name), within, || {
            let said = format!("{}{}", self.stdout(), self.stderr());
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> Output {
        let code = eventually(&self.name, within, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status.code().unwrap_or(128)),
            Ok(None) => Err("still runs".into()),
            Err(e) => Err(e.to_string()),
        });
        Output { command: self.name.clone(), code, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
