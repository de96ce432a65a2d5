//! `weave status`.

use clap::{Args, ValueEnum};

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// Show the router's settings and its network
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    output: Output,
    /// Show these one by one
    page: Option<Page>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// Links and paths to neighbours, standing and attempted
    Connections,
    /// Every known peer, with the connections it has
    Peers,
    /// What to connect to, as it was given
    Targets,
    /// Peers that are not neighbours, and the ways to them
    Routes,
}

impl Status {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let client = place.client();
        if self.output.json {
            let report: api::Report = client.get("/report").await?;
            return match self.page {
                None => printer.json(&report),
                Some(Page::Connections) => printer.json(&report.router.connections),
                Some(Page::Peers) => printer.json(&report.router.peers),
                Some(Page::Targets) => printer.json(&report.router.targets),
                Some(Page::Routes) => printer.json(&report.router.routes),
            };
        }
        let path = match self.page {
            None => "/status",
            Some(Page::Connections) => "/status/connections",
            Some(Page::Peers) => "/status/peers",
            Some(Page::Targets) => "/status/targets",
            Some(Page::Routes) => "/status/routes",
        };
        printer.data(&client.get_text(path).await?)
    }
}
