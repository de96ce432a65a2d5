//! `weave hide`.

use clap::Args;

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::failure::Failure;
use crate::printer::Printer;

/// Take addresses away from this host, and print them
#[derive(Debug, Args)]
pub(crate) struct Hide {
    #[command(flatten)]
    output: Output,
    /// As in 192.168.122.100/24
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
}

impl Hide {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        addresses::checked(&self.addresses)?;
        let answer = place.client().post("/hide", &api::Hide { addresses: self.addresses }).await?;
        addresses::print(&answer, self.output, printer)
    }
}
