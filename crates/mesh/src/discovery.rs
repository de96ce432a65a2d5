//! Where others say that peers can be dialled.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use topology::Graph;
use wire::{LinkEntry, PeerFact, PeerName};

use crate::facts::FactStore;
use crate::targets::is_dialable;

/// Most neighbours of a peer that are asked: a hub has a thousand, and all say much the same.
const MAX_TELLERS: usize = 64;

/// The addresses of a peer, as it says itself, and as those who are linked to it state them.
pub(crate) fn addresses(
    facts: &FactStore,
    graph: &Graph,
    own: PeerName,
    peer: PeerName,
) -> BTreeSet<SocketAddr> {
    let tellers = graph.neighbours(peer).filter(|&teller| teller != own).take(MAX_TELLERS);
    let told = tellers.filter_map(|teller| facts.links(teller).iter().find(|entry| entry.peer == peer));
    let (mut found, mut outer) = (BTreeSet::new(), BTreeSet::new());
    for entry in told.filter(|entry| is_outer(entry.address.ip())) {
        outer.insert(entry.address.ip());
        found.extend(listening_address(facts, &entry));
    }
    let Some(fact) = facts.peer(peer) else { return found };
    for address in &fact.listening {
        if address.ip().is_unspecified() {
            let family = outer.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            found.extend(family.map(|&ip| SocketAddr::new(ip, address.port())));
        } else {
            found.insert(*address);
        }
    }
    found.extend(inside(facts, own, peer, &fact));
    found.extend(fact.addresses);
    found
}

/// The addresses that a peer has behind its NAT, if we are behind the same one: seen at the same address by others. Elsewhere they are
/// nobody's, or somebody else's.
pub(crate) fn inside<'a>(
    facts: &FactStore,
    own: PeerName,
    peer: PeerName,
    fact: &'a PeerFact,
) -> &'a [SocketAddr] {
    let is_together = || !outer(facts, own).is_disjoint(&outer(facts, peer));
    if !fact.inside.is_empty() && is_together() { &fact.inside } else { &[] }
}

/// Where others see a peer.
fn outer(facts: &FactStore, peer: PeerName) -> BTreeSet<IpAddr> {
    let tellers = facts.links(peer).take(MAX_TELLERS);
    let back = tellers.flat_map(|entry| facts.links(entry.peer).filter(|back| back.peer == peer));
    back.map(|entry| entry.address.ip()).filter(|&ip| is_outer(ip)).collect()
}

/// Whether an address says where a peer is: not that of a proxy that nobody looked behind.
fn is_outer(ip: IpAddr) -> bool {
    is_dialable(&SocketAddr::new(ip, 1))
}

/// Where the peer of a link can be dialled: as the teller did, or, if it was the peer who dialled, at the same IP
/// address and the port the peer says it listens on.
fn listening_address(facts: &FactStore, entry: &LinkEntry) -> Option<SocketAddr> {
    if entry.outbound {
        return Some(entry.address);
    }
    let port = facts.port(entry.peer)?;
    (port != 0).then(|| SocketAddr::new(entry.address.ip(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sign_fact;
    use crate::testing::{identity, name};
    use wire::{FactKind, PeerFact, encode_links};

    /// Peer, address, and whether the teller dialled.
    type Stated<'a> = &'a [(u8, &'a str, bool)];

    fn store(facts: &[(u8, Stated<'_>)], ports: &[(u8, u16)]) -> FactStore {
        let by = identity(1);
        let mut store = FactStore::new(name(1), by.public_key(), crate::verify);
        for &(origin, links) in facts {
            let entry = |&(p, a, outbound): &(u8, &str, bool)| LinkEntry {
                peer: name(p),
                address: a.parse().unwrap(),
                outbound,
                cost: 0,
            };
            let payload = encode_links(&links.iter().map(entry).collect::<Vec<_>>());
            store.publish(sign_fact(&by, name(origin), FactKind::LINKS, (1, 1), payload));
        }
        for &(origin, port) in ports {
            let payload = PeerFact {
                nickname: String::new(),
                uid: 1,
                port,
                program: None,
                udp_port: None,
                ..PeerFact::default()
            }
            .encode();
            store.publish(sign_fact(&by, name(origin), FactKind::PEER, (1, 1), payload));
        }
        store
    }

    /// Of each of these peers where it can be dialled.
    fn heard(facts: &FactStore, peers: &[u8]) -> Vec<(u8, Vec<String>)> {
        let stated = facts.all_links().map(|(n, links)| (n, links.map(|l| (l.peer, l.cost))));
        let graph = Graph::new(stated);
        let of = |&p: &u8| {
            let heard = addresses(facts, &graph, name(1), name(p));
            (p, heard.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        peers.iter().map(of).filter(|(_, heard)| !heard.is_empty()).collect()
    }

    #[test]
    fn who_was_dialled_is_dialled_alike_and_who_dialled_at_the_port_it_names() {
        let facts = store(
            &[
                (2, &[(1, "10.0.0.1:6783", true), (3, "10.0.0.3:6783", true), (4, "10.0.0.4:51000", false)]),
                (3, &[(2, "10.0.0.2:40000", false)]),
                (4, &[(2, "10.0.0.2:7000", true)]),
            ],
            &[(2, 6783), (3, 6783), (4, 7004)],
        );
        let of_two = vec!["10.0.0.2:6783".to_owned(), "10.0.0.2:7000".to_owned()];
        let expected =
            vec![(2, of_two), (3, vec!["10.0.0.3:6783".to_owned()]), (4, vec!["10.0.0.4:7004".to_owned()])];
        assert_eq!(heard(&facts, &[1, 2, 3, 4]), expected);
    }

    #[test]
    fn what_one_end_only_states_or_nobody_listens_on_is_left_out() {
        let links: &[_] = &[(3, "10.0.0.3:6783", true), (4, "10.0.0.4:51000", false)];
        let back: &[_] = &[(2, "10.0.0.2:51000", false)];
        let facts = store(&[(2, links), (4, back)], &[(2, 0), (4, 0)]);
        assert_eq!(heard(&facts, &[1, 2, 3, 4]), []);
    }
}
