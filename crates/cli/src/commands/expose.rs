//! `weave expose`.

use clap::{ArgAction, Args};

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::failure::Failure;
use crate::printer::Printer;

/// Give this host addresses on the network, and print them
// `-h NAME` registered a name in Weave Net. Were `-h` help here, a script would take the help for success.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Expose {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    output: Output,
    /// As in 192.168.122.100/24
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
}

impl Expose {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        addresses::checked(&self.addresses)?;
        let answer = place.client().post("/expose", &api::Expose { addresses: self.addresses }).await?;
        addresses::print(&answer, self.output, printer)
    }
}
