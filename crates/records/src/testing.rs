//! What the tests of this crate share: frames, keys, and a sink that remembers.

use std::sync::{Arc, Mutex};

use packet::checksum::Sum;
use packet::{SuperFrame, VnetHdr};
use session::{KeyExchange, Opener, Role, Sealer};
use transport::{FrameSink, Outbox, TapFrame};
use wire::{Cipher, GroupHeader, Hops, PeerName};

/// Our index of the session of [`keys`].
pub(crate) const INDEX: u32 = 22;
/// Who sends.
pub(crate) const PEER: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);

/// One direction of the session with [`INDEX`].
pub(crate) fn keys() -> (Sealer, Opener) {
    keys_of(INDEX)
}

/// One direction of a session.
pub(crate) fn keys_of(index: u32) -> (Sealer, Opener) {
    let (a, b) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
    let (public_a, public_b) = (a.public_key().to_vec(), b.public_key().to_vec());
    let (sealer, _) = a.finish(&public_b, &[0; 32], Role::Dialler, 0, Cipher::Aes256Gcm, index).unwrap();
    let (_, opener) = b.finish(&public_a, &[0; 32], Role::Acceptor, 0, Cipher::Aes256Gcm, 11).unwrap();
    (sealer, opener)
}

pub(crate) fn group(sequence: u64) -> GroupHeader {
    GroupHeader { source: PeerName::new([2, 0, 0, 0, 0, 7]), run: 3, sequence }
}

/// A frame of an experimental EtherType (IEEE 802, 0x88b5).
pub(crate) fn plain(len: usize, seed: u8) -> (VnetHdr, Vec<u8>) {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    bytes.resize(len, seed);
    (VnetHdr::default(), bytes)
}

/// TCP over IPv4 that is to be cut every `gso_size` bytes.
pub(crate) fn tcp(payload: usize, gso_size: u16) -> (VnetHdr, Vec<u8>) {
    let total = (40 + payload) as u16;
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    b.extend(total.to_be_bytes());
    b.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend([0x30, 0x39, 0, 80, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    let mut pseudo = b[26..34].to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend((total - 20).to_be_bytes());
    let sum = Sum::of(&pseudo).fold();
    b[50..52].copy_from_slice(&sum.to_be_bytes());
    b.extend((0..payload).map(|i| (i / 251 + i) as u8));
    let hdr = VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type: VnetHdr::GSO_TCPV4,
        hdr_len: 54,
        gso_size,
        csum_start: 34,
        csum_offset: 16,
    };
    (hdr, b)
}

/// The ordinary frames that a super-frame stands for.
pub(crate) fn segments(frame: &SuperFrame<'_>) -> Vec<Vec<u8>> {
    let segment = |i| {
        let mut bytes = Vec::new();
        frame.segment_into(i, &mut bytes).unwrap();
        bytes
    };
    (0..frame.segments()).map(segment).collect()
}

/// What a sink was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Frame(Vec<Vec<u8>>),
    Group(GroupHeader, Vec<Vec<u8>>),
    Relay(Vec<u8>, Vec<u8>),
}

#[derive(Default)]
pub(crate) struct Sink(Mutex<Vec<Given>>);

impl Sink {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn take(&self) -> Vec<Given> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl FrameSink for Sink {
    fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
        assert_eq!(peer, PEER);
        self.0.lock().unwrap().push(Given::Frame(segments(frame.frame())));
    }

    fn take_group(&self, from: PeerName, group: &GroupHeader, frame: TapFrame<'_>, _: &mut Outbox) -> bool {
        assert_eq!(from, PEER);
        self.0.lock().unwrap().push(Given::Group(*group, segments(frame.frame())));
        false
    }

    fn relay(&self, from: PeerName, hops: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
        assert_eq!(from, PEER);
        self.0.lock().unwrap().push(Given::Relay(hops.bytes().to_vec(), record.to_vec()));
    }
}
