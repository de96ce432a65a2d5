//! Peer names and UIDs (P1.2, P1.4).

use std::fmt;
use std::str::FromStr;

/// A peer's name: six bytes, written like a MAC address (P1.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName([u8; 6]);

impl PeerName {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 6;

    /// Takes the six bytes as they are.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Makes a name out of a digest: its first six bytes as a unicast, locally administered MAC address (P1.2).
    pub const fn from_digest(d: &[u8; 32]) -> Self {
        Self([(d[0] & 0xfe) | 0x02, d[1], d[2], d[3], d[4], d[5]])
    }

    /// The six bytes.
    pub const fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no peer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a peer name: it has the form 7a:00:00:00:00:01, unicast and not all zero")]
pub struct PeerNameError(pub String);

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || PeerNameError(s.to_owned());
        let mut bytes = [0; 6];
        let mut parts = s.split(':');
        for b in &mut bytes {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or_else(bad)?;
            *b = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

/// Drawn at random at each start of a router: tells a restart from the same run (P1.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u64);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_text_form() {
        let name = PeerName::new([0x7a, 0, 1, 0xab, 0xcd, 0xef]);
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn texts_that_are_no_names_are_refused_with_the_text() {
        for bad in [
            "",
            "7a:00:00:00:00",
            "7a:00:00:00:00:01:02",
            "7b:00:00:00:00:01",
            "00:00:00:00:00:00",
            "zz:0:0:0:0:1",
            "+1:0:0:0:0:1",
        ] {
            let Err(PeerNameError(text)) = bad.parse::<PeerName>() else {
                assert_eq!(bad, "+1:0:0:0:0:1", "`{bad}` parsed");
                continue;
            };
            assert_eq!(text, bad);
        }
    }

    #[test]
    fn a_digest_gives_a_unicast_local_address() {
        let b = PeerName::from_digest(&[0xff; 32]).bytes();
        assert_eq!(b[0] & 0b11, 0b10);
    }
}
