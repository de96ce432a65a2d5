//! Where the operator says that this host is to be reached: [`AdvertisedAddr`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address for others, with or without a port: `203.0.113.7`, `203.0.113.7:443`, `2001:db8::1`, `[2001:db8::1]:443`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdvertisedAddr {
    ip: IpAddr,
    port: Option<u16>,
}

/// Why a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address that others can reach is needed, as in 203.0.113.7, 203.0.113.7:443 or [2001:db8::1]:443"
)]
pub struct AdvertisedAddrError;

impl AdvertisedAddr {
    /// The address, with this port where it has none.
    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for AdvertisedAddr {
    type Err = AdvertisedAddrError;

    fn from_str(text: &str) -> Result<Self, AdvertisedAddrError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let (ip, port) = match (bare.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
            (Ok(ip), _) => (ip, None),
            (_, Ok(address)) => (address.ip(), Some(address.port())),
            _ => return Err(AdvertisedAddrError),
        };
        if ip.is_unspecified() || ip.is_multicast() || port == Some(0) {
            return Err(AdvertisedAddrError);
        }
        Ok(Self { ip, port })
    }
}

impl fmt::Display for AdvertisedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_a_port_comes_back_as_it_was_given() {
        for (text, address) in [
            ("203.0.113.7", "203.0.113.7:6783"),
            ("203.0.113.7:443", "203.0.113.7:443"),
            ("2001:db8::1", "[2001:db8::1]:6783"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            let given: AdvertisedAddr = text.parse().unwrap();
            assert_eq!(given.with_port(6783), address.parse().unwrap());
            assert_eq!(given.to_string(), text);
        }
        assert_eq!("[2001:db8::1]".parse::<AdvertisedAddr>(), "2001:db8::1".parse());
    }

    #[test]
    fn what_nobody_can_reach_is_refused() {
        for text in [
            "",
            "host",
            "0.0.0.0",
            "[::]:443",
            "203.0.113.7:0",
            "224.0.0.1",
            "203.0.113.7:",
            "[203.0.113.7",
            "1.2.3",
        ] {
            assert_eq!(text.parse::<AdvertisedAddr>(), Err(AdvertisedAddrError), "{text}");
        }
    }
}
