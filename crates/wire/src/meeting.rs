//! How two peers agree to connect to each other at the same moment (P6.6), or to guess ports (P6.7).
//!
//! Signing and verifying need the identity's key and live in `mesh`; here is the layout.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::ParcelError;
use crate::cbor::cbor;
use crate::parcel::{SIGNATURE, addresses_cbor, signed};

/// What a [`MeetingShare`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeetingStep {
    /// Asks for a meeting, and tells where the sender will come from.
    Call = 1,
    /// Agrees to it, and tells the same.
    Answer = 2,
    /// Connect now.
    Go = 3,
    /// Asks the other end to guess ports (P6.7), and tells where the sender is seen.
    CallGuess = 4,
    /// Agrees to it, and tells the same.
    AnswerGuess = 5,
    /// Ports are open: guess now.
    GoGuess = 6,
    /// Does not guess.
    RefuseGuess = 7,
}

/// One step towards a connection that both ends open (P6.6).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MeetingShare {
    /// The sender's incarnation (P1.5).
    #[n(0)]
    pub incarnation: u64,
    /// Grows with each share and each update of one incarnation.
    #[n(1)]
    pub counter: u64,
    /// Number of a [`MeetingStep`].
    #[n(2)]
    pub step: u8,
    /// The meeting: chosen by who calls.
    #[n(3)]
    pub number: u32,
    /// The outer addresses of the ports that the sender will connect from. What is no address is passed over.
    #[n(4)]
    #[cbor(with = "addresses_cbor", has_nil)]
    pub addresses: Vec<SocketAddr>,
}

impl MeetingShare {
    /// Newer ones of the same source have a greater version.
    pub const fn version(&self) -> (u64, u64) {
        (self.incarnation, self.counter)
    }

    /// What it is for; `None` if that is not known here.
    pub const fn step(&self) -> Option<MeetingStep> {
        match self.step {
            1 => Some(MeetingStep::Call),
            2 => Some(MeetingStep::Answer),
            3 => Some(MeetingStep::Go),
            4 => Some(MeetingStep::CallGuess),
            5 => Some(MeetingStep::AnswerGuess),
            6 => Some(MeetingStep::GoGuess),
            7 => Some(MeetingStep::RefuseGuess),
            _ => None,
        }
    }

    /// The bytes that the signature covers, besides what says whose they are.
    pub fn encode(&self) -> Vec<u8> {
        cbor(self)
    }

    /// Reads a body: the share, its encoding as it came, and the signature, not verified yet.
    ///
    /// # Errors
    /// When the body is too short or its CBOR is not of this shape.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8], &[u8; SIGNATURE]), ParcelError> {
        signed(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_ADDRESSES;
    use proptest::prelude::*;

    fn body(share: &MeetingShare) -> Vec<u8> {
        [&share.encode()[..], &[5; SIGNATURE]].concat()
    }

    #[test]
    fn a_share_is_a_map_of_small_keys() {
        let share = MeetingShare { incarnation: 1, counter: 2, step: 3, number: 4, addresses: Vec::new() };
        assert_eq!(share.encode(), [0xa4, 0, 1, 1, 2, 2, 3, 3, 4]);
        assert_eq!(share.step(), Some(MeetingStep::Go));
        assert_eq!(MeetingShare { step: 8, ..share }.step(), None, "of a later version");
    }

    proptest! {
        #[test]
        fn every_share_survives_the_wire(
            numbers: (u64, u64, u8, u32),
            addresses in proptest::collection::vec(any::<SocketAddr>().prop_map(plain), 0..=MAX_ADDRESSES),
        ) {
            let (incarnation, counter, step, number) = numbers;
            let share = MeetingShare { incarnation, counter, step, number, addresses };
            let body = body(&share);
            prop_assert_eq!(MeetingShare::decode(&body).map(|(s, ..)| s), Ok(share));
        }

        #[test]
        fn arbitrary_bytes_never_panic(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MeetingShare::decode(&b);
        }
    }

    /// Without the flow label and scope that no address text keeps.
    fn plain(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip(), address.port())
    }
}
