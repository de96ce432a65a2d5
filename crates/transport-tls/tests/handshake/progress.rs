//! Handshakes on ways that full segments do not pass (P2.12).
#![expect(clippy::unwrap_used, reason = "what is unexpected fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use transport_tls::{Dialled, Established, HandshakeError, Progress, SHORT_SEGMENT, Turn, connect_short};

use crate::common::endpoint;

const PATIENCE: Duration = Duration::from_millis(300);

/// Between two ends: passes on so many bytes each way, there and back, and swallows the rest. Tells how many came.
struct Way {
    address: SocketAddr,
    came: [watch::Receiver<usize>; 2],
}

impl Way {
    async fn to(acceptor: SocketAddr, most: [usize; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (there, back) = (watch::channel(0), watch::channel(0));
        let came = [there.1, back.1];
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(acceptor).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let pass = |mut from: tokio::net::tcp::OwnedReadHalf,
                        mut to: tokio::net::tcp::OwnedWriteHalf,
                        most: usize,
                        count: watch::Sender<usize>| async move {
                let (mut buffer, mut passed) = (vec![0; 65_536], 0);
                while let Ok(n) = from.read(&mut buffer).await
                    && n > 0
                {
                    count.send_modify(|count| *count += n);
                    let more = n.min(most - passed);
                    to.write_all(&buffer[..more]).await.unwrap();
                    passed += more;
                }
            };
            tokio::join!(pass(near_in, far_out, most[0], there.0), pass(far_in, near_out, most[1], back.0));
        });
        Self { address, came }
    }
}

async fn acceptor() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let two = endpoint(2, &[]);
        while let Ok((tcp, _)) = listener.accept().await {
            let two = two.clone();
            tokio::spawn(async move {
                let established = two.accept(tcp).await;
                tokio::time::sleep(Duration::from_secs(20)).await;
                drop(established);
            });
        }
    });
    address
}

async fn dial(to: SocketAddr, progress: &Progress, turn: &Turn) -> Result<Established, HandshakeError> {
    let tcp = TcpStream::connect(to).await.unwrap();
    let dialled = Dialled { turn: Some(turn), progress: Some(progress), ..Dialled::default() };
    endpoint(1, &[]).dial_one_of(tcp, dialled).await
}

/// Whether the handshake stalls on such a way.
async fn stalls(most: [usize; 2]) -> bool {
    let (way, progress, turn) = (Way::to(acceptor().await, most).await, Progress::default(), Turn::new());
    tokio::select! {
        biased;
        done = dial(way.address, &progress, &turn) => { done.unwrap(); false }
        () = progress.stalled(PATIENCE) => {
            // Another connection is not held up by it.
            let progress = Progress::default();
            let other = dial(acceptor().await, &progress, &turn);
            tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap();
            true
        }
    }
}

#[tokio::test]
async fn a_handshake_stalls_wherever_the_way_ends_and_keeps_nobody_from_a_turn() {
    assert!(!stalls([1 << 20; 2]).await);
    // In the first flight of either end, and in the record behind them that fills a segment.
    for most in [[1000, 1 << 20], [1 << 20, 1000], [2500, 1 << 20], [1 << 20, 2500]] {
        assert!(stalls(most).await, "{most:?}");
    }
}

#[tokio::test]
async fn both_ends_send_a_full_segment_in_the_handshake() {
    let (progress, turn) = (Progress::default(), Turn::new());
    let way = Way::to(acceptor().await, [1 << 20; 2]).await;
    dial(way.address, &progress, &turn).await.unwrap();
    // On loopback a segment has more room than a record.
    for came in way.came {
        assert!(*came.borrow() > 1 << 14, "{}", *came.borrow());
    }
    let for_ever = tokio::time::timeout(Duration::from_millis(100), progress.stalled(Duration::ZERO));
    assert!(for_ever.await.is_err(), "where they pass nothing has stalled");
}

#[tokio::test]
async fn a_connection_of_short_segments_has_them_both_ways_and_makes_a_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(connect_short(listener.local_addr().unwrap()), listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    for tcp in [&near, &far] {
        let segment = SockRef::from(tcp).tcp_mss().unwrap();
        assert!(segment <= SHORT_SEGMENT && segment > SHORT_SEGMENT - 40, "{segment}");
    }
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let (d, a) = tokio::join!(one.dial_one_of(near, Dialled::default()), two.accept(far));
    assert_eq!((d.unwrap().hello.nickname, a.unwrap().hello.nickname), ("h2".into(), "h1".into()));
}
