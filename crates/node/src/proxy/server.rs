//! [`HttpProxy`]: where a proxy is and what it wants to hear, out of `http://[user[:password]@]host[:port]`.

use std::fmt;
use std::fmt::Write as _;

use crate::target;

/// The port of `http` (RFC 9110 section 4.2.1).
const PORT: u16 = 80;
/// Longest user or password, in bytes.
const LONGEST: usize = 1024;

/// An HTTP proxy. Shown without its user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// User and password as RFC 7617 wants them: joined by a colon, in base64.
    pub(super) login: Option<String>,
}

/// Why a text names no proxy. The text is repeated without user and password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// SOCKS, or TLS to the proxy.
    #[error("`{0}` is a proxy of another kind: only http://[user:password@]host:port is spoken")]
    Scheme(String),
    /// No host, or none that can be.
    #[error("`{0}` names no proxy: write http://[user:password@]host:port")]
    Shape(String),
    /// Percent-encoding, or a colon in the user (RFC 7617 section 2).
    #[error(
        "the user or password for the proxy `{0}` cannot be: write other characters than letters and digits as %40, and no colon in the user"
    )]
    Login(String),
}

impl HttpProxy {
    /// Takes the text of an option or of `https_proxy` apart.
    ///
    /// # Errors
    /// When it names no HTTP proxy.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ProxyError::Scheme(format!("{scheme}://{place}")));
        }
        let (host, port) =
            target::parse(place, PORT).map_err(|_| ProxyError::Shape(format!("http://{place}")))?;
        let login = match login {
            Some(login) => Some(encode(login).ok_or_else(|| ProxyError::Login(format!("http://{place}")))?),
            None => None,
        };
        Ok(Self { host, port, login })
    }
}

impl HttpProxy {
    /// `HOST:PORT`.
    pub(crate) fn place(&self) -> String {
        authority(&self.host, self.port)
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.place())
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Host and port as they stand in a URL: an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `user:password`, each percent-encoded, to what follows `Basic` (RFC 7617 section 2).
fn encode(login: &str) -> Option<String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (user, password) = (percent_decode(user)?, percent_decode(password)?);
    let fits = |text: &[u8]| text.len() <= LONGEST && !text.iter().any(u8::is_ascii_control);
    let good = !user.is_empty() && fits(&user) && fits(&password) && !user.contains(&b':');
    good.then(|| base64(&[&user[..], b":", &password].concat()))
}

/// RFC 3986 section 2.1.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: [char; 64] = {
        let text = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut alphabet = ['='; 64];
        let mut i = 0;
        while i < alphabet.len() {
            alphabet[i] = text[i] as char;
            i += 1;
        }
        alphabet
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            // Writing to a string cannot fail.
            let _ = out.write_char(if place <= group.len() { ALPHABET[sextet] } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(host: &str, port: u16, login: Option<&str>) -> HttpProxy {
        HttpProxy { host: host.into(), port, login: login.map(Into::into) }
    }

    #[test]
    fn urls_with_and_without_their_parts() {
        for (text, expected) in [
            ("http://proxy:3128", proxy("proxy", 3128, None)),
            ("HTTP://proxy.example.org:3128/", proxy("proxy.example.org", 3128, None)),
            ("proxy:3128", proxy("proxy", 3128, None)),
            ("http://proxy", proxy("proxy", 80, None)),
            ("http://[2001:db8::1]:3128", proxy("2001:db8::1", 3128, None)),
            // The example of RFC 7617 section 2.
            (
                "http://Aladdin:open%20sesame@198.18.0.1:8080",
                proxy("198.18.0.1", 8080, Some("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ),
            ("http://user@proxy:1", proxy("proxy", 1, Some("dXNlcjo="))),
            ("http://us%40er:p@ss%3a%25@proxy:1", proxy("proxy", 1, Some("dXNAZXI6cEBzczol"))),
        ] {
            assert_eq!(HttpProxy::parse(text).as_ref(), Ok(&expected), "{text}");
            assert_eq!(HttpProxy::parse(text).unwrap().login, expected.login);
        }
    }

    #[test]
    fn anything_else_is_refused_without_repeating_the_password() {
        for text in [
            "",
            "http://",
            "http://u:hunter2@",
            "http://u:hunter2@:3128",
            "http://u:hunter2@proxy:0",
            "http://u:hunter2@proxy/path",
            "http://u:hunter2@2001:db8::1",
            "socks5://u:hunter2@proxy:1080",
            "https://u:hunter2@proxy:443",
            "http://u:hunter2%4@proxy:1",
            "http://u:hunter2%zz@proxy:1",
            "http://u%3ax:hunter2@proxy:1",
            "http://:hunter2@proxy:1",
            "http://u:hunter2%0d%0a@proxy:1",
        ] {
            let error = HttpProxy::parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2") && error.contains("http://"), "{error}");
        }
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let proxy = HttpProxy::parse("http://user:hunter2@[::1]:3128").unwrap();
        assert_eq!(proxy.to_string(), "http://[::1]:3128");
        assert_eq!(format!("{proxy:?}"), "http://[::1]:3128");
    }

    #[test]
    fn base64_fills_the_last_group() {
        // RFC 4648 section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", login in "[a-z%:@0-9]{0,20}") {
            let _ = HttpProxy::parse(&text);
            let _ = HttpProxy::parse(&format!("http://{login}@proxy:1"));
        }
    }
}
