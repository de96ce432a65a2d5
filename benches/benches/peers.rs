//! What one TAP reader costs that serves many peers at once, beside the same frames for one peer: processor time per byte, over
//! real sockets. Run by `cargo bench -p benches --bench peers`.
//!
//! The frames are mixed, small and large, and go to the peers in an order without order, which is the worst case: nearly every frame
//! has another destination than the one before.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark: it prints, and what is unexpected ends it"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use benches::stats::median;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use packet::{Mac, SuperFrame, VnetHdr};
use router::{Forwarder, MacTable, PeerEntry, PeerPaths, Place, TapWriter};
use session::{KeyExchange, Role, Sealer};
use transport::{Drop, FramePath as _, Outbox, RecordSink, TapFrame};
use transport_udp::{Socket, UdpPath};
use wire::{Cipher, PeerName};

const OWN: PeerName = PeerName::new([2, 0, 0, 0, 2, 0]);
const PEERS: [u32; 4] = [1, 5, 20, 50];
/// Frames of one batch, as the TAP's reader makes them.
const BATCH: usize = 64;
const ROUNDS: usize = 6;
const BATCHES: usize = 400;
/// Of 16 frames: one of 45 segments, five of full size, ten small ones (acknowledgements, queries).
const SIZES: [usize; 16] = [45 * 1310, 60, 1300, 60, 60, 1300, 60, 60, 1300, 60, 60, 1300, 60, 60, 1300, 60];

fn main() {
    // cargo passes flags of its own.
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sink = sink.local_addr().unwrap();
    let mut rows: Vec<(u32, Vec<f64>)> = PEERS.iter().map(|n| (*n, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (peers, costs) in &mut rows {
            costs.push(cost(*peers, sink));
        }
    }
    let one = median(&rows[0].1).unwrap();
    println!(
        "processor time of the sending thread, user and system, median of {ROUNDS} rounds of {} frames",
        BATCHES * BATCH
    );
    println!("{:>6}  {:>12}  {:>8}", "peers", "ns per KB", "to one");
    for (peers, costs) in &rows {
        let cost = median(costs).unwrap();
        println!("{peers:>6}  {cost:>12.0}  {:>8.2}", cost / one);
    }
}

/// Nanoseconds of processor time for a thousand bytes.
fn cost(peers: u32, sink: SocketAddr) -> f64 {
    let socket = Arc::new(Socket::bind(Some(sink.ip()), 0).unwrap());
    let mut table = MacTable::default();
    let entries = (0..peers).map(|n| {
        let name = PeerName::new([2, 0, 0, 0, 1, n as u8]);
        table.learn(mac(n), Place::Peer(name), 0);
        let path = Arc::new(UdpPath::new(Arc::clone(&socket), Arc::new(sealer()), sink, 1390));
        (
            path.clone(),
            PeerEntry { name, paths: PeerPaths { primary: Some(path), fallback: None }, hop: None },
        )
    });
    let (paths, entries): (Vec<_>, Vec<_>) = entries.unzip();
    let forwarder = Forwarder::new(OWN, 1, Arc::new(NoSessions), Box::new(|_| ()), Box::new(NoTap));
    table.learn(Mac([2, 0, 0, 0, 0, 1]), Place::Local, 0);
    forwarder.publish(table.snapshot(OWN, entries, Vec::new()));

    let frames: Vec<_> = (0..peers).flat_map(|peer| SIZES.map(|len| frame(mac(peer), len))).collect();
    let mut outbox = Outbox::new();
    let mut seed = 1u64;
    let mut bytes = 0;
    let before = cpu_time();
    for _ in 0..BATCHES {
        let mut outgoing = forwarder.outgoing(&mut outbox);
        for i in 0..BATCH {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let peer = (seed >> 33) as usize % peers as usize;
            let (hdr, bytes_of) = &frames[peer * SIZES.len() + i % SIZES.len()];
            outgoing.forward(&SuperFrame::checked(*hdr, bytes_of).unwrap());
            bytes += bytes_of.len();
        }
    }
    let spent = cpu_time() - before;
    let sent: u64 =
        paths.iter().map(|p| p.counters().tx_frames.load(std::sync::atomic::Ordering::Relaxed)).sum();
    assert!(sent >= (BATCHES * BATCH) as u64, "only {sent} frames were sent");
    spent.as_nanos() as f64 * 1000.0 / bytes as f64
}

/// No record is for this host.
struct NoSessions;

impl RecordSink for NoSessions {
    fn record(&self, _: Option<SocketAddr>, _: &mut [u8], _: &mut Outbox) -> Result<(), Drop> {
        Err(Drop::UnknownSession)
    }
}

struct NoTap;

impl TapWriter for NoTap {
    fn write(&self, _: &TapFrame<'_>) -> bool {
        false
    }

    fn takes_udp_trains(&self) -> bool {
        false
    }
}

fn mac(n: u32) -> Mac {
    Mac([2, 0, 0, 0, 9, n as u8])
}

fn sealer() -> Sealer {
    let (ours, theirs) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
    let key = theirs.public_key().to_vec();
    ours.finish(&key, &[1; 32], Role::Dialler, 0, Cipher::Aes256Gcm, 1).unwrap().0
}

/// An ordinary frame, or TCP over IPv4 in segments of 1310 bytes if it is longer.
fn frame(to: Mac, len: usize) -> (VnetHdr, Vec<u8>) {
    let mut frame = [&to.bytes()[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat();
    let hdr = if len > 1400 {
        let [high, low] = (len as u16 + 40).to_be_bytes();
        frame.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
        frame.resize(54 + len, 7);
        VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type: VnetHdr::GSO_TCPV4,
            hdr_len: 54,
            gso_size: 1310,
            csum_start: 34,
            csum_offset: 16,
        }
    } else {
        frame.resize(len, 7);
        VnetHdr::default()
    };
    (hdr, frame)
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros as u64)
}
