//! `weave forget`.

use clap::Args;

use crate::args::Place;
use crate::failure::Failure;

/// Remove peers from the targets; standing connections stay
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Spelled as it was given to launch or connect
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<String>,
}

impl Forget {
    pub(crate) async fn run(self, place: &Place) -> Result<(), Failure> {
        let () = place.client().post("/forget", &api::Forget { peers: self.peers }).await?;
        Ok(())
    }
}
