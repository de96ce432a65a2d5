//! What all verbs have in common on the command line.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser};

use crate::commands::Verb;

/// Joins the containers of many hosts into one Ethernet.
#[derive(Debug, Parser)]
#[command(
    name = "weave",
    version,
    max_term_width = 100,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
#[command(disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Where the daemon of this host is found.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Directory of the daemon's socket, pid file and log
    #[arg(long, global = true, env = "WEAVE_RUN_DIR", default_value = "/run/weave", value_name = "DIR")]
    pub(crate) run_dir: PathBuf,
}

impl Place {
    /// The daemon's control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir.join("weave.sock")
    }

    /// What the daemon writes to stderr when it runs in the background.
    pub(crate) fn log(&self) -> PathBuf {
        self.run_dir.join("weave.log")
    }

    pub(crate) fn client(&self) -> api::Client {
        api::Client::new(self.socket())
    }
}

/// The form of what a verb prints.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long, env = "WEAVE_JSON", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// Where the daemon keeps what must survive it.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateDir {
    /// Directory of the identity and the saved state
    #[arg(long, env = "WEAVE_STATE_DIR", default_value = "/var/lib/weave", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
}

/// The same path from the root of the file system, so that it holds in another working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
