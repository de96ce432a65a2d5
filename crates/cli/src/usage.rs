//! Wrong usage in our words: one line that names the mistake and the nearest right one.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints help where help was asked for; else turns clap's error into a failure.
pub(crate) fn told(error: &Error, printer: Printer) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => printer.data(&error.render().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            printer.talk(error.render().to_string().trim_end());
            Err(Failure::usage("no verb was given"))
        }
        ErrorKind::InvalidSubcommand => {
            Err(unknown("verb", error, ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => {
            Err(unknown("argument", error, ContextKind::InvalidArg, ContextKind::SuggestedArg))
        }
        ErrorKind::InvalidValue if words(error, ContextKind::SuggestedValue).is_some() => {
            Err(unknown("value", error, ContextKind::InvalidValue, ContextKind::SuggestedValue))
        }
        _ => Err(Failure::usage(first_paragraph(error)).with_hint(HELP)),
    }
}

const HELP: &str = "`weave help` lists the verbs, `weave help VERB` what one takes";

fn unknown(what: &str, error: &Error, given: ContextKind, nearest: ContextKind) -> Failure {
    let given = words(error, given).unwrap_or_default();
    match words(error, nearest) {
        Some(nearest) => Failure::usage(format!("unknown {what} '{given}': did you mean '{nearest}'?")),
        None => Failure::usage(format!("unknown {what} '{given}'")).with_hint(HELP),
    }
}

fn words(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) if !words.is_empty() => Some(words.join("' or '")),
        _ => None,
    }
}

/// Clap's own sentence, without its prefix and without the usage text below.
fn first_paragraph(error: &Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.strip_prefix("error: ").unwrap_or(paragraph).to_string()
}
