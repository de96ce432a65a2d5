//! Several connections of one dial: one link comes of them.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use transport_tls::{Dialled, Expect, Turn};
use wire::PeerName;

use crate::common::endpoint;

#[tokio::test]
async fn of_two_handshakes_one_gets_to_its_end_and_the_acceptor_knows_of_no_other() {
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let turn = Turn::new();
    let dialled = Dialled { turn: Some(&turn), ..Dialled::default() };
    let dial = || async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        one.dial_one_of(tcp, dialled).await
    };
    let race = async {
        let established = tokio::select! {
            done = dial() => done,
            done = dial() => done,
        };
        // The connection of the other went with its future.
        established.unwrap()
    };
    let accept = || async { two.accept(listener.accept().await.unwrap().0).await };
    let (established, first, second) = tokio::join!(race, accept(), accept());
    assert_eq!(established.hello.nickname, "h2");
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
}

#[tokio::test]
async fn a_handshake_that_fails_lets_the_next_have_its_turn() {
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let turn = Turn::new();
    let dial = |name: u8| {
        let expect = Expect { name: Some(PeerName::new([2, 0, 0, 0, 0, name])), ..Expect::default() };
        let dialled = Dialled { expect, turn: Some(&turn), ..Dialled::default() };
        let (one, listener) = (&one, &listener);
        async move {
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            one.dial_one_of(tcp, dialled).await
        }
    };
    let accept = || async { two.accept(listener.accept().await.unwrap().0).await };
    let (wrong, _) = tokio::join!(dial(9), accept());
    let (right, _) = tokio::join!(dial(2), accept());
    assert!(wrong.err().unwrap().to_string().contains("expected another peer"));
    assert_eq!(right.unwrap().hello.nickname, "h2");
}

#[tokio::test]
async fn beyond_a_proxy_neither_end_takes_its_address_for_the_other_ends() {
    let (one, two) = (endpoint(1, &[]), endpoint(2, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let beyond_proxy = Some("198.18.0.9:443".parse().unwrap());
        one.dial_one_of(tcp, Dialled { beyond_proxy, ..Dialled::default() }).await.unwrap()
    };
    let accept = async { two.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let joined = async { tokio::join!(dial, accept) };
    let (d, a) = tokio::time::timeout(Duration::from_secs(20), joined).await.unwrap();
    assert_eq!((d.remote.to_string().as_str(), d.proxied), ("198.18.0.9:443", true));
    assert_eq!(a.hello.seen, None, "the dialler says nothing of where it sees the acceptor");
    assert!(!a.proxied && d.hello.seen.is_some());
}
