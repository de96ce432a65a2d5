//! What an operator may name as a peer: `host`, `host:port`, an IPv4 address, `[IPv6]` or `[IPv6]:port`.

use std::net::{IpAddr, SocketAddr};

use tokio::net::lookup_host;

use crate::proxy::Proxy;

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(
        "`{0}` is not a peer: name a host or an address, with `:port` behind it if it is not the usual one; write IPv6 as [2001:db8::1]"
    )]
    Shape(String),
    #[error("cannot find the address of `{name}`: {reason}")]
    Unresolved { name: String, reason: String },
    #[error("`{0}` is this host itself: name another host")]
    Oneself(String),
}

/// Host and port of a target.
pub(crate) fn parse(target: &str, default_port: u16) -> Result<(String, u16), TargetError> {
    let bad = || TargetError::Shape(target.to_owned());
    if let Ok(address) = target.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(bad()) } else { Ok((address.ip().to_string(), address.port())) };
    }
    if let Some(inner) = target.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse::<IpAddr>().map(|ip| (ip.to_string(), default_port)).map_err(|_| bad());
    }
    let (host, port) = match target.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|p| *p > 0).ok_or_else(bad)?),
        None => (target, default_port),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let digits_only = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host.is_empty()
        || host.len() > 253
        || !host.chars().all(fits)
        || (digits_only && host.parse::<IpAddr>().is_err())
    {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

/// All addresses of a host, asked for anew each time: hosts move.
pub(crate) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
    let unresolved = |reason: String| TargetError::Unresolved { name: host.to_owned(), reason };
    let found: Vec<_> = lookup_host((host, port)).await.map_err(|e| unresolved(e.to_string()))?.collect();
    if found.is_empty() { Err(unresolved("no address".into())) } else { Ok(found) }
}

/// Refuses a target that does not resolve, or resolves to nothing but this router. A name that means nothing here may mean
/// something to the proxy.
pub(crate) async fn check(target: &str, own_port: u16, proxy: Option<&Proxy>) -> Result<(), TargetError> {
    let (host, port) = parse(target, own_port)?;
    let found = match addresses(&host, port).await {
        Err(_) if proxy.is_some_and(|proxy| proxy.towards(&host, port).is_some()) => return Ok(()),
        found => found?,
    };
    let own = host::addresses::own_addresses().await.unwrap_or_default();
    let is_own = |a: &SocketAddr| a.port() == own_port && (a.ip().is_loopback() || own.contains(&a.ip()));
    if found.iter().all(is_own) { Err(TargetError::Oneself(target.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_of_both_families_with_and_without_port() {
        for (text, host, port) in [
            ("host1", "host1", 6783),
            ("host-1.example.org:7000", "host-1.example.org", 7000),
            ("192.168.22.140", "192.168.22.140", 6783),
            ("192.168.22.140:1", "192.168.22.140", 1),
            ("[2001:db8::1]", "2001:db8::1", 6783),
            ("[2001:db8::1]:7000", "2001:db8::1", 7000),
        ] {
            assert_eq!(parse(text, 6783), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_text() {
        for text in [
            "",
            ":1",
            "host:",
            "host:0",
            "host:99999",
            "2001:db8::1",
            "[x]",
            "10.0.0.256",
            "10.0.0.1/24",
            "a b",
            "[::1]:x",
        ] {
            assert_eq!(parse(text, 6783), Err(TargetError::Shape(text.to_owned())));
        }
    }
}
