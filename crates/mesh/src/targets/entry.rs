//! What may be dialled: a target, or the addresses of a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::PeerName;

use crate::attempt::{Attempt, Progress};
use crate::links::Links;
use crate::mesh::DialId;
use crate::nat::is_private;

/// Most addresses kept of one peer: a host with more ways to it is found by the first eight.
const MAX_ADDRESSES: usize = 8;
/// Ports below are those of well-known services (RFC 6335 section 6).
const PRIVILEGED: u16 = 1024;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) text: String,
    /// Who answered there last.
    pub(super) peer: Option<PeerName>,
    pub(super) attempt: Attempt,
    /// Its peer is within reach and no link to it is wanted (P8.3).
    pub(super) spared: bool,
}

#[derive(Debug, Default)]
pub(super) struct Discovered {
    pub(super) addresses: BTreeMap<SocketAddr, Attempt>,
    /// The one that led to a link last.
    pub(super) worked: Option<SocketAddr>,
    pub(super) reachable: bool,
    /// A link to it is wanted.
    pub(super) wanted: bool,
    /// We were linked and lost it: it is tried until it is forgotten, even if nothing else reaches it, because
    /// where all links break at once nobody else can tell of it.
    pub(super) lost: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    Target(String),
    Addresses(PeerName),
}

impl Target {
    /// Whether its peer is linked, or need not be, so that it waits.
    pub(super) fn is_satisfied(&self, links: &Links) -> bool {
        self.peer.is_some_and(|peer| self.spared || links.has_peer(peer))
    }
}

impl Discovered {
    /// Adds an address. Where there are too many, one gives way that is not among those heard of now.
    pub(super) fn add(&mut self, address: SocketAddr, due: Instant, heard: &BTreeSet<SocketAddr>) {
        if !is_dialable(&address) || self.addresses.contains_key(&address) {
            return;
        }
        if self.addresses.len() >= MAX_ADDRESSES {
            let outdated =
                self.addresses.iter().find(|(a, attempt)| !heard.contains(a) && !attempt.is_dialling());
            let Some(outdated) = outdated.map(|(&a, _)| a) else { return };
            self.addresses.remove(&outdated);
        }
        self.addresses.insert(address, Attempt::new(due));
    }

    /// Whether a link to this peer, which is not linked, is to be sought. One that nothing reaches any more is, if we
    /// lost it; all others only if they are wanted.
    pub(super) const fn is_sought(&self) -> bool {
        if self.reachable { self.wanted } else { self.lost }
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.addresses.values().any(Attempt::is_dialling)
    }

    /// Begins a try at all addresses but those that `is_left` or that only a change on one of the hosts can mend, and gives
    /// them in the order to be tried in: the one that worked; those in this network; the usual ports before those that are there for
    /// firewalls which let nothing else out.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        id: DialId,
        is_left: impl Fn(SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        let mut begun = Vec::new();
        for (&address, attempt) in &mut self.addresses {
            let is_due = attempt.due().is_some_and(|at| at <= now || !attempt.is_final());
            if is_due && !is_left(address) {
                attempt.begin(now, id);
                begun.push(address);
            }
        }
        begun.sort_by_key(|address| {
            (Some(*address) != self.worked, !is_private(address.ip()), address.port() < PRIVILEGED, *address)
        });
        begun
    }

    /// What this dial tries.
    pub(super) fn tried_by(&mut self, id: DialId) -> impl Iterator<Item = &mut Attempt> {
        self.addresses.values_mut().filter(move |attempt| attempt.progress() == Progress::Dialling(id))
    }
}

/// Whether an address that someone else told us can mean anything here. A link-local one (RFC 4291 section 2.5.6)
/// belongs to an interface of the host that told it.
pub(crate) fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn at_most_eight_addresses_are_kept_and_the_outdated_give_way() {
        let mut discovered = Discovered::default();
        let addresses =
            |from: u8| (from..from + 8).map(|n| ([10, 0, 0, n], 1).into()).collect::<BTreeSet<_>>();
        let (old, new) = (addresses(20), addresses(100));
        for heard in [&old, &new] {
            heard.iter().for_each(|&a| discovered.add(a, start(), heard));
        }
        assert_eq!(discovered.addresses.into_keys().collect::<BTreeSet<_>>(), new);
    }

    #[test]
    fn what_worked_goes_first_then_this_network_then_the_usual_ports() {
        let mut discovered = Discovered::default();
        let of = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let all = of(&["203.0.113.9:443", "203.0.113.9:6783", "192.168.1.9:6783", "[2001:db8::9]:6783"]);
        for address in &all {
            discovered.add(*address, start(), &all.iter().copied().collect());
        }
        let usual = of(&["192.168.1.9:6783", "203.0.113.9:6783", "[2001:db8::9]:6783", "203.0.113.9:443"]);
        assert_eq!(discovered.begin(start(), DialId(1), |_| false), usual);
        assert_eq!(discovered.begin(start(), DialId(2), |_| false), [], "all are being tried");
        discovered.tried_by(DialId(1)).for_each(|attempt| attempt.stand_by(start()));
        discovered.worked = Some(all[0]);
        let left = usual[1];
        assert_eq!(
            discovered.begin(start(), DialId(3), |address| address == left),
            [all[0], usual[0], usual[2]]
        );
    }

    #[test]
    fn addresses_that_mean_nothing_here_are_not_dialled() {
        for text in [
            "0.0.0.0:1",
            "10.0.0.1:0",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "169.254.1.1:1",
            "[::]:1",
            "[fe80::1]:1",
        ] {
            assert!(!is_dialable(&text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1:1", "[2001:db8::1]:1", "127.0.0.1:7000"] {
            assert!(is_dialable(&text.parse().unwrap()), "{text}");
        }
    }
}
