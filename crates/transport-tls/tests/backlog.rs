//! A link whose other end is slow: bounded, in order, and still in control.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Nowhere, endpoint, handshake};
use packet::{SuperFrame, VnetHdr};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

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
    (d.start(1, slow.clone(), own, None).unwrap(), a.start(2, slow, events, None).unwrap(), inbox)
}

fn send(link: &Link, number: u64, len: usize, batch: &mut Batch) {
    send_from(1, link, number, len, batch);
}

fn send_from(source: u8, link: &Link, number: u64, len: usize, batch: &mut Batch) {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, source, 0x88, 0xb5];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(len, 0x5a);
    link.path().send(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap(), batch).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_find_no_room_are_counted_and_the_rest_arrives_in_order() {
    // Nearly twice what may wait.
    const FRAMES: u64 = 10_000;
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
    let dropped = path.counters().drops.get(Drop::QueueFull);
    assert!(dropped > 0, "the other end was not slow enough for this test");
    let left = FRAMES - dropped;
    tokio::time::timeout(Duration::from_secs(20), async {
        while slow.1.load(Relaxed) < left {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {left} frames arrived", slow.1.load(Relaxed)));
    assert_eq!(path.counters().tx_frames.load(Relaxed), left, "all that was not dropped is counted as sent");
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
    let taken = 1200 - dialler.path().counters().drops.get(Drop::QueueFull);
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
    let link = d.unwrap().start(1, Arc::new(Nowhere), events, None).unwrap();
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

/// A hop that passes on so many bytes a second and keeps hardly any, as a shaped line with a short queue does.
async fn narrow(to: std::net::SocketAddr, rate: usize) -> std::net::SocketAddr {
    const TURN: Duration = Duration::from_millis(5);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&listener).set_recv_buffer_size(8192).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (from, _) = listener.accept().await.unwrap();
        let to = TcpStream::connect(to).await.unwrap();
        to.set_nodelay(true).unwrap();
        let ((mut from_read, mut from_write), (mut to_read, mut to_write)) =
            (from.into_split(), to.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut to_read, &mut from_write).await });
        let (start, mut passed, mut bytes) = (Instant::now(), 0, vec![0; 4096]);
        while let Ok(read @ 1..) = from_read.read(&mut bytes).await {
            if to_write.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            passed += read;
            let due = start + Duration::from_secs_f64(passed as f64 / rate as f64);
            if due > Instant::now() + TURN {
                tokio::time::sleep_until(due.into()).await;
            }
        }
    });
    address
}

/// Notes how long frames with a time in them were under way, by the last byte of their source.
struct Times(Instant, Mutex<[Vec<Duration>; 3]>);

impl FrameSink for Times {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        let frame = frame.frame().frame();
        let sent = Duration::from_micros(u64::from_be_bytes(frame[14..22].try_into().unwrap()));
        self.1.lock().unwrap()[usize::from(frame[11])].push(self.0.elapsed() - sent);
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}

fn high(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 9 / 10]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_control_and_small_flows_take_less_than_a_tenth_of_a_second() {
    // 10 Mb/s.
    const RATE: usize = 1_250_000;
    let times = Arc::new(Times(Instant::now(), Mutex::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = narrow(listener.local_addr().unwrap(), RATE).await;
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let dial = async { one.dial(TcpStream::connect(hop).await.unwrap(), Expect::default()).await.unwrap() };
    let accept = async { two.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (d, a) = tokio::join!(dial, accept);
    let (events, mut inbox) = mpsc::channel(64);
    let (own, _own_inbox) = mpsc::channel(64);
    let link = d.start(1, times.clone(), own, None).unwrap();
    let _other = a.start(2, times.clone(), events, None).unwrap();
    let control = tokio::spawn({
        let start = times.0;
        async move {
            let mut control = Vec::new();
            while let Some((2, LinkEvent::Message(Message::Ping(sent)))) = inbox.recv().await {
                control.push(start.elapsed() - Duration::from_micros(sent));
            }
            control
        }
    });
    let now = || times.0.elapsed().as_micros() as u64;
    let mut batch = Batch::new();
    for turn in 0..800 {
        // Three times what the hop passes on, and every 50 ms a ping and a small frame.
        (0..14).for_each(|_| send_from(1, &link, now(), 1390, &mut batch));
        if turn % 10 == 0 {
            send_from(2, &link, now(), 98, &mut batch);
        }
        link.path().flush(&mut batch);
        if turn % 10 == 5 {
            assert!(link.send(Message::Ping(now())));
        }
        // The first second is for finding out how fast the hop is.
        if turn == 200 {
            times.1.lock().unwrap().iter_mut().for_each(Vec::clear);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(link);
    let mut control = tokio::time::timeout(Duration::from_secs(20), control).await.unwrap().unwrap();
    let control = high(control.split_off(20));
    let [_, bulk, small] = std::mem::take(&mut *times.1.lock().unwrap());
    assert!(bulk.len() > 1000 && small.len() > 40, "{} and {} frames arrived", bulk.len(), small.len());
    let (bulk, small) = (high(bulk), high(small));
    let said = format!("nine in ten: control {control:?}, small {small:?}, bulk {bulk:?}");
    println!("{said}");
    assert!(control < Duration::from_millis(100) && small < Duration::from_millis(100), "{said}");
    assert!(bulk < Duration::from_millis(400), "{said}");
}
