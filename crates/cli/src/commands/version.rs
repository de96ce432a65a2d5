//! `weave version`.

use api::{ClientError, VersionAnswer};
use clap::Args;
use serde::Serialize;

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// Print this program's version, then the running router's
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    client: &'static str,
    /// Absent when it does not run or may not be asked.
    router: Option<String>,
}

impl Version {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let client = env!("CARGO_PKG_VERSION");
        let answer: Result<VersionAnswer, _> = place.client().get("/version").await;
        let router = match answer {
            Ok(answer) => Ok(answer.version),
            Err(ClientError::NotRunning) => Err("not running"),
            Err(ClientError::PermissionDenied { .. }) => Err("only root may ask it"),
            Err(other) => return Err(other.into()),
        };
        if self.output.json {
            return printer.json(&Versions { client, router: router.ok() });
        }
        match router {
            Ok(version) => printer.data(&format!("weave {client}\nrouter {version}\n")),
            Err(reason) => printer.data(&format!("weave {client}\nrouter: {reason}\n")),
        }
    }
}
