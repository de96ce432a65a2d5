//! Why a link is refused or closed (P2.9).

use std::fmt;

/// The code of P2.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum RefuseCode {
    /// No common protocol version.
    Version = 1,
    /// One end has a password and the other none.
    PasswordMissing = 2,
    /// No password of the one is a password of the other.
    PasswordWrong = 3,
    /// The dialler reached itself.
    Oneself = 4,
    /// The name is known with another key.
    NameCollision = 5,
    /// The same identity is connected from elsewhere.
    IdentityInUse = 6,
    /// A link between the two exists already.
    Duplicate = 7,
    /// A message was not understood.
    NotUnderstood = 8,
    /// The connection limit is reached.
    LimitReached = 9,
    /// The router stops.
    ShuttingDown = 10,
    /// Not the peer that was remembered or expected at this address.
    WrongPeer = 11,
    /// Nothing arrived for too long.
    Silent = 12,
    /// Other links reach this peer (P8.3).
    NotNeeded = 13,
}

impl RefuseCode {
    /// The code with this number, if it is one of ours.
    pub const fn from_u16(n: u16) -> Option<Self> {
        Some(match n {
            1 => Self::Version,
            2 => Self::PasswordMissing,
            3 => Self::PasswordWrong,
            4 => Self::Oneself,
            5 => Self::NameCollision,
            6 => Self::IdentityInUse,
            7 => Self::Duplicate,
            8 => Self::NotUnderstood,
            9 => Self::LimitReached,
            10 => Self::ShuttingDown,
            11 => Self::WrongPeer,
            12 => Self::Silent,
            13 => Self::NotNeeded,
            _ => return None,
        })
    }

    /// Whether dialling again is of no use until something changes on one of the hosts.
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::IdentityInUse
                | Self::Duplicate
                | Self::LimitReached
                | Self::ShuttingDown
                | Self::Silent
                | Self::NotNeeded
        )
    }
}

/// A refusal as it travels: the number, kept also when it is unknown here, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// The number of P2.9.
    pub code: u16,
    /// Written for the person at the other end. Not longer than 512 bytes.
    pub text: String,
}

impl Refuse {
    /// A refusal with one of our codes.
    pub fn new(code: RefuseCode, text: impl Into<String>) -> Self {
        Self { code: code as u16, text: text.into() }
    }

    /// The code, if this program knows it.
    pub const fn known(&self) -> Option<RefuseCode> {
        RefuseCode::from_u16(self.code)
    }
}

impl fmt::Display for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text comes from the network: keep control characters off people's terminals.
        for c in self.text.chars().filter(|c| !c.is_control()).take(512) {
            fmt::Write::write_char(f, c)?;
        }
        Ok(())
    }
}
