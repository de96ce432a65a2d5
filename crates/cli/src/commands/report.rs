//! `weave report`.

use clap::Args;

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// Print everything the router knows about itself, as JSON
#[derive(Debug, Args)]
pub(crate) struct Report {
    // Always JSON; the flag is taken so that it works on every verb that prints.
    #[command(flatten)]
    _output: Output,
}

impl Report {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        // Untyped, so that a newer daemon's report is printed whole.
        let report: serde_json::Value = place.client().get("/report").await?;
        printer.json(&report)
    }
}
