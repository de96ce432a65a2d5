//! `weave start`.

use std::time::{Duration, Instant};

use api::{Client, address};
use clap::Args;

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::commands::run::Started;
use crate::docker_cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// How long to wait for a started container's remembered addresses. There may be none, and who then uses this verb has
/// no use for haste.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to look.
const INTERVAL: Duration = Duration::from_millis(20);

/// Start a stopped container, give it addresses on the network, and print its name as given
#[derive(Debug, Args)]
#[command(override_usage = "weave start [OPTIONS] [ADDRESS]... <CONTAINER>")]
pub(crate) struct Start {
    #[command(flatten)]
    output: Output,
    /// Addresses beside those it is remembered with, then the container's name or id
    #[arg(value_names = ["ADDRESS", "CONTAINER"], num_args = 1.., required = true)]
    words: Vec<String>,
}

impl Start {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let (addresses, container) = divided(self.words)?;
        let client = place.client();
        if addresses.is_empty() {
            start_as_remembered(&client, &container).await?;
        } else {
            start_and_attach(&client, &container, addresses, printer).await?;
        }
        if self.output.json {
            printer.json(&Started { container: &container })
        } else {
            printer.line(&container)
        }
    }
}

/// The router gives the container back what it is remembered with as soon as Docker tells it of the start.
async fn start_as_remembered(client: &Client, container: &str) -> Result<(), Failure> {
    let _: api::VersionAnswer = client.get("/version").await?;
    docker_cli::check()?;
    docker_cli::quietly(["start", container])?;
    let deadline = Instant::now() + PATIENCE;
    let name = [container.to_string()];
    while client.ps(&name).await?.iter().all(|entry| entry.addresses.is_empty()) && Instant::now() < deadline
    {
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

async fn start_and_attach(
    client: &Client,
    container: &str,
    addresses: Vec<String>,
    printer: Printer,
) -> Result<(), Failure> {
    let check = api::Check { addresses: addresses.clone(), container: Some(container.into()) };
    let () = client.post("/check", &check).await?;
    docker_cli::check()?;
    let running =
        docker_cli::quietly(["inspect", "--type", "container", "-f", "{{.State.Running}}", container])?;
    docker_cli::quietly(["start", container])?;
    let request = api::Attach { container: container.into(), addresses };
    match client.post("/attach", &request).await {
        Ok(answer) => addresses::warn(&answer, printer),
        Err(error) => {
            if running == "false" {
                // It goes back to how it was found; that it stays is the lesser evil to hiding the first error.
                let _ = docker_cli::quietly(["stop", container]);
            }
            return Err(error.into());
        }
    }
    Ok(())
}

fn divided(mut words: Vec<String>) -> Result<(Vec<String>, String), Failure> {
    let container = words.pop().unwrap_or_default();
    if address::is_meant(&container) {
        return Err(Failure::usage(format!(
            "no container given: the last argument, {container}, is an address"
        )));
    }
    addresses::checked(&words)?;
    Ok((words, container))
}
