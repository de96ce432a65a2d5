//! The verbs.

mod attach;
mod connect;
mod detach;
mod expose;
mod forget;
mod hide;
mod launch;
mod ps;
mod report;
mod reset;
mod rmpeer;
mod run;
mod start;
mod status;
mod stop;
mod version;
mod why;

use clap::Subcommand;

use crate::args::Cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// One for each file in `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Launch(Box<launch::Launch>),
    Connect(connect::Connect),
    Forget(forget::Forget),
    Rmpeer(rmpeer::Rmpeer),
    Why(why::Why),
    Run(run::Run),
    Start(start::Start),
    Attach(attach::Attach),
    Detach(detach::Detach),
    Expose(expose::Expose),
    Hide(hide::Hide),
    Status(status::Status),
    Ps(ps::Ps),
    Report(report::Report),
    Version(version::Version),
    Stop(stop::Stop),
    Reset(reset::Reset),
}

/// Does what was asked.
pub(crate) fn run(cli: Cli, printer: Printer) -> Result<(), Failure> {
    let Cli { place, verb } = cli;
    // The daemon makes its own runtime, and must not be started inside another.
    if let Verb::Launch(launch) = verb {
        return launch.run(&place, printer);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match verb {
            Verb::Launch(_) => Ok(()),
            Verb::Connect(verb) => verb.run(&place).await,
            Verb::Forget(verb) => verb.run(&place).await,
            Verb::Rmpeer(verb) => verb.run(&place, printer).await,
            Verb::Why(verb) => verb.run(&place, printer).await,
            Verb::Run(verb) => verb.run(&place, printer).await,
            Verb::Start(verb) => verb.run(&place, printer).await,
            Verb::Attach(verb) => verb.run(&place, printer).await,
            Verb::Detach(verb) => verb.run(&place, printer).await,
            Verb::Expose(verb) => verb.run(&place, printer).await,
            Verb::Hide(verb) => verb.run(&place, printer).await,
            Verb::Status(verb) => verb.run(&place, printer).await,
            Verb::Ps(verb) => verb.run(&place, printer).await,
            Verb::Report(verb) => verb.run(&place, printer).await,
            Verb::Version(verb) => verb.run(&place, printer).await,
            Verb::Stop(verb) => verb.run(&place).await,
            Verb::Reset(verb) => verb.run(&place).await,
        }
    })
}

/// What the verbs about addresses share.
mod addresses {
    use api::address::{self, AddressError};

    use crate::args::Output;
    use crate::failure::Failure;
    use crate::printer::Printer;

    /// Refuses what is no usable address before anyone is asked for anything.
    pub(super) fn checked(addresses: &[String]) -> Result<(), AddressError> {
        addresses.iter().try_for_each(|text| address::parse(text).map(drop))
    }

    /// `ADDR... CONTAINER`, as `attach` and `detach` take it.
    pub(super) fn and_container(mut words: Vec<String>) -> Result<(Vec<String>, String), Failure> {
        let container = words.pop().unwrap_or_default();
        if address::is_meant(&container) {
            let failure =
                Failure::usage(format!("no container given: the last argument, {container}, is an address"));
            return Err(failure.with_hint("the container's name or id comes after the addresses"));
        }
        if words.is_empty() {
            return Err(none_given());
        }
        checked(&words)?;
        Ok((words, container))
    }

    pub(super) fn none_given() -> Failure {
        Failure::usage("no address given: name one, as in 192.168.122.1/24")
    }

    /// Tells what was done all the same.
    pub(super) fn warn(answer: &api::Addresses, printer: Printer) {
        answer.warnings.iter().for_each(|warning| printer.talk(&format!("weave: warning: {warning}")));
    }

    /// Prints bare addresses, separated by blanks on one line, and what there is to warn of.
    pub(super) fn print(answer: &api::Addresses, output: Output, printer: Printer) -> Result<(), Failure> {
        warn(answer, printer);
        if output.json { printer.json(answer) } else { printer.line(&answer.addresses.join(" ")) }
    }
}
