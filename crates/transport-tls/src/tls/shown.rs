//! [`Shown`]: what a TLS handshake shows in the clear, for networks that let only some of it through.

use rustls::pki_types::DnsName;

/// Most protocols in an ALPN list: no client offers more than a few.
const MOST_PROTOCOLS: usize = 8;

/// What the dialling side shows to those who watch: the server name (RFC 6066 section 3) and the application protocols
/// (RFC 7301). By default no name, and `weave`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub(super) server_name: Option<DnsName<'static>>,
    pub(super) alpn: Vec<String>,
}

/// Why something cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShownError {
    /// RFC 6066 section 3: a name of DNS, and no address.
    #[error("`{0}` is no server name: write a DNS name, as in www.example.org")]
    ServerName(String),
    /// RFC 7301 section 3.1: 1 to 255 bytes.
    #[error("`{0}` is no list of protocols: write their names with commas between them, as in h2,http/1.1")]
    Alpn(String),
}

impl Shown {
    /// Sends this server name.
    ///
    /// # Errors
    /// When it is none.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, ShownError> {
        let bad = || ShownError::ServerName(name.to_owned());
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(bad());
        }
        self.server_name = Some(DnsName::try_from(name.to_owned()).map_err(|_| bad())?);
        Ok(self)
    }

    /// Offers these application protocols instead of `weave`, separated by commas.
    ///
    /// # Errors
    /// When one of them is empty, too long or not printable, or there are too many.
    pub fn with_alpn(mut self, list: &str) -> Result<Self, ShownError> {
        let alpn: Vec<_> = list.split(',').map(|name| name.trim().to_owned()).collect();
        let is_name =
            |name: &String| (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if alpn.len() > MOST_PROTOCOLS || !alpn.iter().all(is_name) {
            return Err(ShownError::Alpn(list.to_owned()));
        }
        self.alpn = alpn;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dns_are_sent_and_nothing_else() {
        for name in ["example.org", "a", "xn--bcher-kva.example"] {
            assert!(Shown::default().with_server_name(name).is_ok(), "{name}");
        }
        for name in ["", "198.18.0.1", "::1", "a b", "-a.example", "bücher.example", "a..b"] {
            let error = Shown::default().with_server_name(name).unwrap_err();
            assert_eq!(error, ShownError::ServerName(name.to_owned()));
        }
    }

    #[test]
    fn protocols_are_names_between_commas() {
        let shown = Shown::default().with_alpn("h2, http/1.1").unwrap();
        assert_eq!(shown.alpn, ["h2", "http/1.1"]);
        let long = "x".repeat(256);
        for list in ["", ",", "h2,", "a b", "h2,\u{7f}", long.as_str(), "1,2,3,4,5,6,7,8,9"] {
            assert!(Shown::default().with_alpn(list).is_err(), "{list}");
        }
    }
}
