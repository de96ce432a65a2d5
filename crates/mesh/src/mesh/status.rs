//! What the mesh tells people.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use wire::{LinkEntry, MAX_HOPS, PeerName, Uid};

use super::{LinkId, Mesh};
use crate::notices::{CURE, Subject};
use crate::text;
use crate::view::{
    ConnectionState, ConnectionView, Counters, LinkView, PeerLink, PeerView, TableSizes, TargetView,
};

impl Mesh {
    /// The targets, in the order and form they were given in.
    pub fn targets(&self) -> Vec<TargetView> {
        self.targets.views(&self.links)
    }

    /// The links that are up, what is being tried, and who was turned away of late.
    pub fn connections(&self, now: Instant) -> Vec<ConnectionView> {
        let until = |at: Instant| at.saturating_duration_since(now);
        // Where only a proxy knows the address, what the operator wrote tells more.
        let address = |target: Option<&str>, address: SocketAddr| match target {
            Some(target) if address.ip().is_unspecified() => target.to_owned(),
            _ => address.to_string(),
        };
        let links = self.links.iter().map(|(id, link)| ConnectionView {
            link: Some(id),
            outbound: link.outbound,
            address: address(self.targets.target_of(id, link.peer), link.address),
            state: ConnectionState::Established,
            peer: Some((link.peer, self.nickname(link.peer))),
            rtt: link.rtt(),
            error: None,
            retry_in: None,
            target: self.targets.target_of(id, link.peer).map(str::to_owned),
        });
        let pending = self.targets.pending(&self.links).into_iter().map(|p| ConnectionView {
            link: None,
            outbound: true,
            address: p.address,
            state: p.state,
            peer: p.peer.map(|peer| (peer, self.nickname(peer))),
            rtt: None,
            error: p.error,
            retry_in: p.retry_at.map(until),
            target: p.target,
        });
        let refused = self.refused.iter().map(|(address, reason)| ConnectionView {
            link: None,
            outbound: false,
            address: address.to_string(),
            state: ConnectionState::Failed,
            peer: None,
            rtt: None,
            error: Some(reason.to_owned()),
            retry_in: None,
            target: None,
        });
        links.chain(pending).chain(refused).collect()
    }

    /// Everyone known, ourselves first, then by name.
    pub fn peers(&self) -> Vec<PeerView> {
        let own = self.config.name;
        let others = self.facts.origins().filter(|&name| name != own);
        std::iter::once(own).chain(others).map(|name| self.peer(name)).collect()
    }

    /// The links that are up.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.links.iter().map(|(id, link)| LinkView {
            link: id,
            peer: link.peer,
            nickname: link.nickname.clone(),
            uid: link.uid,
            address: link.address,
            outbound: link.outbound,
            rtt: link.rtt(),
            up_since: link.up_since,
        })
    }

    /// The link to this peer, if one is up.
    pub fn link_of(&self, peer: PeerName) -> Option<LinkId> {
        self.links.of_peer(peer)
    }

    /// What someone must look after, in words: copied identities and names used twice, each with the way out, and peers that
    /// are too far away.
    pub fn warnings(&self) -> Vec<String> {
        let own = self.warnings.texts();
        let known: BTreeSet<Subject> = own.map(|(subject, _)| subject).collect();
        let mut texts: Vec<_> = self.warnings.texts().map(|(_, text)| text.to_owned()).collect();
        texts.extend(self.conflicts_seen_by_others(&known));
        texts.extend(self.too_far());
        texts
    }

    /// Peers that a chain of links leads to, but no route, in words.
    fn too_far(&self) -> Option<String> {
        let own = self.config.name;
        let is_far = |peer: &PeerName| *peer != own && self.route(*peer).is_none();
        let mut far = self.found.reached.iter().filter(is_far);
        let first = far.next()?;
        let others = match far.count() {
            0 => String::new(),
            n => format!(" and {n} others"),
        };
        Some(format!(
            "peer {first} ({}){others} are more than {MAX_HOPS} hops away: frames do not get there. More connections shorten the ways: \
             `--conn-limit` may be too low somewhere",
            self.nickname(first)
        ))
    }

    /// What was counted since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The fingerprint of all facts of those within reach (P5.6): peers that agree show the same.
    pub const fn fingerprint(&self) -> u64 {
        self.facts.fingerprint()
    }

    /// How much each table holds.
    pub fn table_sizes(&self) -> TableSizes {
        let (to_announce, missing) = self.gossip.waiting();
        let (routes, trees) = self.kept_ways();
        let (targets, dialable) = self.targets.sizes();
        TableSizes {
            peers: self.facts.peers(),
            facts: self.facts.len(),
            fact_bytes: self.facts.memory(),
            eager_links: self.gossip.eager(),
            to_announce,
            missing,
            links: self.links.len(),
            reached: self.found.reached.len(),
            routes,
            trees,
            targets,
            dialable,
            wanted: self.wanted_links(),
        }
    }

    /// Says that two hosts use the identity of `peer`, the second one at `address`.
    pub(super) fn used_twice_text(&self, peer: PeerName, address: &str) -> String {
        let nickname = self.nickname(peer);
        format!("two hosts share the identity of {peer} ({nickname}), the other one is at {address}: {CURE}")
    }

    fn conflicts_seen_by_others(&self, known: &BTreeSet<Subject>) -> Vec<String> {
        let own = self.config.name;
        let (mut told, mut texts) = (known.clone(), Vec::new());
        for teller in self.facts.origins().filter(|&name| name != own) {
            for LinkEntry { peer, address, .. } in self.facts.conflicts(teller) {
                let subject = if peer == own { Subject::OwnIdentity } else { Subject::Identity(peer) };
                if !told.insert(subject) {
                    continue;
                }
                let address = address.to_string();
                texts.push(if peer == own {
                    let nickname = self.nickname(teller);
                    format!(
                        "another host, refused at {address} by {teller} ({nickname}), runs with this host's \
                         identity: {CURE}"
                    )
                } else {
                    self.used_twice_text(peer, &address)
                });
            }
        }
        texts
    }

    fn peer(&self, name: PeerName) -> PeerView {
        let own = name == self.config.name;
        let fact = self.facts.peer(name);
        // What we state lags behind by a moment; what we know does not.
        let stated = if own { self.links.all_entries() } else { self.facts.links(name).collect() };
        let link = |entry: LinkEntry| PeerLink {
            nickname: self.nickname(entry.peer),
            established_both_ways: self.states(name, entry.peer) && self.states(entry.peer, name),
            entry,
        };
        PeerView {
            name,
            nickname: self.nickname(name),
            uid: fact.as_ref().map(|f| Uid(f.uid)),
            program: fact.and_then(|f| f.program).map(|program| text::printable(&program)),
            links: stated.into_iter().map(link).collect(),
        }
    }

    /// Whether `a` states a link to `b`; what we are linked to counts at once.
    fn states(&self, a: PeerName, b: PeerName) -> bool {
        (a == self.config.name && self.links.has_peer(b)) || self.facts.links(a).any(|l| l.peer == b)
    }

    pub(super) fn nickname(&self, name: PeerName) -> String {
        let of_link = || self.links.get(self.links.of_peer(name)?).map(|l| l.nickname.clone());
        self.facts.peer(name).map(|f| text::nickname(&f.nickname)).or_else(of_link).unwrap_or_default()
    }
}
