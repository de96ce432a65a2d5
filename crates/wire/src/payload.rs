//! What facts of the kinds of P5.4 say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::cbor::cbor;
use crate::{FactError, Mapping, PeerName};

/// Flag of a link: the origin dialled.
const OUTBOUND: u8 = 1;
/// Flag of a link: the address is IPv6.
const IPV6: u8 = 2;
/// Name, flags and cost of a link; address and port follow.
const LINK_HEADER: usize = 6 + 1 + 1;
const REMOVED: usize = 6 + 8;

/// Payload of a *peer* fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerFact {
    /// Shown beside the name.
    #[n(0)]
    pub nickname: String,
    /// The run.
    #[n(1)]
    pub uid: u64,
    /// TCP port it listens on; 0: none.
    #[n(2)]
    pub port: u16,
    /// Program version.
    #[n(3)]
    pub program: Option<String>,
    /// UDP port it receives records on.
    #[n(4)]
    pub udp_port: Option<u16>,
    /// How a NAT in front of it maps that port.
    #[n(5)]
    #[cbor(with = "crate::mapping::mapping_cbor", has_nil)]
    pub mapping: Mapping,
    /// Where it is to be dialled, besides where others see it. What is no address is passed over.
    #[n(6)]
    #[cbor(with = "crate::parcel::addresses_cbor", has_nil)]
    pub addresses: Vec<SocketAddr>,
    /// Where it accepts links over TCP besides: at one address, or (unspecified) at this port of all its addresses of one family.
    /// What is no address is passed over.
    #[n(7)]
    #[cbor(with = "crate::parcel::addresses_cbor", has_nil)]
    pub listening: Vec<SocketAddr>,
    /// Where those reach it who are behind the same NAT.
    #[n(8)]
    #[cbor(with = "crate::parcel::addresses_cbor", has_nil)]
    pub inside: Vec<SocketAddr>,
}

impl PeerFact {
    /// Its CBOR.
    pub fn encode(&self) -> Vec<u8> {
        cbor(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not CBOR of this shape.
    pub fn decode(b: &[u8]) -> Result<Self, FactError> {
        minicbor::decode(b).map_err(|e| FactError::Payload(e.to_string()))
    }
}

/// One link of a *links* fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEntry {
    /// The neighbour.
    pub peer: PeerName,
    /// Its address as the origin sees it.
    pub address: SocketAddr,
    /// Whether the origin dialled, so that the address can be dialled.
    pub outbound: bool,
    /// The class of its round-trip time (P8.1).
    pub cost: u8,
}

impl LinkEntry {
    /// Longest entry, in bytes.
    pub const MAX_LEN: usize = LINK_HEADER + 16 + 2;

    fn encode(&self, out: &mut Vec<u8>) {
        let family = if self.address.is_ipv6() { IPV6 } else { 0 };
        out.extend_from_slice(&self.peer.bytes());
        out.push(if self.outbound { OUTBOUND } else { 0 } | family);
        out.push(self.cost);
        match self.address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&self.address.port().to_be_bytes());
    }

    /// Reads the first entry of `b`, and gives what follows it.
    fn split_first(b: &[u8]) -> Option<(Self, &[u8])> {
        let (peer, rest) = b.split_first_chunk::<6>()?;
        let (&[flags, cost], rest) = rest.split_first_chunk::<2>()?;
        let (ip, rest) = if flags & IPV6 == 0 {
            let (ip, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::V4(Ipv4Addr::from(*ip)), rest)
        } else {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::V6(Ipv6Addr::from(*ip)), rest)
        };
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
        Some((Self { peer: PeerName::new(*peer), address, outbound: flags & OUTBOUND != 0, cost }, rest))
    }
}

/// Payload of a *links* or *conflicts* fact, read where it lies. Iterating gives the entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkList<'a> {
    rest: &'a [u8],
}

impl<'a> LinkList<'a> {
    /// The list in a payload.
    ///
    /// # Errors
    /// When the last entry is cut short.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FactError> {
        let mut list = Self::trusted(payload);
        list.by_ref().for_each(drop);
        if list.rest.is_empty() { Ok(Self::trusted(payload)) } else { Err(FactError::Short) }
    }

    /// The list in a payload that [`LinkList::decode`] read before. Of any other it ends where that is cut short.
    pub const fn trusted(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The entries, once more.
    pub const fn iter(&self) -> Self {
        *self
    }
}

impl Iterator for LinkList<'_> {
    type Item = LinkEntry;

    fn next(&mut self) -> Option<LinkEntry> {
        let (entry, rest) = LinkEntry::split_first(self.rest)?;
        self.rest = rest;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len() / LinkEntry::MAX_LEN, Some(self.rest.len() / (LINK_HEADER + 4 + 2)))
    }
}

/// Payload of a *links* or *conflicts* fact.
pub fn encode_links(links: &[LinkEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(links.len() * LinkEntry::MAX_LEN);
    for link in links {
        link.encode(&mut out);
    }
    out
}

/// One peer of a *removed* fact (P5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedEntry {
    /// Who is to be forgotten.
    pub peer: PeerName,
    /// What it said in this run, or in an earlier one, is void.
    pub incarnation: u64,
}

/// Payload of a *removed* fact.
pub fn encode_removed(entries: &[RemovedEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * REMOVED);
    for entry in entries {
        out.extend_from_slice(&entry.peer.bytes());
        out.extend_from_slice(&entry.incarnation.to_be_bytes());
    }
    out
}

/// Reads the payload of a *removed* fact.
///
/// # Errors
/// When the last entry is cut short.
pub fn decode_removed(payload: &[u8]) -> Result<Vec<RemovedEntry>, FactError> {
    let (entries, rest) = payload.as_chunks::<REMOVED>();
    if !rest.is_empty() {
        return Err(FactError::Short);
    }
    let entry = |&[n0, n1, n2, n3, n4, n5, i0, i1, i2, i3, i4, i5, i6, i7]: &[u8; REMOVED]| RemovedEntry {
        peer: PeerName::new([n0, n1, n2, n3, n4, n5]),
        incarnation: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
    };
    Ok(entries.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = LinkEntry> {
        (any::<[u8; 6]>(), any::<IpAddr>(), any::<u16>(), any::<bool>(), any::<u8>()).prop_map(
            |(peer, ip, port, outbound, cost)| LinkEntry {
                peer: PeerName::new(peer),
                address: SocketAddr::new(ip, port),
                outbound,
                cost,
            },
        )
    }

    #[test]
    fn a_peer_survives() {
        let udp = PeerFact {
            nickname: "h1".into(),
            uid: u64::MAX,
            port: 6783,
            udp_port: Some(9),
            ..PeerFact::default()
        };
        let tcp_only = PeerFact { program: Some("1.0".into()), udp_port: None, ..udp.clone() };
        let addresses = vec!["192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:6783".parse().unwrap()];
        let behind_nat = PeerFact { mapping: Mapping::Dependent, addresses, ..udp.clone() };
        let further = PeerFact {
            listening: vec!["[::]:443".parse().unwrap()],
            inside: vec!["192.168.1.5:6783".parse().unwrap()],
            ..udp.clone()
        };
        let lengths = [&udp, &behind_nat].map(|peer| peer.encode().len());
        for peer in [udp, tcp_only, behind_nat, further] {
            assert_eq!(PeerFact::decode(&peer.encode()), Ok(peer));
        }
        assert_eq!(lengths[1] - lengths[0], 2 + 2 + 14 + 19, "what is not said takes no room");
    }

    #[test]
    fn a_mapping_of_a_later_version_is_unknown() {
        // {0: "x", 1: 1, 2: 2, 5: n}
        let read = |n| {
            PeerFact::decode(&[0xa4, 0x00, 0x61, b'x', 0x01, 0x01, 0x02, 0x02, 0x05, n]).map(|p| p.mapping)
        };
        assert_eq!(read(1), Ok(Mapping::Independent));
        assert_eq!(read(2), Ok(Mapping::Dependent));
        assert_eq!(read(3), Ok(Mapping::Unknown));
    }

    #[test]
    fn a_later_versions_extra_keys_are_skipped() {
        // {0: "x", 1: 1, 2: 2, 9: "new"}
        let b = [0xa4, 0x00, 0x61, b'x', 0x01, 0x01, 0x02, 0x02, 0x09, 0x63, b'n', b'e', b'w'];
        assert_eq!(PeerFact::decode(&b).unwrap().nickname, "x");
    }

    #[test]
    fn a_link_takes_14_bytes_or_26() {
        let peer = PeerName::new([2, 0, 0, 0, 0, 9]);
        let v4 = LinkEntry { peer, address: ([10, 0, 0, 1], 6783).into(), outbound: true, cost: 8 };
        assert_eq!(encode_links(&[v4]), [2, 0, 0, 0, 0, 9, 1, 8, 10, 0, 0, 1, 0x1a, 0x7f]);
        let v6 = LinkEntry { address: (Ipv6Addr::LOCALHOST, 1).into(), outbound: false, cost: 0, ..v4 };
        let mut expected = vec![2, 0, 0, 0, 0, 9, 2, 0];
        expected.extend([0; 15]);
        expected.extend([1, 0, 1]);
        assert_eq!(encode_links(&[v6]), expected);
    }

    proptest! {
        #[test]
        fn links_survive(links in proptest::collection::vec(entry(), 0..20)) {
            let b = encode_links(&links);
            let read: Vec<_> = LinkList::decode(&b).unwrap().collect();
            prop_assert_eq!(read, links);
        }

        #[test]
        fn a_list_that_is_cut_inside_an_entry_is_refused(links in proptest::collection::vec(entry(), 1..5), cut in 1usize..14) {
            let b = encode_links(&links);
            prop_assert!(LinkList::decode(&b[..b.len() - cut]).is_err());
        }

        #[test]
        fn removals_survive(list in proptest::collection::vec((any::<[u8; 6]>(), any::<u64>()), 0..20)) {
            let entry = |&(peer, incarnation): &_| RemovedEntry { peer: PeerName::new(peer), incarnation };
            let list: Vec<_> = list.iter().map(entry).collect();
            prop_assert_eq!(decode_removed(&encode_removed(&list)), Ok(list));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_accepted_can_be_encoded_again(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = PeerFact::decode(&b);
            if let Ok(list) = LinkList::decode(&b) {
                let links: Vec<_> = list.collect();
                let again = encode_links(&links);
                prop_assert_eq!(LinkList::decode(&again).unwrap().collect::<Vec<_>>(), links);
            }
            if let Ok(list) = decode_removed(&b) {
                prop_assert_eq!(encode_removed(&list), b);
            }
        }
    }
}
