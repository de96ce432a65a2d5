//! What the data path is told of sessions.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ::session::{Opener, Sealer};
use wire::PeerName;

/// What happened to a session between us and a peer that is not our neighbour (P6.3).
pub enum SessionEvent {
    /// There are keys: open with the one, and seal with the other, now or when told.
    Keys {
        /// The other end.
        peer: PeerName,
        /// Whose records to us these keys open.
        index: u32,
        /// For records to the other end.
        sealer: Arc<Sealer>,
        /// For records from it.
        opener: Opener,
        /// Whether to seal with them at once; else from [`SessionEvent::Seal`] on.
        seal_now: bool,
        /// The UDP port that the other end receives records on.
        udp_port: Option<u16>,
        /// Where it may be reached by UDP, as it and its neighbours say. Nothing of it is proved.
        addresses: Vec<SocketAddr>,
    },
    /// Seal with the keys of this index from now on.
    Seal {
        /// The other end.
        peer: PeerName,
        /// The keys.
        index: u32,
    },
    /// The other end, which may be a neighbour, tells where it may be reached now. It tries us there, and wants to be tried.
    Addresses {
        /// The other end.
        peer: PeerName,
        /// The UDP port that it receives records on.
        udp_port: Option<u16>,
        /// Where it may be reached by UDP, as it and its neighbours say. Nothing of it is proved.
        addresses: Vec<SocketAddr>,
    },
    /// Forget the keys of this index, those to seal with too.
    End {
        /// The other end.
        peer: PeerName,
        /// The keys.
        index: u32,
    },
}

impl fmt::Debug for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { peer, index, seal_now, udp_port, addresses, .. } => f
                .debug_struct("Keys")
                .field("peer", peer)
                .field("index", index)
                .field("seal_now", seal_now)
                .field("udp_port", udp_port)
                .field("addresses", addresses)
                .finish_non_exhaustive(),
            Self::Seal { peer, index } => write!(f, "Seal({peer}, {index:#010x})"),
            Self::Addresses { peer, addresses, .. } => write!(f, "Addresses({peer}, {addresses:?})"),
            Self::End { peer, index } => write!(f, "End({peer}, {index:#010x})"),
        }
    }
}
