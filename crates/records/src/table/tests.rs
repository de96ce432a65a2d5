use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};

use packet::SuperFrame;
use session::Sealer;
use transport::{Batch, FrameSink, PathKind};
use wire::Payload;

use super::*;
use crate::testing::{Given, INDEX, PEER, Sink, keys, keys_of, plain, segments, tcp};
use crate::{TrainNumbers, for_each_payload};

/// A path that only counts, and remembers what it was to answer.
#[derive(Default)]
struct Counting {
    counters: PathCounters,
    answers: Mutex<Vec<(SocketAddr, u64, u16)>>,
    opened: AtomicU64,
    forged: AtomicU64,
}

impl FramePath for Counting {
    fn kind(&self) -> PathKind {
        PathKind::Memory
    }

    fn max_frame(&self) -> usize {
        0
    }

    fn send(&self, _: &SuperFrame<'_>, _: &mut Batch) -> Result<(), Drop> {
        Err(Drop::TooBig)
    }

    fn flush(&self, _: &mut Batch) {}

    fn counters(&self) -> &PathCounters {
        &self.counters
    }
}

impl DirectPath for Counting {
    fn answer(&self, to: SocketAddr, token: u64, length: u16) {
        self.answers.lock().unwrap().push((to, token, length));
    }

    fn count_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    fn count_forged(&self) {
        self.forged.fetch_add(1, Relaxed);
    }
}

/// A table with one session, and its other end.
struct One {
    table: Table,
    events: Receiver<TableEvent>,
    sealer: Sealer,
    sink: Arc<Sink>,
    relay: Arc<Counting>,
    direct: Arc<Counting>,
}

impl One {
    fn new() -> Self {
        let (tell, events) = channel();
        let table = Table::new(Box::new(move |event| tell.send(event).unwrap()));
        let ((sealer, opener), sink) = (keys(), Sink::new());
        let [relay, direct] = [(); 2].map(|()| Arc::new(Counting::default()));
        assert!(table.install(INDEX, opener, inbox(&sink), Arc::clone(&relay) as Arc<dyn FramePath>));
        table.set_direct(INDEX, Some(Arc::clone(&direct) as Arc<dyn DirectPath>));
        Self { table, events, sealer, sink, relay, direct }
    }

    fn record(&self, payload: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.sealer.seal(&[payload], &mut record).unwrap();
        record
    }

    fn frame(&self) -> Vec<u8> {
        let (_, bytes) = plain(60, 1);
        self.record(&[&Payload::frame_header(0, 0, 0)[..], &bytes].concat())
    }

    fn take(&self, from: Option<&str>, mut record: Vec<u8>) -> Result<(), Drop> {
        let mut out = Outbox::new();
        let result = self.table.record(from.map(|a| a.parse().unwrap()), &mut record, &mut out);
        out.flush();
        result
    }

    fn events(&self) -> Vec<TableEvent> {
        self.events.try_iter().collect()
    }
}

fn inbox(sink: &Arc<Sink>) -> Inbox {
    Inbox::new(PEER, Arc::clone(sink) as Arc<dyn FrameSink>)
}

const OPENED: TableEvent = TableEvent::Opened { peer: PEER, index: INDEX };
const HERE: &str = "10.0.0.1:5";
const THERE: &str = "10.0.0.2:5";

fn moved(from: &str) -> TableEvent {
    TableEvent::Udp(UdpEvent::Moved { peer: PEER, from: from.parse().unwrap() })
}

#[test]
fn the_first_record_that_opens_is_told_and_no_other() {
    let one = One::new();
    let mut forged = one.frame();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(one.take(None, forged), Ok(()), "counted already");
    assert_eq!((one.events(), one.relay.counters.drops.get(Drop::Forged)), (vec![], 1));
    assert_eq!(one.take(None, one.frame()), Ok(()));
    assert_eq!(one.events(), [OPENED]);
    assert_eq!(one.take(None, one.frame()), Ok(()));
    assert_eq!(one.events(), []);
    assert_eq!(one.sink.take().len(), 2);
    assert_eq!((one.table.opened(INDEX), one.table.opened(1)), (Some(2), None));
}

#[test]
fn what_comes_directly_is_counted_there_and_tells_where_from() {
    let one = One::new();
    let count = |one: &One| [&one.relay, &one.direct].map(|path| path.counters.rx_frames.load(Relaxed));
    one.take(None, one.frame()).unwrap();
    assert_eq!((count(&one), one.events()), ([1, 0], vec![OPENED]));
    one.take(Some(HERE), one.frame()).unwrap();
    assert_eq!((count(&one), one.events()), ([1, 1], vec![moved(HERE)]));
    one.take(Some(HERE), one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    assert_eq!((count(&one), one.events()), ([2, 2], vec![]));
    one.take(Some(THERE), one.frame()).unwrap();
    assert_eq!(one.events(), [moved(THERE)]);
    let mut forged = one.frame();
    *forged.last_mut().unwrap() ^= 1;
    one.take(Some(THERE), forged).unwrap();
    assert_eq!((one.direct.opened.load(Relaxed), one.direct.forged.load(Relaxed)), (3, 1));
    one.table.set_direct(INDEX, None);
    one.take(Some(HERE), one.frame()).unwrap();
    assert_eq!(count(&one), [3, 3]);
}

#[test]
fn probes_are_answered_by_the_way_they_came_and_never_through_others() {
    let one = One::new();
    let mut payload = Vec::new();
    Payload::encode_probe(7, 100, &mut payload);
    let probe = one.record(&payload);
    let length = probe.len() as u16;
    one.take(Some(HERE), probe).unwrap();
    assert_eq!(*one.direct.answers.lock().unwrap(), [(HERE.parse().unwrap(), 7, length)]);
    one.take(None, one.record(&payload)).unwrap();
    assert_eq!(one.direct.answers.lock().unwrap().len(), 1);
    assert_eq!(one.relay.counters.drops.get(Drop::Malformed), 1);
    one.events();
    let (seen, arrived) = (THERE.parse().unwrap(), Arrived { opened: 4, forged: 2 });
    payload.clear();
    Payload::encode_answer(7, length, seen, arrived, &mut payload);
    one.take(Some(HERE), one.record(&payload)).unwrap();
    let from = HERE.parse().unwrap();
    let answer = UdpEvent::Answer { peer: PEER, token: 7, length, seen, from, arrived: Some(arrived) };
    assert_eq!(one.events(), [TableEvent::Udp(answer)]);
    one.take(None, one.record(&payload)).unwrap();
    assert_eq!(one.events(), []);
    assert_eq!(one.table.opened(INDEX), Some(0), "none of this was a frame");
}

#[test]
fn a_train_is_joined_within_a_batch_and_handed_over_at_its_end() {
    let one = One::new();
    let (hdr, bytes) = tcp(1000, 100);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let mut records = Vec::new();
    for_each_payload(&frame, None, 0, &TrainNumbers::default(), |parts, _| {
        records.push(one.record(&parts.concat()));
        Ok::<_, ()>(())
    })
    .unwrap();
    let mut out = Outbox::new();
    for record in &mut records[..9] {
        one.table.record(None, record, &mut out).unwrap();
    }
    assert_eq!(one.sink.take(), [], "the last segment may follow");
    assert!(!out.is_empty());
    out.flush();
    assert!(out.is_empty());
    let given = one.sink.take();
    assert!(matches!(&given[..], [Given::Frame(list)] if list.len() == 9), "{given:?}");
    // The other half of a batch, at another thread: held back once, and handed over with the last segment.
    one.table.record(None, &mut records[9], &mut Outbox::new()).unwrap();
    assert_eq!(one.sink.take(), [Given::Frame(vec![segments(&frame).remove(9)])]);
}

#[test]
fn threads_that_hold_back_for_many_sessions_do_not_wait_for_each_other() {
    const SESSIONS: u32 = 200;
    let (table, sink) = (Table::new(Box::new(|_| {})), Sink::new());
    let (hdr, bytes) = tcp(1000, 100);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let mut halves = [Vec::new(), Vec::new()];
    for index in 1..=SESSIONS {
        let (sealer, opener) = keys_of(index);
        assert!(table.install(index, opener, inbox(&sink), Arc::new(Counting::default())));
        let mut n = 0;
        for_each_payload(&frame, None, 0, &TrainNumbers::default(), |parts, _| {
            let mut record = Vec::new();
            // Nobody has the last segment: something is held back in the end.
            if n < 9 {
                sealer.seal(parts, &mut record).unwrap();
                halves[n % 2].push(record);
                n += 1;
            }
            Ok::<_, ()>(())
        })
        .unwrap();
    }
    halves[1].reverse();
    std::thread::scope(|scope| {
        for half in &mut halves {
            scope.spawn(|| {
                // No flush in between: the outbox releases early what is too much for it.
                let mut out = Outbox::new();
                half.iter_mut().for_each(|record| table.record(None, record, &mut out).unwrap());
                out.flush();
            });
        }
    });
    let given = sink.take().into_iter().map(|given| match given {
        Given::Frame(list) => list.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(given.sum::<usize>(), SESSIONS as usize * 9);
}

#[test]
fn records_of_no_session_are_errors() {
    let one = One::new();
    assert_eq!(one.take(None, vec![1; 5]), Err(Drop::Malformed));
    assert_eq!(one.take(None, vec![9; 100]), Err(Drop::Malformed));
    assert_eq!(one.take(Some(HERE), vec![1; 100]), Err(Drop::UnknownSession));
    one.table.remove(INDEX);
    assert_eq!(one.take(Some(HERE), one.frame()), Err(Drop::UnknownSession));
    assert!(one.table.is_empty());
}

#[test]
fn relayed_records_that_come_before_their_keys_are_opened_with_them() {
    let one = One::new();
    let (sealer, opener) = keys_of(2);
    let (_, bytes) = plain(60, 1);
    let record = || {
        let mut record = Vec::new();
        sealer.seal(&[&Payload::frame_header(0, 0, 0)[..], &bytes], &mut record).unwrap();
        record
    };
    for _ in 0..3 {
        assert_eq!(one.take(None, record()), Ok(()));
    }
    assert_eq!(one.take(None, vec![1; LONGEST_EARLY + 1]), Err(Drop::UnknownSession));
    assert!(one.sink.take().is_empty());
    assert!(one.table.install(2, opener, inbox(&one.sink), Arc::clone(&one.relay) as Arc<dyn FramePath>));
    assert_eq!(one.sink.take().len(), 3);
    assert_eq!(one.events(), [TableEvent::Opened { peer: PEER, index: 2 }]);
}

#[test]
fn only_so_many_records_wait_for_keys_and_those_that_go_are_counted() {
    let one = One::new();
    let early = |n: u8| one.take(None, [&[1, 0, 0, 0, n][..], &[0; 40]].concat());
    assert!((0..MAX_EARLY).all(|n| early(n as u8 + 100) == Ok(())));
    assert_eq!(early(99), Err(Drop::UnknownSession));
    assert_eq!(one.table.early.lock().unwrap().len(), MAX_EARLY);
}

#[test]
fn the_table_is_bounded_and_lets_go_of_what_it_held() {
    let one = One::new();
    let install = |index| {
        one.table.install(index, keys().1, inbox(&one.sink), Arc::clone(&one.relay) as Arc<dyn FramePath>)
    };
    one.table.sessions.rcu(|sessions| {
        let mut sessions = HashMap::clone(sessions);
        let entry = Arc::clone(&sessions[&INDEX]);
        (1000..).take(MAX_SESSIONS - 1).for_each(|n| _ = sessions.insert(n, Arc::clone(&entry)));
        sessions
    });
    assert_eq!(one.table.len(), MAX_SESSIONS);
    assert!(!install(1), "no room");
    assert!(install(INDEX), "what is there may be replaced");
    one.table.remove(INDEX);
    assert!(install(1));
    one.table.clear();
    assert_eq!((one.table.len(), Arc::strong_count(&one.sink)), (0, 1));
}

fn doubted() -> TableEvent {
    TableEvent::Udp(UdpEvent::Doubted { peer: PEER })
}

#[test]
fn a_record_that_comes_directly_and_through_others_is_handed_on_once() {
    let one = One::new();
    for n in 1..=20 {
        let record = one.frame();
        let (first, second) = if n % 2 == 0 { (Some(HERE), None) } else { (None, Some(HERE)) };
        one.take(first, record.clone()).unwrap();
        one.take(second, record).unwrap();
        assert_eq!(one.sink.take().len(), 1, "record {n}");
    }
    let replayed = [&one.relay, &one.direct].map(|path| path.counters.drops.get(Drop::Replayed));
    assert_eq!(replayed, [10, 10], "counted where they came too late");
}

#[test]
fn records_that_begin_to_come_through_others_tell_of_the_peers_doubt_once() {
    let one = One::new();
    one.take(None, one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    assert_eq!(one.events(), [OPENED], "none came directly before");
    one.take(Some(HERE), one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    assert_eq!(one.events(), [moved(HERE)], "one may have been too long");
    for _ in 0..5 {
        one.take(None, one.frame()).unwrap();
    }
    assert_eq!(one.events(), [doubted()]);
    one.take(Some(HERE), one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    assert_eq!(one.events(), [doubted()]);
    one.table.set_direct(INDEX, None);
    one.take(Some(HERE), one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    one.take(None, one.frame()).unwrap();
    assert!(!one.events().contains(&doubted()), "there is nothing to doubt");
}

#[test]
fn records_of_sessions_with_neighbours_that_came_inside_a_link_go_to_whoever_has_them() {
    let one = One::new();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&taken);
    one.table.set_neighbours(Box::new(move |record| {
        let is_theirs = record.get(4) == Some(&99);
        is_theirs.then(|| {
            seen.lock().unwrap().push(record.to_vec());
            Ok(())
        })
    }));
    let theirs = |kind: u8| [&[kind, 0, 0, 0, 99][..], &[7; 60]].concat();
    for kind in [1, 2, 0x10, 0x12] {
        assert_eq!(one.take(None, theirs(kind)), Ok(()));
        assert_eq!(taken.lock().unwrap().pop(), Some(theirs(kind)));
    }
    for kind in [0, 9, 0x20] {
        assert_eq!(one.take(None, theirs(kind)), Err(Drop::Malformed), "no record");
    }
    assert_eq!(one.take(Some(HERE), theirs(1)), Err(Drop::UnknownSession), "it did not come inside a link");
    assert_eq!(one.take(Some(HERE), theirs(0x10)), Err(Drop::Malformed));
    one.take(None, one.frame()).unwrap();
    assert!(taken.lock().unwrap().is_empty(), "those of this table stay");
    assert_eq!(one.sink.take().len(), 1);
}
