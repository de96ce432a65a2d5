//! The first 20 bytes of a link in each direction (P2.3, P2.4). Their layout holds for all versions.

use crate::Uid;

/// The highest protocol version this program speaks.
pub const VERSION: u8 = 1;
/// The lowest one.
pub const VERSION_MIN: u8 = 1;
/// Length of a prelude in bytes.
pub const PRELUDE_LEN: usize = 20;

const MAGIC: [u8; 4] = *b"WEAV";
/// Most passwords a peer can have at once (P3.1).
const MAX_PASSWORDS: u8 = 4;

/// What each end says before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prelude {
    /// Lowest version spoken.
    pub version_min: u8,
    /// Highest version spoken.
    pub version_max: u8,
    /// How many passwords the sender would accept, 0 to 4.
    pub passwords: u8,
    /// The sender's run (P1.4).
    pub uid: Uid,
    /// Random; breaks ties between two links (P2.10).
    pub nonce: u32,
}

/// Why 20 bytes are no prelude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreludeError {
    /// Something else than a router listens there.
    #[error("the other end does not speak this protocol")]
    Magic,
    /// Version range upside down or more than four passwords.
    #[error("the other end sent a prelude that makes no sense")]
    Values,
}

impl Prelude {
    /// The bytes of P2.3.
    pub fn encode(&self) -> [u8; PRELUDE_LEN] {
        let mut b = [0; PRELUDE_LEN];
        b[..4].copy_from_slice(&MAGIC);
        b[4] = self.version_min;
        b[5] = self.version_max;
        b[6] = self.passwords;
        b[8..16].copy_from_slice(&self.uid.0.to_be_bytes());
        b[16..].copy_from_slice(&self.nonce.to_be_bytes());
        b
    }

    /// Reads the bytes of P2.3.
    ///
    /// # Errors
    /// When the magic is another or a value is out of range.
    pub fn decode(b: &[u8; PRELUDE_LEN]) -> Result<Self, PreludeError> {
        if b[..4] != MAGIC {
            return Err(PreludeError::Magic);
        }
        if b[4] > b[5] || b[6] > MAX_PASSWORDS {
            return Err(PreludeError::Values);
        }
        let [.., u0, u1, u2, u3, u4, u5, u6, u7, n0, n1, n2, n3] = *b;
        Ok(Self {
            version_min: b[4],
            version_max: b[5],
            passwords: b[6],
            uid: Uid(u64::from_be_bytes([u0, u1, u2, u3, u4, u5, u6, u7])),
            nonce: u32::from_be_bytes([n0, n1, n2, n3]),
        })
    }
}

/// The version two peers will speak, if they share one (P2.4).
pub fn common_version(a: &Prelude, b: &Prelude) -> Option<u8> {
    let highest = a.version_max.min(b.version_max);
    (highest >= a.version_min.max(b.version_min)).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prelude(version_min: u8, version_max: u8) -> Prelude {
        Prelude {
            version_min,
            version_max,
            passwords: 2,
            uid: Uid(0x0102_0304_0506_0708),
            nonce: 0xa0b0_c0d0,
        }
    }

    #[test]
    fn the_layout_is_the_one_of_p2_3() {
        let b = prelude(1, 3).encode();
        assert_eq!(b, *b"WEAV\x01\x03\x02\x00\x01\x02\x03\x04\x05\x06\x07\x08\xa0\xb0\xc0\xd0");
        assert_eq!(Prelude::decode(&b), Ok(prelude(1, 3)));
    }

    #[test]
    fn strangers_and_nonsense_are_told_apart() {
        let mut b = prelude(1, 1).encode();
        b[0] = b'H';
        assert_eq!(Prelude::decode(&b), Err(PreludeError::Magic));
        assert_eq!(Prelude::decode(&prelude(3, 1).encode()), Err(PreludeError::Values));
    }

    #[test]
    fn the_highest_version_both_speak_wins() {
        assert_eq!(common_version(&prelude(1, 3), &prelude(2, 5)), Some(3));
        assert_eq!(common_version(&prelude(1, 1), &prelude(2, 5)), None);
    }
}
