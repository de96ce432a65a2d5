//! `weave attach`.

use clap::Args;

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::failure::Failure;
use crate::printer::Printer;

/// Give a running container addresses on the network, and print them
#[derive(Debug, Args)]
#[command(override_usage = "weave attach [OPTIONS] <ADDRESS>... <CONTAINER>")]
pub(crate) struct Attach {
    #[command(flatten)]
    output: Output,
    /// Addresses as in 192.168.122.1/24, then the container's name or id
    #[arg(value_names = ["ADDRESS", "CONTAINER"], num_args = 1.., required = true)]
    words: Vec<String>,
}

impl Attach {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let (addresses, container) = addresses::and_container(self.words)?;
        let answer = place.client().post("/attach", &api::Attach { container, addresses }).await?;
        addresses::print(&answer, self.output, printer)
    }
}
