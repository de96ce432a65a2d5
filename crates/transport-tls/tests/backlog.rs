//! A link whose other end is slow: bounded, in order, and still in control.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Nowhere, endpoint, handshake};
use packet::{SuperFrame, VnetHdr};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use transport::{Batch, Drop, FramePath as _, FrameSink, Outbox, TapFrame};
use transport_tls::{Expect, Link, LinkEvent};
use wire::{GroupHeader, Hops, Message, PeerName};

/// Takes its time, and keeps the numbers of the frames.
#[derive(Default)]
struct Slow(Mutex<Vec<u64>>, AtomicU64);

impl FrameSink for Slow {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        std::thread::sleep(Duration::from_micros(300));
        let number = frame.frame().frame()[14..22].try_into().unwrap();
        self.0.lock().unwrap().push(u64::from_be_bytes(number));
        self.1.fetch_add(1, Relaxed);
    }

    fn deliver_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) {}

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}

/// Two links over a connection that holds little.
async fn links(slow: Arc<Slow>) -> (Link, Link, mpsc::Receiver<(u64, LinkEvent)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&listener).set_recv_buffer_size(8192).unwrap();
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let dial = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        SockRef::from(&tcp).set_send_buffer_size(8192).unwrap();
        one.dial(tcp, Expect::default()).await.unwrap()
    };
    let accept = async { two.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (d, a) = tokio::join!(dial, accept);
    let (events, inbox) = mpsc::channel(64);
    let (own, mut own_inbox) = mpsc::channel(64);
    tokio::spawn(async move { while own_inbox.recv().await.is_some() {} });
    (d.start(1, slow.clone(), own), a.start(2, slow, events), inbox)
}

fn send(link: &Link, number: u64, len: usize, batch: &mut Batch) {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(len, 0x5a);
    link.path().send(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap(), batch).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_find_no_room_are_counted_and_the_rest_arrives_in_order() {
    const FRAMES: u64 = 4000;
    let slow = Arc::new(Slow::default());
    let (dialler, _acceptor, _inbox) = links(Arc::clone(&slow)).await;
    let mut batch = Batch::new();
    for number in 0..FRAMES {
        send(&dialler, number, 100 + (number as usize * 97) % 1290, &mut batch);
        if number % 7 == 0 {
            dialler.path().flush(&mut batch);
        }
    }
    dialler.path().flush(&mut batch);
    let path = dialler.path();
    let (sent, dropped) =
        (path.counters().tx_frames.load(Relaxed), path.counters().drops.get(Drop::QueueFull));
    assert_eq!(sent + dropped, FRAMES);
    assert!(dropped > 0, "the other end was not slow enough for this test");
    tokio::time::timeout(Duration::from_secs(20), async {
        while slow.1.load(Relaxed) < sent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {sent} frames arrived", slow.1.load(Relaxed)));
    let numbers = slow.0.lock().unwrap();
    assert!(numbers.is_sorted_by(|a, b| a < b), "C2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_message_overtakes_the_frames_that_wait() {
    let slow = Arc::new(Slow::default());
    let (dialler, _acceptor, mut inbox) = links(Arc::clone(&slow)).await;
    let mut batch = Batch::new();
    (0..1200).for_each(|number| send(&dialler, number, 1390, &mut batch));
    dialler.path().flush(&mut batch);
    let taken = dialler.path().counters().tx_frames.load(Relaxed);
    assert!(dialler.send(Message::Ping(7)));
    let event = tokio::time::timeout(Duration::from_secs(20), inbox.recv()).await.unwrap();
    assert!(matches!(event, Some((2, LinkEvent::Message(Message::Ping(7))))), "{event:?}");
    let before = slow.1.load(Relaxed);
    assert!(before + 100 < taken, "{before} of {taken} frames came first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_other_end_reads_nothing_can_be_closed() {
    // The acceptor never starts its link, so nobody reads there.
    let (d, _unread) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), Expect::default()).await;
    let (events, mut inbox) = mpsc::channel(4);
    let link = d.unwrap().start(1, Arc::new(Nowhere), events);
    let mut batch = Batch::new();
    while link.path().counters().drops.get(Drop::QueueFull) == 0 {
        (0..50).for_each(|number| send(&link, number, 60_000, &mut batch));
        link.path().flush(&mut batch);
        tokio::task::yield_now().await;
    }
    drop(link);
    let event = tokio::time::timeout(Duration::from_secs(5), inbox.recv()).await.unwrap();
    assert!(matches!(event, Some((1, LinkEvent::Closed { .. }))), "{event:?}");
}
