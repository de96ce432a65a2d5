//! MAC addresses.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Length in a frame, in bytes.
    pub const LEN: usize = 6;

    /// Everyone on the network.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The six bytes.
    #[inline]
    pub const fn bytes(&self) -> [u8; 6] {
        self.0
    }

    /// Whether it addresses a group: multicast, and broadcast with it. No station may send from such an address.
    #[inline]
    pub const fn is_multicast(&self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether it addresses everyone.
    #[inline]
    pub const fn is_broadcast(&self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }

    /// Whether it is one of 01:80:c2:00:00:00 to 0f, which a bridge never forwards (IEEE 802.1D table 7-10): spanning
    /// tree, pause frames, LLDP and the like concern one cable only.
    #[inline]
    pub const fn is_link_local_group(&self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }
}

impl From<[u8; 6]> for Mac {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: it takes six pairs of hexadecimal digits, as in 7a:00:00:00:00:01")]
pub struct MacError(pub String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| MacError(text.to_owned()))
    }
}

/// Six pairs of digits between colons. Checked digit by digit, because `from_str_radix` also takes a sign.
fn parse(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let &[high, low] = parts.next()?.as_bytes() else { return None };
        *byte = (digit(high)? << 4) | digit(low)?;
    }
    parts.next().is_none().then_some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    match ascii {
        b'0'..=b'9' => Some(ascii - b'0'),
        b'a'..=b'f' => Some(ascii - b'a' + 10),
        b'A'..=b'F' => Some(ascii - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_survives_its_text_form(bytes: [u8; 6]) {
            let mac = Mac::from(bytes);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(mac.to_string().to_uppercase().parse(), Ok(mac));
            prop_assert_eq!(mac.bytes(), bytes);
        }

        #[test]
        fn any_text_is_parsed_or_refused_with_itself(text in "[0-9a-g:+ ]{0,20}") {
            match text.parse::<Mac>() {
                Ok(mac) => prop_assert_eq!(mac.to_string(), text),
                Err(MacError(refused)) => prop_assert_eq!(refused, text),
            }
        }
    }

    #[test]
    fn texts_that_are_no_addresses_are_refused() {
        for bad in [
            "",
            "7a:00:00:00:00",
            "7a:00:00:00:00:01:",
            "7a:00:00:00:00:01:02",
            "7a:0:0:0:0:1",
            "+a:00:00:00:00:01",
            "7a-00-00-00-00-01",
            "7a:00:00:00:00:0é",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError(bad.to_owned())));
        }
    }

    #[test]
    fn groups_are_told_from_stations() {
        let mac = |text: &str| text.parse::<Mac>().unwrap();
        assert!(Mac::BROADCAST.is_broadcast() && Mac::BROADCAST.is_multicast());
        assert!(mac("33:33:00:00:00:01").is_multicast());
        assert!(!mac("33:33:00:00:00:01").is_broadcast());
        assert!(!mac("02:00:00:00:00:01").is_multicast());
        assert!(!mac("fe:ff:ff:ff:ff:ff").is_multicast());
    }

    #[test]
    fn only_the_sixteen_bridge_addresses_stay_on_their_cable() {
        let mac = |text: &str| text.parse::<Mac>().unwrap();
        assert!(mac("01:80:c2:00:00:00").is_link_local_group());
        assert!(mac("01:80:c2:00:00:0f").is_link_local_group());
        assert!(!mac("01:80:c2:00:00:10").is_link_local_group());
        assert!(!mac("01:80:c2:00:01:00").is_link_local_group());
        assert!(!Mac::BROADCAST.is_link_local_group());
    }
}
