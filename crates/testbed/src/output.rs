//! What a command said.

use std::fmt;
use std::io::{Read, Seek};
use std::process::Command;

/// The result of a command that has ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// Exit code; 128 + n if signal n ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end. Output goes by way of files: reading a pipe to its end would also wait for every
    /// daemon that inherited it.
    pub(crate) fn of(mut command: Command, name: String) -> Self {
        let [mut stdout, mut stderr] =
            [(), ()].map(|()| tempfile::tempfile().unwrap_or_else(|e| panic!("no temporary file: {e}")));
        let handle = |file: &std::fs::File| file.try_clone().unwrap_or_else(|e| panic!("{e}"));
        command.stdout(handle(&stdout)).stderr(handle(&stderr));
        let status = command.status().unwrap_or_else(|e| panic!("{name}: {e}"));
        Self {
            command: name,
            code: status.code().unwrap_or(128),
            stdout: text(&mut stdout),
            stderr: text(&mut stderr),
        }
    }

    /// Standard output without blanks around it, of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "should have succeeded: {self}");
        self.stdout.trim().into()
    }

    /// Standard error without blanks around it, of a command that must have failed with this exit code.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> String {
        assert!(self.code == code, "should have failed with {code}: {self}");
        self.stderr.trim().into()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nexit code {}\nstdout: {}\nstderr: {}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

fn text(file: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap_or_else(|e| panic!("{e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}
