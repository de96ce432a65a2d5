//! Running the firewall's own programs.

use std::io;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{HostError, Result};

/// A program, and the package that holds it on most distributions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

impl Program {
    /// Runs the program and answers how it ended, also badly.
    pub(crate) async fn output(self, args: &[&str], input: &str) -> Result<Output> {
        self.talk(args, input).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => HostError::NoProgram { program: self.name, package: self.package },
            _ => HostError::Io { what: "run the firewall's program", source },
        })
    }

    /// Runs the program, which has to end well.
    pub(crate) async fn run(self, what: &'static str, args: &[&str], input: &str) -> Result<()> {
        let output = self.output(args, input).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(HostError::Firewall { program: self.name, what, reason })
    }

    async fn talk(self, args: &[&str], input: &str) -> io::Result<Output> {
        let mut child = Command::new(self.name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends early leaves a broken pipe behind; why it did is in its output.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_its_package() {
        let program = Program { name: "no-such-program", package: "some-package" };
        let error = program.run("do anything", &[], "").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`no-such-program` is not installed: install the package `some-package`"
        );
    }

    #[tokio::test]
    async fn what_a_failing_program_says_becomes_the_reason_on_one_line() {
        let program = Program { name: "sh", package: "dash" };
        let error = program.run("work", &["-c", "echo one >&2; echo two >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` could not work: one two");
    }

    #[tokio::test]
    async fn a_program_reads_its_input_to_the_end() {
        let program = Program { name: "sh", package: "dash" };
        let output = program.output(&["-c", "cat"], &"x".repeat(200)).await.unwrap();
        assert_eq!(output.stdout.len(), 200);
    }
}
