use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use packet::VnetHdr;
use session::{KeyExchange, Opener, Role};
use wire::{GroupHeader, MAX_HOPS, RecordHeader};

use super::*;

/// A hop that remembers what it was given, and sends nothing before a flush.
struct Hop {
    max: usize,
    refuses: AtomicBool,
    records: Mutex<Vec<Vec<u8>>>,
    /// Bytes of each flush.
    flushed: Mutex<Vec<usize>>,
    counters: PathCounters,
}

impl Hop {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            refuses: AtomicBool::new(false),
            records: Mutex::default(),
            flushed: Mutex::default(),
            counters: PathCounters::default(),
        })
    }

    fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }
}

impl FramePath for Hop {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        0
    }

    fn send(&self, _: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        panic!("a relay path gives records to its hop, not frames")
    }

    fn flush(&self, batch: &mut Batch) {
        self.flushed.lock().unwrap().push(batch.bytes.len());
        batch.clear();
    }

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl HopPath for Hop {
    fn send_group(&self, _: &GroupHeader, _: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        panic!("a relay path gives records to its hop, not frames")
    }

    fn max_relayed(&self) -> usize {
        self.max
    }

    fn relay(&self, hops: Hops<'_>, record: &[u8], batch: &mut Batch) -> Result<(), Drop> {
        if self.refuses.load(Relaxed) {
            return Err(Drop::QueueFull);
        }
        if hops.bytes().len() + record.len() > self.max {
            return Err(Drop::TooBig);
        }
        batch.bytes.extend_from_slice(record);
        self.records.lock().unwrap().push(record.to_vec());
        // As a hop does whose train is full.
        if batch.bytes.len() > 3000 {
            self.flush(batch);
        }
        Ok(())
    }
}

fn keys() -> (Arc<Sealer>, Opener) {
    let (a, b) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
    let (public_a, public_b) = (a.public_key().to_vec(), b.public_key().to_vec());
    let (sealer, _) = a.finish(&public_b, &[0; 32], Role::Dialler, 0, Cipher::Aes256Gcm, 1).unwrap();
    let (_, opener) = b.finish(&public_a, &[0; 32], Role::Acceptor, 0, Cipher::Aes256Gcm, 2).unwrap();
    (Arc::new(sealer), opener)
}

fn route(primary: &Arc<Hop>, fallback: Option<&Arc<Hop>>, names: usize) -> Route {
    let hop = |hop: &Arc<Hop>| Arc::clone(hop) as Arc<dyn HopPath>;
    Route { hop: HopPaths { primary: hop(primary), fallback: fallback.map(hop) }, names: vec![[2; 6]; names] }
}

fn frame(len: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    bytes.resize(len, 7);
    bytes
}

fn send(path: &RelayPath, len: usize, batch: &mut Batch) -> Result<(), Drop> {
    path.send(&SuperFrame::checked(VnetHdr::default(), &frame(len)).unwrap(), batch)
}

fn sent(path: &RelayPath) -> u64 {
    path.counters().tx_frames.load(Relaxed)
}

#[test]
fn without_a_route_frames_are_dropped_and_counted() {
    let path = RelayPath::new(keys().0, 1390);
    let (hop, mut batch) = (Hop::new(9000), Batch::new());
    assert_eq!(send(&path, 60, &mut batch), Err(Drop::NoRoute));
    assert!(path.set_route(Some(route(&hop, None, MAX_HOPS))));
    assert_eq!(send(&path, 60, &mut batch), Ok(()));
    assert!(!path.set_route(Some(route(&hop, None, MAX_HOPS + 1))), "more than a record can name");
    assert_eq!(send(&path, 60, &mut batch), Err(Drop::NoRoute));
    assert!(path.route().is_none() && path.set_route(None));
    assert_eq!(send(&path, 60, &mut batch), Err(Drop::NoRoute));
    path.flush(&mut batch);
    assert!(batch.is_empty());
    assert_eq!((path.counters().drops.get(Drop::NoRoute), sent(&path), hop.count()), (3, 1, 1));
}

#[test]
fn what_does_not_fit_the_first_hop_takes_the_second_and_overtakes_nothing() {
    let (udp, tls, mut batch) = (Hop::new(500), Hop::new(65_535), Batch::new());
    let path = RelayPath::new(keys().0, 1390);
    path.set_route(Some(route(&udp, Some(&tls), 2)));
    // 12 bytes of names, 41 at most around a frame.
    for (len, expected) in [(100, [1, 0]), (447, [2, 0]), (448, [2, 1]), (1390, [2, 2]), (60, [3, 2])] {
        assert_eq!(send(&path, len, &mut batch), Ok(()), "{len} bytes");
        assert_eq!([udp.count(), tls.count()], expected, "{len} bytes");
    }
    assert_eq!((udp.flushed.lock().unwrap().len(), tls.flushed.lock().unwrap().len()), (1, 1));
    path.flush(&mut batch);
    assert_eq!(udp.flushed.lock().unwrap().len(), 2);
    assert!(batch.is_empty() && batch.via.is_none() && batch.record.is_empty());
    path.flush(&mut batch);
    assert_eq!(udp.flushed.lock().unwrap().len(), 2, "nothing waited");
}

#[test]
fn frames_have_to_fit_the_longest_that_one_of_the_hops_takes() {
    let (udp, tls, mut batch) = (Hop::new(500), Hop::new(65_535), Batch::new());
    let path = RelayPath::new(keys().0, 1390);
    assert_eq!(path.max_frame(), 1390);
    path.set_route(Some(route(&udp, Some(&tls), 2)));
    assert_eq!(path.max_frame(), 1390);
    path.set_route(Some(route(&udp, None, 2)));
    let room = 500 - 2 * PeerName::LEN - UNICAST_OVERHEAD;
    assert_eq!((path.max_frame(), send(&path, room, &mut batch)), (room, Ok(())));
    path.set_route(Some(route(&Hop::new(9), None, 2)));
    assert_eq!((path.max_frame(), send(&path, 60, &mut batch)), (0, Err(Drop::TooBig)));
}

#[test]
fn all_segments_of_a_frame_take_one_hop() {
    let (udp, tls, mut batch) = (Hop::new(1000), Hop::new(65_535), Batch::new());
    let path = RelayPath::new(keys().0, 1390);
    path.set_route(Some(route(&udp, Some(&tls), 1)));
    // UDP in IPv4, two segments of 1200 bytes and a short one.
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    let udp_len = 8 + 2500_u16;
    bytes.extend((20 + udp_len).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 2, 2]);
    bytes.extend(udp_len.to_be_bytes());
    bytes.resize(42 + 2500, 7);
    let hdr = VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type: VnetHdr::GSO_UDP_L4,
        hdr_len: 42,
        gso_size: 1200,
        csum_start: 34,
        csum_offset: 6,
    };
    path.send(&SuperFrame::checked(hdr, &bytes).unwrap(), &mut batch).unwrap();
    path.flush(&mut batch);
    assert_eq!((udp.count(), tls.count(), sent(&path)), (0, 3, 3));
}

#[test]
fn what_the_hop_refuses_is_counted_as_frames() {
    let (hop, mut batch) = (Hop::new(9000), Batch::new());
    let path = RelayPath::new(keys().0, 1390);
    path.set_route(Some(route(&hop, None, 1)));
    hop.refuses.store(true, Relaxed);
    assert_eq!(send(&path, 60, &mut batch), Err(Drop::QueueFull));
    hop.refuses.store(false, Relaxed);
    assert_eq!(send(&path, 60, &mut batch), Ok(()));
    assert_eq!(send(&path, 1391, &mut batch), Err(Drop::TooBig));
    path.close();
    assert_eq!(send(&path, 60, &mut batch), Err(Drop::Closed));
    let drops: Vec<_> = path.counters().drops.nonzero().collect();
    assert_eq!(drops, [(Drop::QueueFull, 1), (Drop::TooBig, 1), (Drop::Closed, 1)]);
    assert_eq!((sent(&path), hop.count()), (1, 1));
}

#[test]
fn a_new_key_and_a_new_route_are_taken_up_between_frames() {
    let (first, second, mut batch) = (Hop::new(9000), Hop::new(9000), Batch::new());
    let ((old, mut open_old), (new, mut open_new)) = (keys(), keys());
    let path = RelayPath::new(old, 1390);
    path.set_route(Some(route(&first, None, 1)));
    // More than what this hop keeps back: it flushes in between.
    (0..5).for_each(|_| send(&path, 1390, &mut batch).unwrap());
    path.rekey(new);
    path.set_route(Some(route(&second, None, 2)));
    send(&path, 60, &mut batch).unwrap();
    path.flush(&mut batch);
    let sizes: Vec<_> = first.flushed.lock().unwrap().clone();
    assert_eq!(sizes.iter().sum::<usize>(), 5 * (1390 + 13 + 6 + 16), "what waited for the first left by it");
    assert_eq!((first.count(), second.count()), (5, 1));
    let open = |opener: &mut Opener, record: &[u8]| {
        opener.open(&RecordHeader::decode(record).unwrap(), &mut record.to_vec()).is_ok()
    };
    let records = second.records.lock().unwrap();
    assert!(open(&mut open_new, &records[0]));
    assert!(first.records.lock().unwrap().iter().all(|record| open(&mut open_old, record)));
}
