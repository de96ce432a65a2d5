//! `weave reset`.

use api::ClientError;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use crate::args::{Place, StateDir, absolute};
use crate::daemon;
use crate::failure::Failure;
use crate::stopping;

/// Stop the router and remove all it has made: bridge, ports, rules, identity, saved state
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Also when the router was killed, or never ran
    #[arg(long, env = "WEAVE_FORCE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    force: bool,
    #[command(flatten)]
    state: StateDir,
}

impl Reset {
    pub(crate) async fn run(self, place: &Place) -> Result<(), Failure> {
        daemon::needs_root("reset")?;
        let paths = node::ResetPaths {
            state_dir: absolute(&self.state.state_dir),
            run_dir: absolute(&place.run_dir),
        };
        match place.client().server_pid().await {
            Ok(_) => stopping::stop(place).await?,
            Err(ClientError::NotRunning) if self.force || node::was_stopped(&paths) => {}
            Err(ClientError::NotRunning) => {
                return Err(Failure::new("weave was not stopped on this host, and does not run")
                    .with_hint("`weave reset --force` removes what an earlier run has left"));
            }
            Err(error) => return Err(error.into()),
        }
        // It may block on the kernel, and may want a runtime of its own.
        let done = tokio::task::spawn_blocking(move || node::reset(&paths)).await;
        done.map_err(|error| Failure::new(format!("reset broke off: {error}")))??;
        Ok(())
    }
}
