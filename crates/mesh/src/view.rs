//! What `status` and `report` are told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::{LinkEntry, PeerName, Uid};

use crate::mesh::LinkId;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// A link is up.
    Established,
    /// A dial is under way.
    Connecting,
    /// The last try failed; another one follows.
    Retrying,
    /// Refused for a reason that only a change on one of the hosts can turn.
    Failed,
    /// Nothing was tried yet, or (of a target) its peer is linked by another way.
    Waiting,
}

/// One line of `status connections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// The link, if one is up.
    pub link: Option<LinkId>,
    /// Whether this host dialled, or dials.
    pub outbound: bool,
    /// The other end's address, or the target as given while it is not resolved.
    pub address: String,
    /// How far it is.
    pub state: ConnectionState,
    /// Name and nickname of the other end, when they are known.
    pub peer: Option<(PeerName, String)>,
    /// Smoothed round-trip time of the link.
    pub rtt: Option<Duration>,
    /// What the last try met.
    pub error: Option<String>,
    /// How long until the next try.
    pub retry_in: Option<Duration>,
    /// The target it stands for, exactly as given.
    pub target: Option<String>,
}

/// A peer that we want to be linked to, and cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlinked {
    /// Which.
    pub peer: PeerName,
    /// The neighbour through whom it is reached.
    pub via: PeerName,
    /// What the last try to be linked to it met.
    pub trouble: String,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// Exactly as given.
    pub target: String,
    /// How far it is; [`ConnectionState::Waiting`] also while its peer is linked by another way.
    pub state: ConnectionState,
    /// Who answered there last.
    pub peer: Option<PeerName>,
    /// What the last try met.
    pub error: Option<String>,
    /// When the next try is due.
    pub retry_at: Option<Instant>,
}

/// One peer of the network as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its name.
    pub name: PeerName,
    /// Its nickname, or nothing while only its name is known.
    pub nickname: String,
    /// Its run.
    pub uid: Option<Uid>,
    /// The version of its program.
    pub program: Option<String>,
    /// Whom it is linked to.
    pub links: Vec<PeerLink>,
}

/// One link that a peer states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLink {
    /// To whom and by which address.
    pub entry: LinkEntry,
    /// The other end's nickname, as far as known.
    pub nickname: String,
    /// Whether the other end states it too (P5.7).
    pub established_both_ways: bool,
}

/// One link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Which.
    pub link: LinkId,
    /// The neighbour.
    pub peer: PeerName,
    /// Its nickname.
    pub nickname: String,
    /// Its run.
    pub uid: Uid,
    /// Its address.
    pub address: SocketAddr,
    /// Whether this host dialled.
    pub outbound: bool,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Since when.
    pub up_since: Instant,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Facts that were new.
    pub facts_new: u64,
    /// Facts heard again, or older than what was held.
    pub facts_stale: u64,
    /// Facts dropped: no fact at all.
    pub facts_malformed: u64,
    /// Facts dropped: over 64 KiB.
    pub facts_oversized: u64,
    /// Facts dropped: the signature does not verify.
    pub facts_forged: u64,
    /// Facts dropped: the name belongs to another key.
    pub facts_collision: u64,
    /// Facts dropped: signed with our own key, not by us.
    pub facts_copied: u64,
    /// Facts dropped: no room.
    pub facts_full: u64,
    /// Facts dropped: their origin was removed (P5.8).
    pub facts_removed: u64,
    /// Facts announced, each once for each neighbour that was told.
    pub announced: u64,
    /// Facts that a neighbour was asked for.
    pub wanted: u64,
    /// Times a neighbour was asked to send no more news.
    pub pruned: u64,
    /// Messages sent to spread and compare facts.
    pub gossip_messages: u64,
    /// Their bytes.
    pub gossip_bytes: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Links that ended.
    pub links_down: u64,
    /// Links refused when they came up.
    pub links_refused: u64,
    /// Links closed for silence.
    pub links_silent: u64,
    /// Links closed in favour of another one to the same peer.
    pub links_replaced: u64,
    /// Links closed because neither end needed them (P8.3).
    pub links_unneeded: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that led to no link.
    pub dials_failed: u64,
    /// Parcels of ours that were sent (P6.1).
    pub parcels_sent: u64,
    /// Parcels of others that were passed on.
    pub parcels_relayed: u64,
    /// Parcels dropped: no link to who is next, or no way to who it is for.
    pub parcels_unrouted: u64,
    /// Parcels dropped: they were to come back to us, or say that they are ours.
    pub parcels_looped: u64,
    /// Offers and answers taken (P6.2).
    pub shares_taken: u64,
    /// Offers and answers dropped: nothing is known of the source.
    pub shares_unknown: u64,
    /// Offers and answers dropped: not understood, or no keys come of them.
    pub shares_malformed: u64,
    /// Offers and answers dropped: heard before, or nobody asked.
    pub shares_stale: u64,
    /// Offers and answers dropped: too many from one source.
    pub shares_limited: u64,
    /// Offers and answers dropped: the signature does not verify.
    pub shares_forged: u64,
    /// Offers dropped: ours, of the smaller name, stands.
    pub shares_crossed: u64,
}

/// How much each table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableSizes {
    /// Peers known, this one included.
    pub peers: usize,
    /// Facts held.
    pub facts: usize,
    /// Memory that facts take, in bytes, the tables around them included.
    pub fact_bytes: usize,
    /// Links over which news are sent at once.
    pub eager_links: usize,
    /// Announcements to be made.
    pub to_announce: usize,
    /// Facts that were announced and have not come.
    pub missing: usize,
    /// Links that are up.
    pub links: usize,
    /// Peers within reach, this one included.
    pub reached: usize,
    /// Routes worked out.
    pub routes: usize,
    /// Sources whose trees are at hand.
    pub trees: usize,
    /// Targets.
    pub targets: usize,
    /// Peers that addresses are kept of, to be dialled.
    pub dialable: usize,
    /// Peers that a link is wanted to.
    pub wanted: usize,
}
