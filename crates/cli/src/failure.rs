//! How a verb fails: one line, perhaps a second with the way out, and an exit code.

use std::fmt::Display;

use api::ClientError;
use api::address::AddressError;

use crate::printer::Printer;

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    error: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A mistake in what was asked for, or a fault: exit code 1.
    pub(crate) fn new(error: impl Display) -> Self {
        Self { error: one_line(&error.to_string()), hint: None, code: 1 }
    }

    /// Wrong usage: exit code 2.
    pub(crate) fn usage(error: impl Display) -> Self {
        Self { code: 2, ..Self::new(error) }
    }

    /// The same failure with the way out.
    pub(crate) fn with_hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(one_line(&hint.to_string()));
        self
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn tell(&self, printer: Printer) {
        printer.talk(&format!("weave: {}", self.error));
        if let Some(hint) = &self.hint {
            printer.talk(&format!("hint: {hint}"));
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(&error);
        match error {
            ClientError::Refused(api::ControlError { hint: Some(hint), .. }) => failure.with_hint(hint),
            _ => failure,
        }
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Self::new(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        // Many messages name their cause already; it is not said twice.
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        Self::new(text)
    }
}

/// Scripts and logs take a failure for one line, whoever has worded it.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the state: {source}")]
    struct Outer {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_told_once_whether_or_not_the_message_holds_it() {
        let holds = anyhow::Error::new(Outer { source: std::io::Error::other("disk on fire") });
        assert_eq!(Failure::from(holds).error, "cannot read the state: disk on fire");
        let lacks = anyhow::Error::new(std::io::Error::other("disk on fire")).context("cannot launch");
        assert_eq!(Failure::from(lacks).error, "cannot launch: disk on fire");
    }
}
