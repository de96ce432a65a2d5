//! [`Exceptions`]: `no_proxy`, by the rules that most programs share.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// Most entries that are kept.
const MOST: usize = 256;

/// Whom to reach without the proxy.
///
/// Entries are separated by commas or blanks: `*` for everybody; a name for itself and all below it, with or without a dot
/// before it; an address; a network with its prefix length. A port behind an entry confines it to that port. What cannot
/// be understood is passed over, as others do: the list is shared with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    whom: Whom,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    Everybody,
    /// In small letters, without a dot at either end.
    Below(String),
    Within(IpNetwork),
}

impl Exceptions {
    /// Reads the list.
    pub fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Self(entries.filter_map(entry).take(MOST).collect())
    }

    /// Whether this host and port are an exception. An address is compared as such, a name as it is written: what it
    /// resolves to is the proxy's affair.
    pub(crate) fn hold(&self, host: &str, port: u16) -> bool {
        let host = name(host);
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let is_meant = |whom: &Whom| match whom {
            Whom::Everybody => true,
            Whom::Within(network) => ip.is_some_and(|ip| network.contains(ip)),
            Whom::Below(top) => {
                ip.is_none()
                    && host
                        .strip_suffix(top.as_str())
                        .is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
        };
        self.0.iter().any(|entry| entry.port.is_none_or(|p| p == port) && is_meant(&entry.whom))
    }
}

fn entry(text: &str) -> Option<Entry> {
    // An IPv6 address has colons of its own.
    if let Some(network) = network(text) {
        return Some(Entry { whom: Whom::Within(network), port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Some(network) = network(bare) {
        return Some(Entry { whom: Whom::Within(network), port });
    }
    if host == "*" {
        return Some(Entry { whom: Whom::Everybody, port });
    }
    let top = name(host.strip_prefix('*').unwrap_or(host));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!top.is_empty() && top.chars().all(fits)).then_some(Entry { whom: Whom::Below(top), port })
}

fn network(text: &str) -> Option<IpNetwork> {
    match text.split_once('/') {
        Some((ip, prefix)) => IpNetwork::new(ip.parse().ok()?, prefix.parse().ok()?).ok(),
        None => Some(IpNetwork::from(text.parse::<IpAddr>().ok()?.to_canonical())),
    }
}

/// RFC 4343: letters of either case are the same; a dot at the end adds nothing.
fn name(text: &str) -> String {
    text.trim_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_hold_for_themselves_and_all_below() {
        for list in ["example.org", ".example.org", "*.example.org", "a, EXAMPLE.org.", "a b,,example.org"] {
            let except = Exceptions::parse(list);
            for host in ["example.org", "h.example.org", "a.b.Example.ORG."] {
                assert!(except.hold(host, 443), "{list}: {host}");
            }
            for host in ["badexample.org", "org", "example.org.evil", "198.18.0.1"] {
                assert!(!except.hold(host, 443), "{list}: {host}");
            }
        }
    }

    #[test]
    fn addresses_and_networks_hold_for_addresses() {
        let except = Exceptions::parse("198.18.0.0/15,10.1.2.3 fd00::/8,2001:db8::1,[2001:db8::2]");
        for host in ["198.19.255.255", "10.1.2.3", "fd12::1", "2001:db8::1", "2001:db8::2", "::ffff:10.1.2.3"]
        {
            assert!(except.hold(host, 443), "{host}");
        }
        for host in ["198.20.0.1", "10.1.2.30", "fe00::1", "2001:db8::3", "3.10.1.2.3", "host"] {
            assert!(!except.hold(host, 443), "{host}");
        }
    }

    #[test]
    fn a_port_confines_an_entry() {
        let except = Exceptions::parse("host:6783,10.0.0.0/8:443,[fd00::1]:1,*:7");
        for (host, port, held) in [
            ("host", 6783, true),
            ("a.host", 6783, true),
            ("host", 443, false),
            ("10.9.9.9", 443, true),
            ("10.9.9.9", 80, false),
            ("fd00::1", 1, true),
            ("fd00::1", 2, false),
            ("anything", 7, true),
        ] {
            assert_eq!(except.hold(host, port), held, "{host}:{port}");
        }
    }

    #[test]
    fn a_star_holds_for_everybody_and_nothing_for_nobody() {
        assert!(Exceptions::parse("*").hold("h", 1) && Exceptions::parse("*").hold("::1", 1));
        for list in ["", " , ", "a/b", "host:x", "10.0.0.0/33", "é"] {
            assert_eq!(Exceptions::parse(list), Exceptions::default(), "{list}");
        }
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic_or_grow(list in "[ -~]{0,300}", host in "[ -~]{0,30}", port: u16) {
            let except = Exceptions::parse(&list);
            except.hold(&host, port);
            prop_assert!(Exceptions::parse(&"a,".repeat(1000)).0.len() == MOST);
        }
    }
}
