//! Where others say that peers can be dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wire::{LinkEntry, PeerName};

use crate::facts::FactStore;
use crate::topology::Topology;

/// The addresses of each peer within reach, as those who are linked to it state them.
pub(crate) fn addresses(
    facts: &FactStore,
    topology: &Topology,
    own: PeerName,
    reachable: &BTreeSet<PeerName>,
) -> BTreeMap<PeerName, BTreeSet<SocketAddr>> {
    let mut heard: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for &teller in reachable.iter().filter(|&&name| name != own) {
        for entry in facts.links(teller) {
            let of_interest = entry.peer != own && reachable.contains(&entry.peer);
            if of_interest
                && topology.linked(teller, entry.peer)
                && let Some(address) = listening_address(facts, entry)
            {
                heard.entry(entry.peer).or_default().insert(address);
            }
        }
    }
    heard
}

/// Where the peer of a link can be dialled: as the teller did, or, if it was the peer who dialled, at the same IP
/// address and the port the peer says it listens on.
fn listening_address(facts: &FactStore, entry: &LinkEntry) -> Option<SocketAddr> {
    let address: SocketAddr = entry.address.parse().ok()?;
    if entry.outbound {
        return Some(address);
    }
    let port = facts.peer(entry.peer)?.port;
    (port != 0).then(|| SocketAddr::new(address.ip(), port))
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
        let mut store = FactStore::new(name(1), by.public_key());
        for &(origin, links) in facts {
            let entry = |&(p, a, outbound): &(u8, &str, bool)| LinkEntry {
                peer: name(p),
                address: a.into(),
                outbound,
            };
            let payload = encode_links(&links.iter().map(entry).collect::<Vec<_>>());
            store.publish(sign_fact(&by, name(origin), FactKind::LINKS, (1, 1), payload));
        }
        for &(origin, port) in ports {
            let payload = PeerFact { nickname: String::new(), uid: 1, port, program: None }.encode();
            store.publish(sign_fact(&by, name(origin), FactKind::PEER, (1, 1), payload));
        }
        store
    }

    fn heard(facts: &FactStore, reachable: &[u8]) -> Vec<(u8, Vec<String>)> {
        let reachable = reachable.iter().map(|&n| name(n)).collect();
        let topology = Topology::from_facts(facts);
        let heard = addresses(facts, &topology, name(1), &reachable);
        heard.into_iter().map(|(p, a)| (p.bytes()[5], a.iter().map(ToString::to_string).collect())).collect()
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
    fn what_one_end_only_states_or_nobody_listens_on_or_is_no_address_is_left_out() {
        let links: &[_] =
            &[(3, "10.0.0.3:6783", true), (4, "10.0.0.4:51000", false), (5, "no address", true)];
        let back: &[_] = &[(2, "", false)];
        let facts = store(&[(2, links), (4, back), (5, back)], &[(4, 0)]);
        assert_eq!(heard(&facts, &[1, 2, 3, 4, 5]), []);
    }

    #[test]
    fn nobody_out_of_reach_is_dialled() {
        let facts = store(&[(2, &[(3, "10.0.0.3:6783", true)]), (3, &[(2, "10.0.0.2:6783", true)])], &[]);
        assert_eq!(heard(&facts, &[1, 2]), []);
    }
}
