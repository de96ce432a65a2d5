//! The keys that two peers share for records: agreement, sealing, opening, and the replay window (P4).
//!
//! A [`KeyExchange`] on each end, together with what the TLS link exports, becomes a [`Sealer`] and an [`Opener`]. The sealer is
//! shared by all threads that send and counts atomically; an opener belongs to the one thread that receives.

#![forbid(unsafe_code)]

mod exchange;
mod opener;
mod sealer;

pub use exchange::{KeyExchange, Role, SessionError, preferred_cipher};
pub use opener::{OpenError, Opener};
pub use sealer::{SealError, Sealer};
pub use wire::{REPLAY_WINDOW, ReplayWindow};
