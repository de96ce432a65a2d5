//! The facade: what goes in, what comes out.

mod addresses;
mod admission;
mod gossip;
mod guessing;
mod meetings;
mod parcels;
mod policy;
mod removal;
mod repair;
mod statements;
mod status;
mod survey;
mod waking;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{Message, PeerName, Refuse, RefuseCode, Uid};

use crate::attempt::{Failure, Past};
use crate::distant::{Distant, Own};
use crate::facts::FactStore;
use crate::identity::{Identity, Verify};
use crate::links::{Link, LinkEvent, Links};
use crate::nat::Nat;
use crate::notices::{KEEP, Refused, Subject, Warnings};
use crate::plumtree::Plumtree;
use crate::reach::Reach;
use crate::targets::Targets;
use crate::text;
use crate::view::Counters;

pub use removal::RemoveError;
use repair::{Comparisons, DIGEST_EVERY};
use statements::Statements;

/// How long changes are gathered before they are stated, and before the network is surveyed anew. A host that joins
/// five others makes five changes within this time; a person does not notice it.
const COALESCE: Duration = Duration::from_millis(100);
/// How long a link that the other end closed waits to be stated as gone: who closes a link that is not needed says so itself, and
/// then that is no news any more.
const THEIR_WORD: Duration = Duration::from_secs(2);
/// Most identities kept that were seen in use twice.
const MAX_CONFLICTS: usize = 16;

/// Who this peer is and what it may do.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Its key.
    pub identity: Arc<Identity>,
    /// Its name: that of the identity, or another one that the operator chose (P1.2).
    pub name: PeerName,
    /// Shown beside the name.
    pub nickname: String,
    /// This run (P1.4).
    pub uid: Uid,
    /// Greater than that of every run before (P1.5).
    pub incarnation: u64,
    /// TCP port it listens on; 0: none.
    pub port: u16,
    /// UDP port it receives records on; 0: none.
    pub udp_port: u16,
    /// Program version, for others to show.
    pub program: String,
    /// Whether to dial peers heard of from others.
    pub discovery: bool,
    /// Most links at once, in both directions; 0: no limit.
    pub conn_limit: usize,
    /// Where all randomness comes from.
    pub seed: [u8; 32],
    /// How signatures of facts are checked: [`crate::verify`]. A simulation of many peers in one process may give a function
    /// that remembers what it found good: each of a thousand peers verifies the same facts, and the second time tells
    /// nothing new.
    pub verify: Verify,
}

/// A link, numbered by the caller; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A dial, numbered by the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Who is at the other end of a link on which both hellos (P2.8) went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkUp {
    /// Its name, as its hello says.
    pub peer: PeerName,
    /// The key it proved in the handshake.
    pub public_key: [u8; 32],
    /// Its run, from the prelude.
    pub uid: Uid,
    /// Its nickname.
    pub nickname: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// The address it is seen at.
    pub address: SocketAddr,
    /// The TCP port it listens on; 0: none.
    pub port: u16,
    /// Whether this host dialled.
    pub outbound: bool,
    /// The dial that led to it.
    pub dial: Option<DialId>,
    /// Link nonce from the dialler's prelude: ours if `outbound`.
    pub dialler_nonce: u32,
    /// What its connection goes by.
    pub way: LinkWay,
}

/// What the connection of a link goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkWay {
    /// One end dialled the other.
    #[default]
    Direct,
    /// Through a proxy of ours.
    Proxy,
    /// Through a proxy of the other end: the address it is seen at is the proxy's.
    TheirProxy,
    /// Both ends opened it at the same time (P6.6): nobody else can dial its address.
    Meeting,
}

/// What to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTo {
    /// A target exactly as the operator gave it, to be resolved now.
    Target(String),
    /// Addresses heard of from others, to be tried side by side.
    Addresses {
        /// Where, the likeliest first; at least one.
        addresses: Vec<SocketAddr>,
        /// Who must be there. The mesh refuses anyone else when the link comes up.
        expect: PeerName,
    },
}

/// What the mesh wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Dial, and report [`Mesh::handle_link_up`] or [`Mesh::handle_dial_failed`].
    Dial {
        /// To be given back in the report.
        id: DialId,
        /// What to dial.
        to: DialTo,
    },
    /// Send a message.
    Send {
        /// On this link.
        link: LinkId,
        /// This message.
        message: Message,
    },
    /// Send the refusal and close. For the mesh the link is gone already.
    Close {
        /// This link.
        link: LinkId,
        /// Because of this.
        refuse: Refuse,
    },
    /// A peer is known that was not known before.
    PeerSeen(PeerName),
    /// A peer is forgotten (P5.7).
    PeerGone(PeerName),
    /// What [`Mesh::route`], [`Mesh::routes`] and [`Mesh::children`] say may be other than before.
    RoutesChanged,
}

/// Membership, topology and connection policy of one peer.
///
/// Call a `handle_*` method for each thing that happens, then drain [`Mesh::poll_action`], then sleep until
/// [`Mesh::poll_timeout`] at the latest and call [`Mesh::handle_timeout`].
#[derive(Debug)]
pub struct Mesh {
    config: MeshConfig,
    rng: StdRng,
    facts: FactStore,
    found: survey::Found,
    policy: policy::Policy,
    reach: Reach,
    links: Links,
    targets: Targets,
    gossip: Plumtree,
    comparisons: Comparisons,
    statements: Statements,
    /// Identities seen in use twice: where the refused one is, and when that was seen last (P3.7).
    conflicts: BTreeMap<PeerName, (SocketAddr, Instant)>,
    warnings: Warnings,
    refused: Refused,
    counters: Counters,
    distant: Distant,
    relayed: meetings::Relayed,
    nat: Nat,
    actions: VecDeque<Action>,
    state_at: Option<Instant>,
    survey_at: Option<Instant>,
    digest_at: Instant,
}

impl Mesh {
    /// A peer that knows nobody yet.
    pub fn new(config: MeshConfig, now: Instant) -> Self {
        let mut mesh = Self {
            rng: StdRng::from_seed(config.seed),
            facts: FactStore::new(config.name, config.identity.public_key(), config.verify),
            found: survey::Found::default(),
            policy: policy::Policy::default(),
            reach: Reach::default(),
            links: Links::default(),
            targets: Targets::new(config.name, config.discovery, config.conn_limit),
            gossip: Plumtree::default(),
            comparisons: Comparisons::default(),
            statements: Statements::new(now),
            conflicts: BTreeMap::new(),
            warnings: Warnings::default(),
            refused: Refused::default(),
            counters: Counters::default(),
            distant: Distant::new(Own {
                identity: Arc::clone(&config.identity),
                name: config.name,
                incarnation: config.incarnation,
                udp_port: (config.udp_port != 0).then_some(config.udp_port),
            }),
            relayed: meetings::Relayed::default(),
            nat: Nat::default(),
            actions: VecDeque::new(),
            state_at: None,
            survey_at: None,
            digest_at: now + DIGEST_EVERY,
            config,
        };
        mesh.introduce(now);
        mesh
    }

    /// Adds a target. One that is there already is tried again at once.
    pub fn connect(&mut self, now: Instant, target: &str) {
        self.targets.connect(now, target);
        self.begin_dials(now);
    }

    /// Removes all targets but these and adds those that are new. Links stay.
    pub fn replace_targets(&mut self, now: Instant, targets: &[String]) {
        self.targets.replace(now, targets);
        self.begin_dials(now);
    }

    /// Removes a target by the exact text it was added with. A link it led to stays.
    pub fn forget(&mut self, target: &str) {
        self.targets.forget(target);
    }

    /// A link came up: both hellos went through.
    ///
    /// # Errors
    /// When the link is not wanted. The caller sends the refusal and closes; to the mesh the link never existed,
    /// and the dial that led to it, if one did, is over.
    pub fn handle_link_up(&mut self, now: Instant, link: LinkId, up: LinkUp) -> Result<(), Refuse> {
        let result = self.admit(now, link, up);
        self.begin_dials(now);
        result
    }

    /// A link ended, for a reason that is not ours. Links that the mesh closed itself are ignored here.
    ///
    /// When the other end refused, hand its [`Message::Refuse`] to [`Mesh::handle_message`] first: its code decides
    /// when the peer is dialled again.
    pub fn handle_link_down(&mut self, now: Instant, link: LinkId, reason: &str) {
        if let Some(link) = self.links.remove(link) {
            self.lose(now, &link, reason);
            self.begin_dials(now);
        }
    }

    /// A message arrived. Kinds that are none of the mesh's business only count as a sign of life.
    pub fn handle_message(&mut self, now: Instant, link: LinkId, message: Message) {
        self.links.heard(now, link);
        let Some(peer) = self.links.get(link).map(|l| l.peer) else { return };
        match message {
            Message::Ping(token) => self.send(link, Message::Pong(token)),
            Message::Pong(token) => {
                if let Some(newcomer) = self.links.pong(now, link, token) {
                    self.identity_is_used_twice(now, peer, newcomer);
                }
            }
            Message::Facts(facts) => self.hear_facts(now, link, facts),
            Message::Digest(digest) => self.hear_digest(now, link, digest),
            Message::Announce(lines) => self.hear_announcement(now, link, &lines),
            Message::Want(lines) => self.hear_want(link, &lines),
            Message::Prune => self.hear_prune(link),
            Message::Parcel(parcel) => self.hear_parcel(now, link, parcel),
            Message::Refuse(refuse) => {
                self.links.refused(link, refuse.known());
                self.note_refusal(now, refuse.known(), &peer.to_string());
            }
            _ => {}
        }
    }

    /// Something else arrived on this link: a frame, or a part of a long message.
    pub fn handle_activity(&mut self, now: Instant, link: LinkId) {
        self.links.carried(now, link);
    }

    /// Frames to the peer at the other end have a transport that works beside or inside this link, or have none: then they go through
    /// others, as if there were no link. To be told when that changes, or again and again.
    pub fn handle_carries(&mut self, now: Instant, link: LinkId, frames: bool) {
        if self.links.carries_frames(link, frames) {
            self.links_changed(now, !frames);
            self.state_by(now + COALESCE);
        }
    }

    /// A dial was resolved to this address and goes there now.
    pub fn handle_dialling(&mut self, _now: Instant, dial: DialId, address: SocketAddr) {
        self.targets.dialling(dial, canonical(address));
    }

    /// A dial led to no link; `code` when the other end refused.
    pub fn handle_dial_failed(
        &mut self,
        now: Instant,
        dial: DialId,
        reason: String,
        code: Option<RefuseCode>,
    ) {
        let reason = text::printable(&reason);
        if self.targets.failed(now, dial, Failure { reason: &reason, code }, &mut self.rng) {
            self.counters.dials_failed += 1;
            self.note_refusal(now, code, "a peer");
        }
        self.begin_dials(now);
    }

    /// Someone called and was turned away before a link came up. Status shows it for a while.
    pub fn handle_refused_inbound(&mut self, now: Instant, address: SocketAddr, reason: String) {
        self.refused.add(now, canonical(address), text::printable(&reason));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for event in self.links.handle_timeout(now, &mut self.rng) {
            self.act_on(now, event);
        }
        if self.state_at.is_some_and(|at| at <= now) {
            self.state_at = None;
            self.state_ourselves(now);
            self.survey_soon(now, false);
        }
        self.review_links(now);
        // Nobody is forgotten by a survey of the past.
        let forgets = self.absences().forgotten.is_some_and(|at| at <= now);
        if forgets || self.survey_due().is_some_and(|at| at <= now) {
            self.survey_at = None;
            self.survey(now);
            self.bury(now);
            self.review_sessions(now);
        }
        if self.absences().withheld.is_some_and(|at| at <= now) {
            self.withhold(now);
        }
        self.forget_absent(now);
        if self.digest_at <= now {
            self.digest_at = now + DIGEST_EVERY;
            self.compare_with_someone();
        }
        self.expire(now);
        self.tend_comparisons(now);
        self.tend_gossip(now);
        self.tend_sessions(now);
        self.begin_dials(now);
    }

    /// When [`Mesh::handle_timeout`] must be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let conflict = self.conflicts.values().map(|&(_, at)| at + KEEP).min();
        let expiry =
            [self.warnings.next_expiry(), self.refused.next_expiry(), conflict, self.next_unburied()]
                .into_iter()
                .flatten()
                .min();
        let digest = (self.links.len() > 0).then_some(self.digest_at);
        let own = [
            (self.state_at, "our links changed"),
            (self.survey_due(), "the network changed"),
            (self.absences().withheld, "a peer's facts are to be withheld"),
            (self.absences().forgotten, "a peer is to be forgotten"),
            (self.next_link_review(), "links are to be reviewed"),
            (self.targets.next_due(&self.links), "a dial is due"),
            (digest, "a digest is due"),
            (self.comparisons.next_due(), "a comparison is due"),
            (self.gossip.poll_timeout(), "news are to be passed on"),
            (expiry, "a notice expires"),
            (self.distant.next_due(), "a session is due"),
        ];
        let own = own.into_iter().filter_map(|(at, why)| Some((at?, why)));
        own.chain(self.links.poll_timeout()).min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.actions.push_back(Action::Send { link, message });
    }

    fn begin_dials(&mut self, now: Instant) {
        for (id, to) in self.targets.poll_dials(now, &self.links) {
            self.counters.dials += 1;
            self.actions.push_back(Action::Dial { id, to });
        }
    }

    fn act_on(&mut self, now: Instant, event: LinkEvent) {
        let (link, code, text) = match event {
            LinkEvent::Ping(link, token) => return self.send(link, Message::Ping(token)),
            LinkEvent::Silent(link) => (link, Some(RefuseCode::Silent), "nothing was heard for 6.5 s"),
            LinkEvent::Costs => {
                self.state_by(now + COALESCE);
                return self.links_changed(now, false);
            }
            LinkEvent::Superseded(link) => {
                (link, None, "no answer within 3 s while a later run of this peer calls")
            }
        };
        self.counters.links_silent += 1;
        if let Some(mut down) = self.links.remove(link) {
            self.actions.push_back(Action::Close { link, refuse: Refuse::new(RefuseCode::Silent, text) });
            down.refusal = down.refusal.or(code);
            self.lose(now, &down, text);
        }
    }

    /// A link that was up is gone.
    fn lose(&mut self, now: Instant, link: &Link, reason: &str) {
        self.counters.links_down += 1;
        self.facts.link_down(link.peer);
        let lived = now.saturating_duration_since(link.up_since);
        // One that never answered had not worked.
        let fell_silent = link.refusal == Some(RefuseCode::Silent) && link.rtt().is_some();
        let past = Past { lived, fell_silent };
        let reason = text::printable(reason);
        let failure = Failure { reason: &reason, code: link.refusal };
        self.targets.link_down(now, link.peer, past, failure, &mut self.rng);
        self.links_changed(now, true);
        let unneeded = link.refusal == Some(RefuseCode::NotNeeded);
        self.state_by(now + if unneeded { THEIR_WORD } else { COALESCE });
    }

    /// Our links are other than they were. The caller says when that is stated at the latest.
    fn links_changed(&mut self, now: Instant, lost: bool) {
        self.survey_soon(now, lost);
        self.gossip.retain(|id| self.links.get(id).is_some());
        self.forget_comparisons();
        self.tend_gossip(now);
    }

    fn note_refusal(&mut self, now: Instant, code: Option<RefuseCode>, by: &str) {
        if code == Some(RefuseCode::IdentityInUse) {
            self.warnings.refused_as_in_use(now, by);
        }
    }

    /// A pong proved that two routers share the identity of `peer` (P3.7). Everyone is told, for the one that is
    /// linked can learn of it only from others.
    fn identity_is_used_twice(&mut self, now: Instant, peer: PeerName, newcomer: SocketAddr) {
        if self.conflicts.len() < MAX_CONFLICTS || self.conflicts.contains_key(&peer) {
            self.conflicts.insert(peer, (newcomer, now));
            self.state_by(now + COALESCE);
        }
        let text = self.used_twice_text(peer, &newcomer.to_string());
        self.warnings.add(now, Subject::Identity(peer), text);
    }

    fn expire(&mut self, now: Instant) {
        self.warnings.expire(now);
        self.refused.expire(now);
        let before = self.conflicts.len();
        self.conflicts.retain(|_, &mut (_, at)| now < at + KEEP);
        if self.conflicts.len() != before {
            self.state_by(now + COALESCE);
        }
        if self.next_unburied().is_some_and(|at| at <= now) {
            self.bury(now);
        }
    }
}

/// An IPv4 address is one also when a socket of both families showed it as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
