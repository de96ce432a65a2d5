//! `weave stop`.

use clap::Args;

use crate::args::Place;
use crate::failure::Failure;
use crate::stopping;

/// Stop the router; containers on this host keep talking to each other
#[derive(Debug, Args)]
pub(crate) struct Stop {}

impl Stop {
    pub(crate) async fn run(self, place: &Place) -> Result<(), Failure> {
        stopping::stop(place).await
    }
}
