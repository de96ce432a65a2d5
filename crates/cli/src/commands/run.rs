//! `weave run`.

use std::ffi::OsString;

use api::address;
use clap::Args;
use serde::Serialize;

use crate::args::{Output, Place};
use crate::commands::addresses;
use crate::docker_cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// Start a new container with addresses on the network, and print its id
///
/// It runs detached, also with -ti. Everything after the addresses is given to `docker run` untouched.
#[derive(Debug, Args)]
#[command(override_usage = "weave run [OPTIONS] <ADDRESS>... <ARGUMENTS OF docker run>...")]
pub(crate) struct Run {
    #[command(flatten)]
    output: Output,
    /// Addresses as in 192.168.122.1/24, then the arguments of `docker run`
    #[arg(value_names = ["ADDRESS", "ARGUMENT"], num_args = 1.., required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// What `run` and `start` print as JSON.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Started<'a> {
    pub(super) container: &'a str,
}

impl Run {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let (addresses, docker_arguments) = divided(self.words);
        if addresses.is_empty() {
            return Err(addresses::none_given());
        }
        if docker_arguments.is_empty() {
            return Err(Failure::usage(
                "no image given: the arguments of `docker run` come after the addresses",
            ));
        }
        addresses::checked(&addresses)?;
        let client = place.client();
        let () = client.post("/check", &api::Check { addresses: addresses.clone(), container: None }).await?;
        docker_cli::check()?;
        // Docker takes -d twice, so it need not be looked for among arguments that may belong to the container.
        let id = docker_cli::run(["run".into(), "-d".into()].into_iter().chain(docker_arguments))?;
        // With a pull under way, or options that print, the id is the last line.
        let id = id.lines().next_back().unwrap_or_default();
        let request = api::Attach { container: id.into(), addresses };
        match client.post("/attach", &request).await {
            Ok(answer) => addresses::warn(&answer, printer),
            Err(error) => {
                let failure = Failure::from(error);
                return Err(match docker_cli::quietly(["rm", "-f", id]) {
                    Ok(_) => failure,
                    Err(_) => failure
                        .with_hint(format!("container {id} is left behind: remove it with `docker rm -f`")),
                });
            }
        }
        if self.output.json { printer.json(&Started { container: id }) } else { printer.line(id) }
    }
}

/// The leading addresses, and what is Docker's.
fn divided(words: Vec<OsString>) -> (Vec<String>, Vec<OsString>) {
    let is_address = |word: &OsString| word.to_str().is_some_and(address::is_meant);
    let count = words.iter().take_while(|word| is_address(word)).count();
    let mut words = words.into_iter();
    let addresses = words.by_ref().take(count).filter_map(|word| word.into_string().ok()).collect();
    (addresses, words.collect())
}
