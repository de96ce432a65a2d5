//! The only place that writes to stdout and stderr.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Data goes to stdout, words to stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer;

impl Printer {
    /// Prints text that ends its own lines. A reader that has gone (`weave ps | head`) is no failure.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::new(format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Prints one line.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        self.data(&format!("{line}\n"))
    }

    /// Prints a value as JSON for people and programs.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
        self.line(&text)
    }

    /// Says one line to people. There is nobody to tell when that fails.
    pub(crate) fn talk(self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}
