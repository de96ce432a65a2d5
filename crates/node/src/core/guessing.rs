//! Carries out what guessing ports takes (P6.7).

use std::sync::Arc;
use std::time::Instant;

use mesh::Guess;
use nix::sys::resource::{Resource, getrlimit};
use transport_udp::Extra;
use wire::{ANSWER_RECORD, PeerName};

use super::{Core, Distant};

/// One in so many of the descriptors that the system allows this process may be used for it: the others are for everything else.
const SHARE: u64 = 4;
/// Tokens of these probes. That one is answered is seen by the record that comes; which one does not matter.
const FIRST_TOKEN: u64 = 1 << 62;

/// Sockets that are open for the one peer with whom ports are guessed.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    open: Vec<Arc<Extra>>,
    token: u64,
}

impl Guesses {
    fn token(&mut self) -> u64 {
        self.token += 1;
        FIRST_TOKEN | self.token
    }

    fn has_room(&self) -> bool {
        getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(now, _)| (self.open.len() as u64) < now / SHARE)
    }
}

impl Core {
    /// Sends what is due, and looks whether a way was found.
    pub(super) fn follow_guessing(&mut self, now: Instant) {
        if let Some(peer) = self.parts.mesh.guessing_with()
            && let Some(side) = self.distants.get_mut(&peer).and_then(Distant::udp_side)
        {
            if let Some(from) = side.path.take_found() {
                side.told(now, &[from]);
            }
            if side.is_up() {
                self.parts.mesh.handle_guessed(now, peer);
            }
        }
        while let Some(guess) = self.parts.mesh.poll_guess() {
            match guess {
                Guess::Begin(peer) => {
                    tracing::info!(%peer, "ports are guessed, as there is no direct path otherwise");
                }
                Guess::Open(peer, to) => {
                    if let Err(e) = self.open_socket(peer, to) {
                        tracing::debug!(%peer, error = %e, "no more sockets to guess ports with");
                        self.parts.mesh.handle_no_socket(now);
                    }
                }
                Guess::Try(peer, to) => {
                    let token = self.guesses.token();
                    if let Some(side) = self.distants.get_mut(&peer).and_then(Distant::udp_side) {
                        // One that cannot be sent is one that is not answered.
                        let _ = side.path.probe(to, token, ANSWER_RECORD as u16);
                    }
                }
                Guess::Over(peer) => {
                    let result = self.parts.mesh.guessing(now, peer).unwrap_or_default();
                    tracing::info!(%peer, result, "ports are not guessed any more");
                    // The path itself keeps the one that it sends by.
                    self.guesses.open.clear();
                    if let Some(side) = self.distants.get_mut(&peer).and_then(Distant::udp_side)
                        && !side.is_up()
                    {
                        side.path.use_main();
                    }
                }
            }
        }
    }

    fn open_socket(&mut self, peer: PeerName, to: std::net::SocketAddr) -> std::io::Result<()> {
        let token = self.guesses.token();
        let side = self.distants.get_mut(&peer).and_then(Distant::udp_side);
        let (Some(side), Some(udp)) = (side, self.parts.udp.as_mut()) else { return Ok(()) };
        if !self.guesses.has_room() {
            return Err(nix::errno::Errno::EMFILE.into());
        }
        let extra = udp.open_extra(&side.path)?;
        // What a NAT or the network does to it shows in that nothing comes back.
        let _ = extra.probe(to, token);
        self.guesses.open.push(extra);
        Ok(())
    }
}
