//! What is held of one origin.

use std::sync::Arc;

use wire::{DigestEntry, FactKind, FactView, LinkList, PeerFact, PeerName, decode_removed};

use super::sums;
use crate::mesh::LinkId;

/// One peer and what it said.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) name: PeerName,
    pub(super) key: [u8; 32],
    /// The key proved itself on a link that is up: no fact can dispute it.
    pub(super) linked: bool,
    /// Whether its facts take part in digests.
    pub(super) offered: bool,
    pub(super) bucket: u8,
    /// TCP port it says it listens on; 0: none. It is asked for with every survey.
    pub(super) port: u16,
    /// Nearly everyone has these two, and nothing else: they lie where the origin lies.
    peer: Option<Held>,
    links: Option<Held>,
    /// The rest by kind.
    more: Vec<Held>,
}

/// One fact.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) kind: FactKind,
    pub(super) version: (u64, u64),
    pub(super) fingerprint: u64,
    /// Whether the payload was read: one of a later version is passed on all the same (P5.3).
    is_understood: bool,
    /// The link that it came over first; `None`: it is our own.
    pub(super) from: Option<LinkId>,
    pub(super) bytes: Arc<[u8]>,
}

impl Held {
    pub(super) fn new(fact: &FactView<'_>, bytes: Arc<[u8]>, from: Option<LinkId>) -> Self {
        let is_understood = match fact.kind {
            FactKind::PEER => PeerFact::decode(fact.payload).is_ok(),
            FactKind::LINKS | FactKind::CONFLICTS => LinkList::decode(fact.payload).is_ok(),
            FactKind::REMOVED => decode_removed(fact.payload).is_ok(),
            _ => false,
        };
        let line = DigestEntry { origin: fact.origin, kind: fact.kind, version: fact.version };
        let fingerprint = sums::fingerprint(&line);
        Self { kind: fact.kind, version: fact.version, fingerprint, is_understood, from, bytes }
    }

    fn payload(&self) -> Option<&[u8]> {
        if !self.is_understood {
            return None;
        }
        FactView::decode(&self.bytes).ok().map(|fact| fact.payload)
    }
}

impl Origin {
    pub(super) fn new(name: PeerName, key: [u8; 32]) -> Self {
        let bucket = sums::bucket_of(name);
        Self {
            name,
            key,
            linked: false,
            offered: true,
            bucket,
            port: 0,
            peer: None,
            links: None,
            more: Vec::new(),
        }
    }

    pub(super) fn get(&self, kind: FactKind) -> Option<&Held> {
        match kind {
            FactKind::PEER => self.peer.as_ref(),
            FactKind::LINKS => self.links.as_ref(),
            _ => self.more.iter().find(|held| held.kind == kind),
        }
    }

    /// Holds this one, and gives back the one that it replaces.
    pub(super) fn put(&mut self, new: Held) -> Option<Held> {
        if new.kind == FactKind::PEER {
            let peer = new.payload().and_then(|payload| PeerFact::decode(payload).ok());
            self.port = peer.map_or(0, |peer| peer.port);
        }
        match new.kind {
            FactKind::PEER => self.peer.replace(new),
            FactKind::LINKS => self.links.replace(new),
            kind => match self.more.binary_search_by_key(&kind, |held| held.kind) {
                Ok(at) => self.more.get_mut(at).map(|held| std::mem::replace(held, new)),
                Err(at) => {
                    self.more.insert(at, new);
                    None
                }
            },
        }
    }

    /// All that is held.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.peer.iter().chain(&self.links).chain(&self.more)
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.held().count()
    }

    /// The newest version of any kind.
    pub(super) fn newest(&self) -> Option<(u64, u64)> {
        self.held().map(|held| held.version).max()
    }

    /// Who the peer says it is.
    pub(super) fn peer(&self) -> Option<PeerFact> {
        PeerFact::decode(self.peer.as_ref()?.payload()?).ok()
    }

    /// The payload of this kind, unless the origin said it in an earlier run than its newest: a restart ended what was
    /// true then.
    pub(super) fn current(&self, kind: FactKind) -> &[u8] {
        let newest = self.newest().map(|version| version.0);
        let held = self.get(kind).filter(|held| Some(held.version.0) == newest);
        held.and_then(Held::payload).unwrap_or_default()
    }
}
