//! A command that is left running.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use crate::host::read_lossy;
use crate::{Host, Output, eventually};

/// A command running on a host; killed on drop.
pub struct Running<'a> {
    host: &'a Host,
    name: String,
    child: Child,
    folder: tempfile::TempDir,
    /// By the numbers of the host.
    pid: String,
}

impl<'a> Running<'a> {
    pub(crate) fn start(host: &'a Host, command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let file = |name: &str| {
            std::fs::File::create(folder.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        // The command's own process id: the child here is only the one that leads onto the host.
        let pid_file = folder.path().join("pid");
        let tell = format!("echo $$ >{0}.new; mv {0}.new {0}; exec \"$@\"", pid_file.display());
        let mut words = vec!["sh", "-c", &tell, "sh"];
        words.extend(command);
        let name = format!("{host}# {}", command.join(" "));
        let child = host
            .command(&words)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let pid = eventually(&name, Duration::from_secs(10), || {
            std::fs::read_to_string(&pid_file).map_err(|e| format!("not started: {e}"))
        });
        Self { host, name, child, pid: pid.trim().into(), folder }
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.path("stdout"))
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.path("stderr"))
    }

    /// Sends a signal: `INT`, `KILL` and so on.
    pub fn signal(&self, signal: &str) {
        self.host.exec(&["kill", &format!("-{signal}"), &self.pid]).ok();
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

    /// Where it runs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.host.exec(&["kill", "-KILL", &self.pid]);
        }
        // What leads onto the host ends with what it led there.
        let _ = self.child.wait();
    }
}
