//! `weave detach`.

use clap::Args;

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::failure::Failure;
use crate::printer::Printer;

/// Take addresses away from a container, and print them
#[derive(Debug, Args)]
#[command(override_usage = "weave detach [OPTIONS] <ADDRESS>... <CONTAINER>")]
pub(crate) struct Detach {
    #[command(flatten)]
    output: Output,
    /// Addresses as in 192.168.122.1/24, then the container's name or id
    #[arg(value_names = ["ADDRESS", "CONTAINER"], num_args = 1.., required = true)]
    words: Vec<String>,
}

impl Detach {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let (addresses, container) = addresses::and_container(self.words)?;
        let answer = place.client().post("/detach", &api::Detach { container, addresses }).await?;
        addresses::print(&answer, self.output, printer)
    }
}
