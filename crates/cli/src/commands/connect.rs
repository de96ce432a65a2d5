//! `weave connect`.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use crate::args::Place;
use crate::failure::Failure;

/// Add peers to connect to, now and whenever the connection is lost
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Forget all earlier targets first; standing connections stay
    #[arg(long, env = "WEAVE_REPLACE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    replace: bool,
    /// Host name, IPv4 address or [IPv6 address], with an optional :PORT
    #[arg(value_name = "PEER", required_unless_present = "replace")]
    peers: Vec<String>,
}

impl Connect {
    pub(crate) async fn run(self, place: &Place) -> Result<(), Failure> {
        let request = api::Connect { peers: self.peers, replace: self.replace };
        let () = place.client().post("/connect", &request).await?;
        Ok(())
    }
}
