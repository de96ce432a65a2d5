use std::sync::Arc;

use packet::SuperFrame;
use proptest::prelude::*;
use session::Sealer;
use transport::FrameSink;
use wire::{Hops, TAG_LEN};

use super::*;
use crate::testing::{Given, PEER, Sink, group, keys, plain, segments, tcp};
use crate::{TrainNumbers, for_each_payload};

/// Both ends of one direction, and what arrives.
struct Ends {
    sealer: Sealer,
    session: Session,
    sink: Arc<Sink>,
    counters: PathCounters,
    trains: TrainNumbers,
}

impl Ends {
    fn new(of: impl FnOnce(Opener, Inbox) -> Session) -> Self {
        let ((sealer, opener), sink) = (keys(), Sink::new());
        let inbox = Inbox::new(PEER, Arc::clone(&sink) as Arc<dyn FrameSink>);
        let session = of(opener, inbox);
        Self { sealer, session, sink, counters: PathCounters::default(), trains: TrainNumbers::default() }
    }

    fn neighbours() -> Self {
        Self::new(Session::with_neighbour)
    }

    /// The records of a frame.
    fn sealed(&self, frame: &SuperFrame<'_>, group: Option<&GroupHeader>) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let result = for_each_payload(frame, group, 0, &self.trains, |parts, _| {
            records.push(Vec::new());
            self.sealer.seal(parts, records.last_mut().unwrap())
        });
        assert_eq!(result, Ok(()));
        records
    }

    fn open(&mut self, mut record: Vec<u8>) -> Result<Content, OpenError> {
        let header = RecordHeader::decode(&record).unwrap();
        self.session.open(&header, &mut record, &self.counters, &mut Outbox::new())
    }

    fn open_all(&mut self, records: impl IntoIterator<Item = Vec<u8>>) {
        for record in records {
            assert_eq!(self.open(record), Ok(Content::Frame));
        }
    }

    fn open_payload(&mut self, payload: &[u8]) -> Result<Content, OpenError> {
        let mut record = Vec::new();
        self.sealer.seal(&[payload], &mut record).unwrap();
        self.open(record)
    }

    fn flush(&mut self) {
        self.session.flush(&self.counters, &mut Outbox::new());
        assert!(self.session.is_empty());
    }

    fn drops(&self, reason: Drop) -> u64 {
        self.counters.drops.get(reason)
    }
}

#[test]
fn frames_arrive_whole_to_one_and_to_all() {
    let mut ends = Ends::neighbours();
    for (hdr, bytes) in [plain(60, 1), plain(1390, 2), tcp(1000, 100), tcp(64 * 100 + 1, 100)] {
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        let records = ends.sealed(&frame, None);
        ends.open_all(records);
        let alone = ends.sink.take().into_iter().flat_map(|given| match given {
            Given::Frame(segments) => segments,
            other => panic!("{other:?}"),
        });
        assert!(alone.eq(segments(&frame)));
        let records = ends.sealed(&frame, Some(&group(5)));
        ends.open_all(records);
        assert_eq!(numbered(ends.sink.take()), expected(5, &frame));
        assert!(ends.session.is_empty());
    }
    assert_eq!(ends.counters.drops.nonzero().count(), 0);
}

/// Every segment with the header that says which it is.
fn numbered(given: Vec<Given>) -> Vec<(GroupHeader, Vec<u8>)> {
    let each = given.into_iter().flat_map(|given| match given {
        Given::Group(first, segments) => (0..).map(move |n| first.plus(n)).zip(segments),
        other => panic!("{other:?}"),
    });
    each.collect()
}

fn expected(first: u64, frame: &SuperFrame<'_>) -> Vec<(GroupHeader, Vec<u8>)> {
    (0..).map(|n| group(first).plus(n)).zip(segments(frame)).collect()
}

#[test]
fn a_train_for_everyone_is_one_frame_with_the_header_of_its_first_segment() {
    let mut ends = Ends::neighbours();
    let (hdr, bytes) = tcp(1000, 100);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let records = ends.sealed(&frame, Some(&group(70)));
    ends.open_all(records);
    assert_eq!(ends.sink.take(), [Given::Group(group(70), segments(&frame))]);
}

#[test]
fn a_lost_segment_costs_itself_and_the_rest_keeps_its_numbers() {
    let mut ends = Ends::neighbours();
    let (hdr, bytes) = tcp(1000, 100);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let mut records = ends.sealed(&frame, Some(&group(1)));
    records.remove(4);
    ends.open_all(records);
    ends.flush();
    let mut expected = expected(1, &frame);
    expected.remove(4);
    assert_eq!(without_push(numbered(ends.sink.take())), without_push(expected));
}

/// What mending may change is no affair of these tests: the payload and the addresses tell the segments apart.
fn without_push(list: Vec<(GroupHeader, Vec<u8>)>) -> Vec<(GroupHeader, Vec<u8>)> {
    list.into_iter().map(|(group, bytes)| (group, bytes[54..].to_vec())).collect()
}

#[test]
fn trains_to_one_and_to_all_do_not_mix() {
    let mut ends = Ends::neighbours();
    let (hdr, bytes) = tcp(1000, 100);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let alone = ends.sealed(&frame, None);
    let all = ends.sealed(&frame, Some(&group(1)));
    let other = ends.sealed(&frame, Some(&group(1 << 20)));
    let mut counted = 0;
    for ((a, b), c) in alone.into_iter().zip(all).zip(other) {
        ends.open_all([a, b, c]);
        counted += 3;
    }
    ends.flush();
    assert_eq!(counted, 30);
    let (mut alone, mut groups) = (Vec::new(), Vec::new());
    for given in ends.sink.take() {
        match given {
            Given::Frame(list) => alone.extend(list.into_iter().map(|s| (group(0), s))),
            Given::Group(first, list) => groups.extend((0..).map(|n| first.plus(n)).zip(list)),
            Given::Relay(..) => panic!("nothing was relayed"),
        }
    }
    let payloads = |list: Vec<(GroupHeader, Vec<u8>)>| without_push(list);
    assert_eq!(payloads(alone).len(), 10);
    groups.sort_by_key(|(group, _)| group.sequence);
    let all: Vec<_> = expected(1, &frame).into_iter().chain(expected(1 << 20, &frame)).collect();
    assert_eq!(payloads(groups), payloads(all));
}

#[test]
fn frames_for_everyone_do_not_come_from_a_peer_that_is_no_neighbour() {
    let mut ends = Ends::new(Session::with_distant_peer);
    let (hdr, bytes) = plain(60, 1);
    let frame = SuperFrame::checked(hdr, &bytes).unwrap();
    let mut records = ends.sealed(&frame, Some(&group(1)));
    assert_eq!(ends.open(records.remove(0)), Ok(Content::Malformed));
    assert_eq!((ends.sink.take(), ends.drops(Drop::Malformed)), (vec![], 1));
    let records = ends.sealed(&frame, None);
    ends.open_all(records);
    assert_eq!(ends.sink.take().len(), 1);
}

#[test]
fn a_relayed_record_goes_on_as_it_is_behind_what_came_before_it() {
    let mut ends = Ends::neighbours();
    let (hdr, bytes) = tcp(1000, 100);
    let records = ends.sealed(&SuperFrame::checked(hdr, &bytes).unwrap(), None);
    ends.open_all(records.into_iter().take(3));
    let (names, inner) = ([[2; 6], [4; 6]], [9; 77]);
    let mut datagram = Vec::new();
    ends.sealer.seal_relay(Hops::new(&names).unwrap(), &inner, &mut datagram).unwrap();
    let relay = |ends: &mut Ends, datagram: &mut [u8]| {
        let (header, inner) = RelayHeader::split(datagram).unwrap();
        ends.session.relay(&header, inner, &ends.counters, &mut Outbox::new())
    };
    let mut forged = datagram.clone();
    forged[RECORD_HEADER] ^= 1;
    assert_eq!(relay(&mut ends, &mut forged), Err(OpenError::Forged));
    assert_eq!(relay(&mut ends, &mut datagram.clone()), Ok(()));
    assert_eq!(relay(&mut ends, &mut datagram), Err(OpenError::Replayed));
    let given = ends.sink.take();
    assert!(matches!(&given[0], Given::Frame(segments) if segments.len() == 3), "{given:?}");
    assert_eq!(given[1..], [Given::Relay(names.concat(), inner.to_vec())]);
    assert_eq!((ends.drops(Drop::Forged), ends.drops(Drop::Replayed)), (1, 1));
}

#[test]
fn what_is_not_understood_is_counted() {
    let mut ends = Ends::neighbours();
    let prefix = Payload::group_prefix(&group(1));
    for payload in [&[9; 20][..], &[0; 3], &prefix, &[&prefix[..], &[2; 20]].concat()] {
        assert_eq!(ends.open_payload(payload), Ok(Content::Malformed));
    }
    // A header that is cut short, and one that announces more than there is.
    for inner in [&[0; 3][..], &[1; 60]] {
        assert_eq!(ends.open_payload(&[&prefix[..], inner].concat()), Ok(Content::Malformed));
    }
    // A slice of a train of none.
    let slice = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    for payload in [&slice[..], &[&prefix[..], &slice].concat()] {
        assert_eq!(ends.open_payload(payload), Ok(Content::Frame));
    }
    assert_eq!(ends.drops(Drop::Malformed), 8);
    assert_eq!(ends.sink.take(), []);
    let mut record = Vec::new();
    ends.sealer.seal(&[&[9]], &mut record).unwrap();
    record[RECORD_HEADER + TAG_LEN] ^= 1;
    assert_eq!(ends.open(record), Err(OpenError::Forged));
    assert_eq!(ends.drops(Drop::Forged), 1);
}

proptest! {
    /// Whatever the peer seals: no panic, and the window goes on.
    #[test]
    fn no_payload_makes_a_session_panic(
        list in proptest::collection::vec((0u8..6, 0u8..3, proptest::collection::vec(any::<u8>(), 0..80)), 1..20),
    ) {
        let mut ends = Ends::neighbours();
        for (kind, inner, rest) in list {
            let payload = match kind {
                4 => [&Payload::group_prefix(&group(u64::from(inner)))[..], &[inner], &rest].concat(),
                kind => [&[kind][..], &rest].concat(),
            };
            prop_assert!(ends.open_payload(&payload).is_ok());
        }
        ends.flush();
    }

    /// Segments of several frames in any order: each arrives under its own number, once.
    #[test]
    fn segments_in_any_order_keep_their_numbers(
        order in Just((0..30).collect::<Vec<usize>>()).prop_shuffle(),
        gap in 0u64..3,
    ) {
        let mut ends = Ends::neighbours();
        let (hdr, bytes) = tcp(1000, 100);
        let frame = SuperFrame::checked(hdr, &bytes).unwrap();
        // With a gap of 0 the numbers of one frame go on where those of the one before end.
        let firsts = [0, 1, 2].map(|n| 1 + n * (10 + gap));
        let sealed: Vec<_> = firsts.iter().flat_map(|first| ends.sealed(&frame, Some(&group(*first)))).collect();
        for i in order {
            ends.open_all([sealed[i].clone()]);
        }
        ends.flush();
        let mut arrived = numbered(ends.sink.take());
        arrived.sort_by_key(|(group, _)| group.sequence);
        let all: Vec<_> = firsts.iter().flat_map(|first| expected(*first, &frame)).collect();
        prop_assert_eq!(without_push(arrived), without_push(all));
    }
}
