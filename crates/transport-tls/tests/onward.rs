//! A peer in between: what it gets by one link travels on by another.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{Nowhere, endpoint, handshake};
use packet::{SuperFrame, VnetHdr};
use tokio::sync::mpsc;
use transport::{Batch, Drop, FramePath as _, FrameSink, HopPath, Outbox, TapFrame};
use transport_tls::{Expect, Link, LinkEvent, TlsPath};
use wire::{GroupHeader, Hops, Message, PeerName, Refuse, RefuseCode};

/// Passes everything on by one path.
#[derive(Default)]
struct Between(OnceLock<Arc<dyn HopPath>>);

impl FrameSink for Between {
    fn deliver(&self, _: PeerName, _: TapFrame<'_>) {}

    fn take_group(&self, _: PeerName, group: &GroupHeader, frame: TapFrame<'_>, out: &mut Outbox) -> bool {
        let path = self.0.get().unwrap();
        path.send_group(group, frame.frame(), out.hop_batch(path)).unwrap();
        false
    }

    fn relay(&self, _: PeerName, hops: Hops<'_>, record: &mut [u8], out: &mut Outbox) {
        let path = self.0.get().unwrap();
        path.relay(hops.next().unwrap().1, record, out.hop_batch(path)).unwrap();
    }
}

/// Keeps the numbers of what arrives, and how many names were left.
#[derive(Default)]
struct Last(Mutex<Vec<(u64, usize)>>);

impl FrameSink for Last {
    fn deliver(&self, _: PeerName, _: TapFrame<'_>) {}

    fn take_group(&self, _: PeerName, group: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        self.0.lock().unwrap().push((group.sequence, 99));
        false
    }

    fn relay(&self, _: PeerName, hops: Hops<'_>, record: &mut [u8], _: &mut Outbox) {
        let number = u64::from_be_bytes(record[..8].try_into().unwrap());
        assert!(record[8..].iter().all(|b| *b == number as u8));
        self.0.lock().unwrap().push((number, hops.bytes().len() / 6));
    }
}

async fn link(
    (n, from): (u8, Arc<dyn FrameSink>),
    (m, to): (u8, Arc<dyn FrameSink>),
) -> (Link, Link, mpsc::Receiver<(u64, LinkEvent)>) {
    let (d, a) = handshake(&endpoint(n, &[]), &endpoint(m, &[]), Expect::default()).await;
    let (quiet, mut own) = mpsc::channel(64);
    tokio::spawn(async move { while own.recv().await.is_some() {} });
    let (events, inbox) = mpsc::channel(64);
    (d.unwrap().start(1, from, quiet, None).unwrap(), a.unwrap().start(2, to, events, None).unwrap(), inbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_frames_for_everyone_cross_two_links_in_order() {
    const THINGS: u64 = 3000;
    let (between, last) = (Arc::new(Between::default()), Arc::new(Last::default()));
    let (first, _first, _inbox) = link((1, Arc::new(Nowhere)), (2, between.clone())).await;
    let (second, _second, _events) = link((2, Arc::new(Nowhere)), (3, last.clone())).await;
    assert!(between.0.set(second.path()).is_ok());
    let frame = [&[255; 6][..], &[2; 6], &[0x88, 0xb5], &[0; 500]].concat();
    let frame = SuperFrame::checked(VnetHdr::default(), &frame).unwrap();
    let (path, mut batch) = (first.path(), Batch::new());
    for number in 0..THINGS {
        if number % 5 == 0 {
            let group = GroupHeader { source: PeerName::new([2; 6]), run: 1, sequence: number };
            path.send_group(&group, &frame, &mut batch).unwrap();
        } else {
            let mut record = number.to_be_bytes().to_vec();
            record.resize(30 + number as usize * 37 % 1400, number as u8);
            let names = [[2; 6], [3; 6]];
            path.relay(Hops::new(&names).unwrap(), &record, &mut batch).unwrap();
        }
        if number % 16 == 15 {
            path.flush(&mut batch);
            // Half of what the queue of a link holds.
            wait(|| last.0.lock().unwrap().len() as u64 + 200 > number).await;
        }
    }
    path.flush(&mut batch);
    wait(|| last.0.lock().unwrap().len() as u64 == THINGS).await;
    let expected: Vec<_> = (0..THINGS).map(|n| (n, if n % 5 == 0 { 99 } else { 1 })).collect();
    assert!(*last.0.lock().unwrap() == expected);
    for path in [first.path(), second.path()] {
        assert_eq!(path.counters().tx_frames.load(Relaxed), THINGS);
        assert_eq!(path.counters().drops.nonzero().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_understood_is_counted_and_the_link_goes_on() {
    let (dialler, acceptor, mut inbox) = link((1, Arc::new(Nowhere)), (2, Arc::new(Nowhere))).await;
    for kind in [0x41, 0x42] {
        // The type alone: no names, no headers.
        assert!(dialler.send(Message::Unknown(kind)));
    }
    assert!(dialler.send(Message::Ping(7)));
    let event = tokio::time::timeout(Duration::from_secs(20), inbox.recv()).await.unwrap();
    assert!(matches!(event, Some((2, LinkEvent::Message(Message::Ping(7))))), "{event:?}");
    let path: Arc<TlsPath> = acceptor.path();
    assert_eq!(path.counters().drops.get(Drop::Malformed), 2);
}

/// On one thread the other end reads only when this test waits, and so everything at once: what goes on, and that the link ends.
#[tokio::test]
async fn what_came_before_the_end_of_a_link_goes_on() {
    let (between, last) = (Arc::new(Between::default()), Arc::new(Last::default()));
    let (first, _first, mut ended) = link((1, Arc::new(Nowhere)), (2, between.clone())).await;
    let (second, _second, _events) = link((2, Arc::new(Nowhere)), (3, last.clone())).await;
    assert!(between.0.set(second.path()).is_ok());
    let (path, mut batch) = (first.path(), Batch::new());
    for number in 0..3_u64 {
        let mut record = number.to_be_bytes().to_vec();
        record.resize(100, number as u8);
        path.relay(Hops::new(&[[2; 6], [3; 6]]).unwrap(), &record, &mut batch).unwrap();
    }
    path.flush(&mut batch);
    first.close(Refuse::new(RefuseCode::ShuttingDown, "a test"));
    while !matches!(ended.recv().await, Some((_, LinkEvent::Closed { .. }))) {}
    wait(|| last.0.lock().unwrap().len() == 3).await;
}

async fn wait(mut until: impl FnMut() -> bool) {
    let waiting = async {
        while !until() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}
