//! Peers that the operator has removed (P5.8).

use std::fmt;
use std::time::Instant;

use wire::PeerName;

use super::{Action, Mesh};
use crate::notices::KEEP;

/// Most peers whose removal is stated at once; the oldest statement gives way.
const MAX_STATED: usize = 256;

/// Why a peer is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveError {
    /// It is this peer.
    Oneself,
    /// It runs: this peer or another one within reach is linked to it.
    Linked(PeerName),
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oneself => f.write_str("this is the peer itself: to take it out of the network, stop it"),
            Self::Linked(by) => write!(f, "it runs: {by} is linked to it; stop it first"),
        }
    }
}

impl std::error::Error for RemoveError {}

impl Mesh {
    /// Has everyone forget a peer that does not run any more, instead of a minute after it was last reached. It is
    /// back with its next start. Tells whether it was known here: to do it again, or elsewhere, does no harm.
    ///
    /// # Errors
    /// When it is this peer, or one that someone is linked to. Then nothing changes.
    pub fn remove_peer(&mut self, now: Instant, name: PeerName) -> Result<bool, RemoveError> {
        self.check_removal(name)?;
        if !self.facts.knows(name) {
            return Ok(false);
        }
        let removed = &mut self.statements.removed;
        removed.insert(name, (self.facts.incarnation(name).unwrap_or(0), now));
        if removed.len() > MAX_STATED
            && let Some((&oldest, _)) = removed.iter().min_by_key(|(_, (_, at))| *at)
        {
            removed.remove(&oldest);
        }
        self.forget_peer(name);
        self.state_ourselves(now);
        self.survey_soon(now, false);
        Ok(true)
    }

    /// Whether [`Mesh::remove_peer`] would do it.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check_removal(&self, name: PeerName) -> Result<(), RemoveError> {
        if name == self.config.name {
            return Err(RemoveError::Oneself);
        }
        if self.links.has_peer(name) {
            return Err(RemoveError::Linked(self.config.name));
        }
        if let Some(by) = self.facts.claimant(name) {
            return Err(RemoveError::Linked(by));
        }
        Ok(())
    }

    /// Forgets those whom someone had removed, and takes back what we stated about those who turn out to run.
    pub(super) fn bury(&mut self, now: Instant) {
        for name in self.facts.removed() {
            self.forget_peer(name);
        }
        let before = self.statements.removed.len();
        let facts = &self.facts;
        self.statements
            .removed
            .retain(|&name, &mut (_, at)| now < at + KEEP && facts.claimant(name).is_none());
        if self.statements.removed.len() != before {
            self.state_ourselves(now);
        }
    }

    /// When the next of our statements about a removed peer ends.
    pub(super) fn next_unburied(&self) -> Option<Instant> {
        self.statements.removed.values().map(|&(_, at)| at + KEEP).min()
    }

    /// Forgets a peer and everything that hangs on it.
    pub(super) fn forget_peer(&mut self, name: PeerName) {
        self.facts.remove(name);
        self.reach.forget(name);
        self.found.absences = std::sync::OnceLock::new();
        self.targets.forget_peer(name);
        self.distant.forget(name);
        self.actions.push_back(Action::PeerGone(name));
    }
}
