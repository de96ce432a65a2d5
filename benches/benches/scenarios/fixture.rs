//! Frames and sessions to measure with. Frames live as long as the program, so that scenarios can own views of them.

use packet::checksum::Sum;
use packet::{Mac, SuperFrame, VnetHdr};
use session::{KeyExchange, Opener, Role, Sealer};
use wire::{Cipher, Payload};

/// TCP payload of the super-frame, in bytes.
pub(super) const PAYLOAD: usize = 64_000;
/// Payload bytes of each of its segments: what fits a path with an MTU of 1500.
pub(super) const GSO_SIZE: u16 = 1336;
/// Segments of the super-frame.
pub(super) const SEGMENTS: usize = PAYLOAD.div_ceil(GSO_SIZE as usize);
/// Ethernet, IPv4 and TCP headers without options.
pub(super) const HEADERS: usize = 54;
/// Ordinary frames handled in one run: a full batch from the TAP.
pub(super) const BATCH: usize = 64;

/// The frame that a container's kernel hands to a TAP for 64 000 bytes of a TCP stream.
pub(super) fn super_frame() -> SuperFrame<'static> {
    let hdr = VnetHdr {
        gso_type: VnetHdr::GSO_TCPV4,
        gso_size: GSO_SIZE,
        hdr_len: HEADERS as u16,
        ..partial_checksum()
    };
    checked(hdr, tcp(HEADERS + PAYLOAD))
}

/// An ordinary frame of `len` bytes, its checksum still open.
pub(super) fn ordinary(len: usize) -> SuperFrame<'static> {
    checked(partial_checksum(), tcp(len))
}

/// A frame that is nothing but addresses and some payload.
pub(super) fn between(dst: Mac, src: Mac) -> SuperFrame<'static> {
    let mut bytes = tcp(60);
    bytes[..6].copy_from_slice(&dst.bytes());
    bytes[6..12].copy_from_slice(&src.bytes());
    checked(VnetHdr::default(), bytes)
}

/// The two ends of one direction of a session.
pub(super) fn session(cipher: Cipher) -> (Sealer, Opener) {
    let (a, b) = (KeyExchange::new().expect("randomness"), KeyExchange::new().expect("randomness"));
    let (public_a, public_b) = (a.public_key().to_vec(), b.public_key().to_vec());
    let (sealer, _) = a.finish(&public_b, &[0; 32], Role::Dialler, 0, cipher, 1).expect("keys");
    let (_, opener) = b.finish(&public_a, &[0; 32], Role::Acceptor, 0, cipher, 2).expect("keys");
    (sealer, opener)
}

/// Appends the record of one ordinary frame.
pub(super) fn seal_ordinary(sealer: &Sealer, frame: &SuperFrame<'_>, out: &mut Vec<u8>) -> usize {
    let hdr = frame.hdr();
    let header = Payload::frame_header(hdr.flags, hdr.csum_start, hdr.csum_offset);
    usize::from(sealer.seal(&[&header, frame.frame()], out).is_ok())
}

/// Appends the records of all slices; gives back how many there are.
pub(super) fn seal_slices(sealer: &Sealer, frame: &SuperFrame<'_>, out: &mut Vec<u8>) -> usize {
    let mut records = 0;
    for train in frame.trains(0).into_iter().flatten() {
        for slice in train.slices(7) {
            let parts = [&Payload::slice_header(&slice.meta)[..], train.headers(), slice.payload];
            records += usize::from(sealer.seal(&parts, out).is_ok());
        }
    }
    records
}

fn checked(hdr: VnetHdr, bytes: Vec<u8>) -> SuperFrame<'static> {
    SuperFrame::checked(hdr, bytes.leak()).expect("a frame that fits its header")
}

fn partial_checksum() -> VnetHdr {
    VnetHdr { flags: VnetHdr::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..VnetHdr::default() }
}

/// Ethernet, IPv4 and TCP, `len` bytes in all.
fn tcp(len: usize) -> Vec<u8> {
    let total = (len - 14) as u16;
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0];
    b.extend_from_slice(&total.to_be_bytes());
    b.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    b.resize(len, 0x5a);
    b
}
