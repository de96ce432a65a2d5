//! Addresses as users write them: `[ip:]a.b.c.d/n`, or the same in IPv6.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use thiserror::Error;

/// Reads one address with its prefix, and refuses those that no interface on the network could use.
///
/// The network and the broadcast address are refused, except where a prefix leaves no room for them: /31 (RFC 3021),
/// /32, /127 (RFC 6164) and /128.
///
/// # Errors
/// [`AddressError`] names the text, the reason and the way out.
pub fn parse(text: &str) -> Result<IpNetwork, AddressError> {
    if text.starts_with("net:") {
        return Err(AddressError::Allocation(text.into()));
    }
    let bare = text.strip_prefix("ip:").unwrap_or(text);
    let (ip, prefix) = match bare.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (bare, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| AddressError::NotAnAddress(text.into()))?;
    let Some(prefix) = prefix else {
        return Err(AddressError::NoPrefix {
            text: text.into(),
            example: if ip.is_ipv4() { 24 } else { 64 },
        });
    };
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    // `u8::from_str` takes a leading "+", which no one means.
    let length =
        prefix.bytes().all(|byte| byte.is_ascii_digit()).then(|| prefix.parse::<u8>().ok()).flatten();
    let network = length
        .filter(|length| *length > 0)
        .and_then(|length| IpNetwork::new(ip, length).ok())
        .ok_or_else(|| AddressError::BadPrefix { text: text.into(), longest })?;
    check_usable(network, text)?;
    Ok(network)
}

/// Whether a command-line argument is meant as an address, be it a right one or not.
///
/// `run` takes addresses up to the first argument that is none, and gives the rest to Docker. An image may be called
/// `10.0.0.1/app` (a registry and a name), so what follows the slash must not contain letters.
pub fn is_meant(argument: &str) -> bool {
    if argument.starts_with("ip:") || argument.starts_with("net:") || argument.parse::<IpAddr>().is_ok() {
        return true;
    }
    let Some((ip, prefix)) = argument.split_once('/') else {
        return false;
    };
    let like_v4 = ip.contains('.') && ip.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let like_v6 = ip.matches(':').count() > 1
        && ip.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
    (like_v4 || like_v6) && !prefix.chars().any(char::is_alphabetic)
}

/// Why a text is no usable address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It does not read as an IP address.
    #[error("{0:?} is not an address: write it as in 192.168.122.1/24")]
    NotAnAddress(String),
    /// The prefix is missing.
    #[error("{text} has no prefix length: write it as in {text}/{example}")]
    NoPrefix {
        /// What was given.
        text: String,
        /// The usual prefix length of the family.
        example: u8,
    },
    /// The prefix is no number or out of range.
    #[error("{text} has a bad prefix length: it is a number from 1 to {longest}, as in 192.168.122.1/24")]
    BadPrefix {
        /// What was given.
        text: String,
        /// The family's longest prefix.
        longest: u8,
    },
    /// All host bits are zero.
    #[error("{0} is the address of the network itself: take one inside it")]
    Network(String),
    /// All host bits are one.
    #[error("{0} is the broadcast address of its network: take one inside it")]
    Broadcast(String),
    /// A group, not an interface.
    #[error("{0} is a multicast address: no interface can have it")]
    Multicast(String),
    /// Only ever the machine itself.
    #[error("{0} is a loopback address: it never leaves a host")]
    Loopback(String),
    /// 0.0.0.0/8 or `::`.
    #[error("{0} is the unspecified address: no interface can have it")]
    Unspecified(String),
    /// `net:` asks for an address to be chosen.
    #[error(
        "{0} asks for an address to be chosen, and automatic allocation is not built yet: name one, as in 192.168.122.1/24"
    )]
    Allocation(String),
}

fn check_usable(network: IpNetwork, text: &str) -> Result<(), AddressError> {
    let ip = network.ip();
    let this_network = matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0);
    if ip.is_unspecified() || this_network {
        return Err(AddressError::Unspecified(text.into()));
    }
    if ip.is_loopback() {
        return Err(AddressError::Loopback(text.into()));
    }
    if ip.is_multicast() {
        return Err(AddressError::Multicast(text.into()));
    }
    match network {
        IpNetwork::V4(v4) => {
            if v4.ip().is_broadcast() || (v4.prefix() < 31 && v4.ip() == v4.broadcast()) {
                return Err(AddressError::Broadcast(text.into()));
            }
            if v4.prefix() < 31 && v4.ip() == v4.network() {
                return Err(AddressError::Network(text.into()));
            }
        }
        IpNetwork::V6(v6) => {
            if v6.prefix() < 127 && v6.ip() == v6.network() {
                return Err(AddressError::Network(text.into()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(text: &str) -> AddressError {
        parse(text).expect_err(text)
    }

    #[test]
    fn an_address_is_read_with_and_without_the_ip_marker() {
        assert_eq!(parse("192.168.122.1/24").unwrap().to_string(), "192.168.122.1/24");
        assert_eq!(parse("ip:192.168.122.1/24").unwrap().to_string(), "192.168.122.1/24");
        assert_eq!(parse("fd00::1/64").unwrap().to_string(), "fd00::1/64");
        assert_eq!(parse("ip:fd00::1/64").unwrap().to_string(), "fd00::1/64");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "ip:",
            "/24",
            "a/24",
            "192.168.122/24",
            "192.168.122.256/24",
            "192.168.122.01/24",
            "fd00::1::2/64",
        ] {
            assert!(matches!(refused(text), AddressError::NotAnAddress(_)), "{text:?}");
        }
    }

    #[test]
    fn a_missing_prefix_is_named_with_an_example_of_the_family() {
        assert_eq!(
            refused("192.168.122.1").to_string(),
            "192.168.122.1 has no prefix length: write it as in 192.168.122.1/24"
        );
        assert_eq!(refused("fd00::1").to_string(), "fd00::1 has no prefix length: write it as in fd00::1/64");
    }

    #[test]
    fn a_bad_prefix_is_refused() {
        for text in [
            "10.0.0.1/",
            "10.0.0.1/0",
            "10.0.0.1/33",
            "10.0.0.1/-1",
            "10.0.0.1/+8",
            "10.0.0.1/8/8",
            "10.0.0.1/999",
        ] {
            assert!(matches!(refused(text), AddressError::BadPrefix { longest: 32, .. }), "{text:?}");
        }
        assert!(matches!(refused("fd00::1/129"), AddressError::BadPrefix { longest: 128, .. }));
    }

    #[test]
    fn network_and_broadcast_addresses_are_refused_where_the_prefix_has_them() {
        assert!(matches!(refused("192.168.122.0/24"), AddressError::Network(_)));
        assert!(matches!(refused("192.168.122.255/24"), AddressError::Broadcast(_)));
        assert!(matches!(refused("192.168.122.4/30"), AddressError::Network(_)));
        assert!(matches!(refused("192.168.122.7/30"), AddressError::Broadcast(_)));
        assert!(matches!(refused("255.255.255.255/32"), AddressError::Broadcast(_)));
        assert!(matches!(refused("fd00::/64"), AddressError::Network(_)));
        for text in [
            "192.168.122.255/23",
            "10.0.0.0/31",
            "10.0.0.1/31",
            "10.0.0.0/32",
            "10.0.0.255/32",
            "fd00::/127",
            "fd00::/128",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn addresses_no_interface_can_have_are_refused() {
        assert!(matches!(refused("127.0.0.1/8"), AddressError::Loopback(_)));
        assert!(matches!(refused("::1/128"), AddressError::Loopback(_)));
        assert!(matches!(refused("224.0.0.5/24"), AddressError::Multicast(_)));
        assert!(matches!(refused("ff02::1/64"), AddressError::Multicast(_)));
        assert!(matches!(refused("0.0.0.0/24"), AddressError::Unspecified(_)));
        assert!(matches!(refused("0.1.2.3/8"), AddressError::Unspecified(_)));
        assert!(matches!(refused("::/64"), AddressError::Unspecified(_)));
    }

    #[test]
    fn asking_for_allocation_is_refused_in_words() {
        assert!(matches!(refused("net:10.32.0.0/16"), AddressError::Allocation(_)));
        assert!(refused("net:default").to_string().contains("not built yet"));
    }

    #[test]
    fn run_tells_addresses_from_what_belongs_to_docker() {
        for address in [
            "192.168.122.1/24",
            "ip:anything",
            "net:default",
            "192.168.122.300/24",
            "192.168.122.1",
            "192.168.122.1/",
            "fd00::1/64",
            "10.0.0.1/24/24",
        ] {
            assert!(is_meant(address), "{address}");
        }
        for other in [
            "-ti",
            "--name",
            "busybox:lab",
            "10.0.0.1/app",
            "10.0.0.1:5000/app",
            "localhost/24",
            "a/24",
            "/bin/sh",
            "24",
            "1.2",
        ] {
            assert!(!is_meant(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,40}") {
            let _ = is_meant(&text);
            if let Ok(network) = parse(&text) {
                prop_assert!(is_meant(&text));
                prop_assert_eq!(parse(&network.to_string()), Ok(network));
            }
        }

        #[test]
        fn every_host_of_a_subnet_is_taken(ip in 0x0a00_0000u32..0x0aff_ffff, prefix in 9u8..=30) {
            let mask = u32::MAX << (32 - prefix);
            let text = format!("{}/{prefix}", std::net::Ipv4Addr::from(ip));
            let inside = ip & !mask != 0 && ip | mask != u32::MAX;
            prop_assert_eq!(parse(&text).is_ok(), inside);
        }
    }
}
