//! `weave why`.

use clap::Args;

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// Tell why frames to a peer take the way they take, and what else was tried
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Name or nickname, as `weave status peers` shows them
    #[arg(value_name = "PEER")]
    peer: String,
    #[command(flatten)]
    output: Output,
}

impl Why {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let report: api::WhyReport = place.client().post("/why", &api::Why { peer: self.peer }).await?;
        if self.output.json { printer.json(&report) } else { printer.data(&api::why(&report)) }
    }
}
