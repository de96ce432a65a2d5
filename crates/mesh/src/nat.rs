//! What NATs do to the ports of two peers, and what follows for the way between them.
//!
//! Nobody outside the network is asked: everyone sees where records of its neighbours come from, and tells them. Two that
//! see different ports of the same socket show a NAT that gives each destination another one (RFC 4787 section 4.1).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::Mapping;

/// What is found is stated when it was found for so long: while a NAT forgets its mappings, or neighbours come and go, it
/// looks as if each peer saw another port.
const SETTLED: Duration = Duration::from_secs(10);
/// A change of what was stated before is stated so long after that at the earliest: everyone hears of it.
const PACE: Duration = Duration::from_secs(60);

/// What is stated of our own addresses.
#[derive(Debug, Default)]
pub(crate) struct Nat {
    mapping: Mapping,
    /// What is found, if it is something else, and since when.
    found: Option<(Mapping, Instant)>,
    stated_at: Option<Instant>,
    /// Where we are to be dialled, as the operator or a router with a port mapping says.
    pub(crate) advertised: Vec<SocketAddr>,
    /// Where links are accepted besides; at an unspecified address: at all of that family.
    pub(crate) listening: Vec<SocketAddr>,
    /// Our own addresses where a NAT shows others, for those who are behind the same one.
    pub(crate) inside: Vec<SocketAddr>,
}

impl Nat {
    pub(crate) const fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// Takes up what the mapping is found to be; says whether that is to be stated now.
    pub(crate) fn set_mapping(&mut self, now: Instant, found: Mapping) -> bool {
        // Where fewer tell than before, what they told before still holds.
        if found == self.mapping || found == Mapping::Unknown {
            self.found = None;
            return false;
        }
        let since = match self.found {
            Some((before, since)) if before == found => since,
            _ => now,
        };
        self.found = Some((found, since));
        if now < since + SETTLED || self.stated_at.is_some_and(|at| now < at + PACE) {
            return false;
        }
        (self.mapping, self.stated_at, self.found) = (found, Some(now), None);
        true
    }
}

/// How our NAT maps the one socket that all of these see, each where it says.
///
/// Only what is seen from the same side of a NAT compares: addresses of one family, the public ones if there are any.
pub fn mapping_of(seen: impl IntoIterator<Item = SocketAddr>) -> Mapping {
    let seen: Vec<_> = seen.into_iter().collect();
    let of = |v4: bool| {
        let family: Vec<_> = seen.iter().copied().filter(|one| one.is_ipv4() == v4).collect();
        let public: Vec<_> = family.iter().copied().filter(|one| !is_private(one.ip())).collect();
        judge(if public.is_empty() { &family } else { &public })
    };
    of(true).max(of(false))
}

fn judge(seen: &[SocketAddr]) -> Mapping {
    let Some((first, others)) = seen.split_first() else { return Mapping::Unknown };
    if others.is_empty() {
        Mapping::Unknown
    } else if others.iter().any(|other| other.port() != first.port()) {
        Mapping::Dependent
    } else if others.iter().any(|other| other.ip() == first.ip()) {
        Mapping::Independent
    } else {
        // A host with several addresses of its own.
        Mapping::Unknown
    }
}

/// Whether an address is one of a private network (RFC 1918, RFC 4193), of a provider's NAT (RFC 6598), or of one link.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// What the mappings of both ends mean for UDP between them, for people. Where the direct path works it was no obstacle,
/// and there is nothing to say.
pub const fn outlook(own: Mapping, peer: Mapping) -> Option<&'static str> {
    Some(match (own, peer) {
        (Mapping::Dependent, Mapping::Dependent) => {
            "both ends are behind NATs that give each peer another port: a relay carries frames"
        }
        (Mapping::Dependent, _) => {
            "this host is behind a NAT that gives each peer another port: it is reached directly only by peers that take \
             records from any port, or that guess its port (--guess-ports on both hosts)"
        }
        (_, Mapping::Dependent) => {
            "the peer is behind a NAT that gives each peer another port: it reaches this host directly only if records from \
             any port come in here, or if its port is guessed (--guess-ports on both hosts)"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    fn of(seen: &[&str]) -> Mapping {
        mapping_of(seen.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn two_answers_that_differ_in_the_port_are_a_dependent_mapping() {
        assert_eq!(of(&["203.0.113.7:4000", "203.0.113.7:4001"]), Mapping::Dependent);
        assert_eq!(
            of(&["203.0.113.7:4000", "203.0.113.9:4001"]),
            Mapping::Dependent,
            "a NAT with many addresses"
        );
        assert_eq!(of(&["203.0.113.7:4000", "203.0.113.7:4000"]), Mapping::Independent);
        assert_eq!(of(&["203.0.113.7:4000"]), Mapping::Unknown);
        assert_eq!(of(&[]), Mapping::Unknown);
    }

    #[test]
    fn what_is_seen_from_this_side_of_the_nat_does_not_count() {
        assert_eq!(of(&["192.168.1.5:6783", "203.0.113.7:4000"]), Mapping::Unknown);
        assert_eq!(of(&["192.168.1.5:6783", "203.0.113.7:4000", "203.0.113.7:4000"]), Mapping::Independent);
        assert_eq!(
            of(&["100.64.3.4:1", "100.64.3.4:2"]),
            Mapping::Dependent,
            "where nothing else is seen it does"
        );
        assert_eq!(of(&["[2001:db8::1]:6783", "203.0.113.7:4000"]), Mapping::Unknown, "another family");
        assert_eq!(of(&["10.1.0.1:6783", "10.2.0.1:6783"]), Mapping::Unknown, "two addresses and no NAT");
    }

    #[test]
    fn a_mapping_is_stated_when_it_is_settled_and_changed_once_a_minute() {
        let (start, mut nat) = (start(), Nat::default());
        // Looked at once a second, as the router does.
        let mut stated = |from: u64, to: u64, found| {
            let at = |s: &u64| nat.set_mapping(start + Duration::from_secs(*s), found);
            (from..to).filter(at).collect::<Vec<_>>()
        };
        assert_eq!(stated(0, 5, Mapping::Independent), []);
        assert_eq!(stated(5, 8, Mapping::Dependent), [], "a moment only");
        assert_eq!(stated(8, 30, Mapping::Independent), [18]);
        assert_eq!(stated(30, 100, Mapping::Dependent), [78]);
        assert_eq!(stated(100, 300, Mapping::Unknown), [], "neighbours went away, the NAT did not");
        assert_eq!(nat.mapping(), Mapping::Dependent);
    }

    #[test]
    fn two_dependent_ends_are_told_apart_from_one() {
        assert!(outlook(Mapping::Dependent, Mapping::Dependent).is_some_and(|text| text.contains("relay")));
        assert_ne!(
            outlook(Mapping::Dependent, Mapping::Independent),
            outlook(Mapping::Independent, Mapping::Dependent)
        );
        assert_eq!(outlook(Mapping::Independent, Mapping::Unknown), None);
    }
}
