//! `weave ps`.

use clap::Args;

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// List the containers on the network: short id, MAC address, addresses
#[derive(Debug, Args)]
pub(crate) struct Ps {
    #[command(flatten)]
    output: Output,
    /// Only these; without any, the host comes first, then every container
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Ps {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let entries = place.client().ps(&self.containers).await?;
        if self.output.json { printer.json(&entries) } else { printer.data(&api::render::ps(&entries)) }
    }
}
