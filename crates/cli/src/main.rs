//! The command line: `weave VERB`. Each verb is one file in `commands`.
//!
//! Data goes to stdout and nothing else does; words for people go to stderr. The exit code is 0 for success, 1 for a
//! mistake or a fault, told in one line, and 2 for wrong usage.

mod args;
mod commands;
mod daemon;
mod descriptors;
mod docker_cli;
mod failure;
mod printer;
mod stopping;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::printer::Printer;

fn main() -> ExitCode {
    let printer = Printer;
    let result = match Cli::try_parse() {
        Ok(cli) => commands::run(cli, printer),
        Err(error) => usage::told(&error, printer),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(printer);
            ExitCode::from(failure.code())
        }
    }
}
