//! What one super-frame and one ordinary frame cost in user space, step by step. Run by `cargo bench -p benches`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use packet::checksum::Sum;
use packet::{Joiner, SliceMeta, SuperFrame, VnetHdr};
use router::{MacTable, Place, decide_local};
use session::{KeyExchange, Opener, Role, Sealer};
use wire::{Cipher, Payload, PeerName, RecordHeader};

const PAYLOAD: usize = 64_000;
const GSO_SIZE: u16 = 1336;

fn main() {
    divan::main();
}

/// The gate every frame passes.
#[divan::bench]
fn check_super_frame(bencher: Bencher<'_, '_>) {
    let (hdr, bytes) = super_frame();
    bencher.bench_local(|| SuperFrame::checked(black_box(hdr), black_box(&bytes)).is_ok());
}

/// Cutting 64 000 bytes into slices and sealing each.
#[divan::bench(args = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305])]
fn cut_and_seal(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let (hdr, bytes) = super_frame();
    let (sealer, _) = session(cipher);
    let mut out = Vec::with_capacity(80 * 1024);
    bencher.counter(BytesCount::new(PAYLOAD)).bench_local(|| {
        out.clear();
        seal(&sealer, hdr, &bytes, &mut out);
        black_box(out.len())
    });
}

/// Opening the records of 64 000 bytes and joining them into one frame.
#[divan::bench(args = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305])]
fn open_and_join(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let (hdr, bytes) = super_frame();
    let mut joiner = Joiner::new();
    let record = 13 + 12 + 54 + usize::from(GSO_SIZE) + 16;
    bencher
        .counter(BytesCount::new(PAYLOAD))
        .with_inputs(|| {
            let (sealer, opener) = session(cipher);
            let mut sealed = Vec::new();
            seal(&sealer, hdr, &bytes, &mut sealed);
            (opener, sealed)
        })
        .bench_local_refs(|(opener, sealed)| {
            let mut frames = 0;
            for datagram in sealed.chunks_mut(record) {
                let Ok(header) = RecordHeader::decode(datagram) else { continue };
                if let Ok(payload) = opener.open(&header, datagram)
                    && let Ok(Payload::Slice { meta, headers, payload }) = Payload::decode(payload)
                {
                    let _ = joiner.push(&meta, headers, payload, &mut |frame| frames += frame.len());
                }
            }
            black_box(frames)
        });
}

/// The decision on one frame, with 1 and with 10 000 addresses in the table.
#[divan::bench(args = [1, 10_000])]
fn decide(bencher: Bencher<'_, '_>, addresses: u32) {
    let mut table = MacTable::default();
    let peer = PeerName::new([2, 0, 0, 0, 0, 1]);
    for n in 0..addresses {
        let [a, b, c, d] = n.to_be_bytes();
        table.learn(
            packet::Mac([2, 0, a, b, c, d]),
            if n % 2 == 0 { Place::Local } else { Place::Peer(peer) },
            0,
        );
    }
    let fib = table.snapshot(Vec::new());
    let (_, frame) = super_frame();
    bencher.bench_local(|| decide_local(black_box(&fib), black_box(&frame), 1));
}

fn seal(sealer: &Sealer, hdr: VnetHdr, bytes: &[u8], out: &mut Vec<u8>) {
    let Ok(frame) = SuperFrame::checked(hdr, bytes) else { return };
    for train in frame.trains().into_iter().flatten() {
        for slice in train.slices(7) {
            let meta: SliceMeta = slice.meta;
            let _ = sealer.seal(&[&Payload::slice_header(&meta), train.headers(), slice.payload], out);
        }
    }
}

fn session(cipher: Cipher) -> (Sealer, Opener) {
    let (Ok(a), Ok(b)) = (KeyExchange::new(), KeyExchange::new()) else { panic!("no randomness") };
    let (pa, pb) = (a.public_key().to_vec(), b.public_key().to_vec());
    let (Ok((sealer, _)), Ok((_, opener))) = (
        a.finish(&pb, &[0; 32], Role::Dialler, 0, cipher, 1),
        b.finish(&pa, &[0; 32], Role::Acceptor, 0, cipher, 2),
    ) else {
        panic!("no keys")
    };
    (sealer, opener)
}

/// IPv4 and TCP with a partial checksum, as a kernel hands it to a TAP.
fn super_frame() -> (VnetHdr, Vec<u8>) {
    let total = (40 + PAYLOAD) as u16;
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0];
    b.extend_from_slice(&total.to_be_bytes());
    b.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = Sum::of(&b[14..34]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    b.extend_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    b.resize(54 + PAYLOAD, 0x5a);
    (VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: GSO_SIZE, csum_start: 34, csum_offset: 16 }, b)
}
