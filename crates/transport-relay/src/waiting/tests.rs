use std::sync::atomic::AtomicUsize;

use transport::{FrameSink, Outbox, TapFrame, memory::MemoryPath};
use wire::{GroupHeader, Hops, PeerName};

use super::*;

const ME: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
const PEER: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);

/// The numbers of the frames that arrived.
#[derive(Default)]
struct Arrived(Mutex<Vec<u32>>);

impl FrameSink for Arrived {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        let number = frame.frame().frame()[14..].first_chunk().unwrap();
        self.0.lock().unwrap().push(u32::from_be_bytes(*number));
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}

fn session() -> (Arc<dyn FramePath>, Arc<Arrived>) {
    let arrived = Arc::new(Arrived::default());
    let sink = Arc::clone(&arrived) as Arc<dyn FrameSink>;
    let nowhere = Arc::new(Arrived::default());
    (MemoryPath::pair((ME, nowhere), (PEER, sink), 5000, 1 << 24).0, arrived)
}

fn waiting() -> (Arc<WaitingPath>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    (Arc::new(WaitingPath::new(Box::new(move || _ = count.fetch_add(1, Ordering::Relaxed)))), asked)
}

fn send(path: &WaitingPath, number: u32, len: usize) -> Result<(), Drop> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    bytes.extend(number.to_be_bytes());
    bytes.resize(len, 0);
    let mut batch = Batch::new();
    let result = path.send(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap(), &mut batch);
    path.flush(&mut batch);
    assert!(batch.is_empty());
    result
}

#[test]
fn the_first_frame_asks_and_all_go_in_order_when_there_is_a_session() {
    let (path, asked) = waiting();
    assert!(!path.wants());
    (0..10).for_each(|n| send(&path, n, 60).unwrap());
    assert_eq!((path.waiting(), asked.load(Ordering::Relaxed)), (10, 1), "asked once");
    assert!(path.wants() && !path.wants(), "no frame since");
    send(&path, 10, 60).unwrap();
    assert!(path.wants());
    let (into, arrived) = session();
    assert_eq!((path.kind(), path.max_frame()), (PathKind::Relay, MAX_FRAME));
    path.drain(Arc::clone(&into));
    assert_eq!((path.kind(), path.max_frame()), (PathKind::Memory, 5000));
    send(&path, 11, 60).unwrap();
    assert_eq!(*arrived.0.lock().unwrap(), (0..12).collect::<Vec<_>>());
    assert_eq!(into.counters().tx_frames.load(Ordering::Relaxed), 12, "counted where they went");
    assert_eq!((path.waiting(), asked.load(Ordering::Relaxed), path.wants()), (0, 1, false));
    path.drain(session().0);
    send(&path, 12, 60).unwrap();
    assert_eq!(arrived.0.lock().unwrap().len(), 13, "the first path stays");
}

#[test]
fn what_waits_is_bounded_in_frames_and_bytes_and_the_newest_is_dropped() {
    let (path, _) = waiting();
    let taken = (0..100).filter(|n| send(&path, *n, 60).is_ok()).count();
    assert_eq!((taken, path.counters().drops.get(Drop::QueueFull)), (64, 36));
    let (into, arrived) = session();
    path.drain(into);
    assert_eq!(*arrived.0.lock().unwrap(), (0..64).collect::<Vec<_>>());
    let (path, _) = waiting();
    let taken = (0..10).filter(|n| send(&path, *n, 60_000).is_ok()).count();
    assert_eq!(taken, 4, "256 KiB");
    send(&path, 10, 20_000).unwrap();
    assert!(path.wants());
    assert_eq!(send(&path, 11, 60_000), Err(Drop::QueueFull));
    assert!(path.wants(), "also who finds no room waits for a session");
}

#[test]
fn what_the_session_does_not_take_is_counted_there() {
    let (path, _) = waiting();
    send(&path, 1, 6000).unwrap();
    send(&path, 2, 60).unwrap();
    let (into, arrived) = session();
    path.drain(Arc::clone(&into));
    assert_eq!(*arrived.0.lock().unwrap(), [2]);
    assert_eq!(into.counters().drops.get(Drop::TooBig), 1);
}

#[test]
fn what_waited_in_vain_is_counted() {
    let (path, _) = waiting();
    (0..3).for_each(|n| send(&path, n, 60).unwrap());
    path.close(Drop::NoRoute);
    assert_eq!(send(&path, 4, 60), Err(Drop::Closed));
    let drops: Vec<_> = path.counters().drops.nonzero().collect();
    assert_eq!((drops, path.waiting()), (vec![(Drop::Closed, 1), (Drop::NoRoute, 3)], 0));
    let (into, arrived) = session();
    path.drain(into);
    assert_eq!(send(&path, 5, 60), Err(Drop::Closed));
    assert!(arrived.0.lock().unwrap().is_empty());
}

#[test]
fn nothing_overtakes_what_waits_while_it_is_sent() {
    for _ in 0..50 {
        let ((path, _), (into, arrived)) = (waiting(), session());
        (0..20).for_each(|n| send(&path, n, 60).unwrap());
        let sender = Arc::clone(&path);
        let thread = std::thread::spawn(move || (20..60).for_each(|n| send(&sender, n, 60).unwrap()));
        path.drain(into);
        thread.join().unwrap();
        assert_eq!(*arrived.0.lock().unwrap(), (0..60).collect::<Vec<_>>());
    }
}
