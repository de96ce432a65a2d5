//! `weave rmpeer`.

use clap::Args;

use crate::args::{Output, Place};
use crate::failure::Failure;
use crate::printer::Printer;

/// Have the whole network forget peers that are gone for good, without waiting
///
/// On any host, and as often as you like. A peer that still runs is not removed; one that comes back is let in.
#[derive(Debug, Args)]
pub(crate) struct Rmpeer {
    /// Names or nicknames, as `weave status peers` shows them
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<String>,
    #[command(flatten)]
    output: Output,
}

impl Rmpeer {
    pub(crate) async fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        let answer: api::RemovedPeers =
            place.client().post("/rmpeer", &api::RemovePeers { peers: self.peers }).await?;
        if self.output.json {
            return printer.json(&answer);
        }
        answer.peers.iter().try_for_each(|peer| {
            printer.line(&match &peer.name {
                Some(name) => format!("{}: {name} is removed", peer.given),
                None => format!("{}: no such peer is known, so there is nothing to remove", peer.given),
            })
        })
    }
}
