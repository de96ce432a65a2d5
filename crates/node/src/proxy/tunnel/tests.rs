//! Against a small proxy of our own, and against what is none.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::*;
use crate::proxy::testing::{Reply, serve};

fn proxy(login: &str, address: SocketAddr) -> HttpProxy {
    HttpProxy::parse(&format!("http://{login}{address}")).unwrap()
}

async fn refusal(login: &str, port: u16, answer: &'static str) -> String {
    let (address, _) = serve(Box::new(move |_| answer.into()), usize::MAX, None).await;
    let proxy = proxy(login, address);
    let text = open(&proxy, "host2", port).await.unwrap_err();
    assert!(text.contains(&proxy.to_string()) && !text.contains("hunter2"), "{text}");
    text
}

/// The usual behaviour of one that wants a login.
fn doorkeeper(request: &str) -> Vec<u8> {
    // user:p@ss
    if request.contains("\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n") {
        b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec()
    } else {
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"
            .to_vec()
    }
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    address
}

#[tokio::test]
async fn through_the_tunnel_bytes_pass_both_ways() {
    for (login, step) in [("", usize::MAX), ("user:p%40ss@", 1)] {
        let accept_all = |_: &str| b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\n".to_vec();
        let reply: Reply = if login.is_empty() { Box::new(accept_all) } else { Box::new(doorkeeper) };
        let (address, served) = serve(reply, step, Some(echo().await)).await;
        let mut tcp = open(&proxy(login, address), "host2.example", 443).await.unwrap();
        tcp.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        tcp.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
        drop(tcp);
        let request = served.await.unwrap();
        let begin = "CONNECT host2.example:443 HTTP/1.1\r\nHost: host2.example:443\r\n";
        assert!(request.starts_with(begin), "the name, not an address: {request}");
        assert_eq!(request.contains("Authorization"), !login.is_empty());
    }
}

#[tokio::test]
async fn an_ipv6_address_is_asked_for_in_brackets() {
    let (address, served) = serve(Box::new(|_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), usize::MAX, None).await;
    open(&proxy("", address), "2001:db8::1", 6783).await.unwrap();
    assert!(served.await.unwrap().starts_with("CONNECT [2001:db8::1]:6783 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_proxy_that_wants_a_login_says_so() {
    let (address, _) = serve(Box::new(doorkeeper), usize::MAX, None).await;
    let text = open(&proxy("", address), "host2", 443).await.unwrap_err();
    assert!(text.contains("wants a user and password"), "{text}");
    let (address, _) = serve(Box::new(doorkeeper), usize::MAX, None).await;
    let text = open(&proxy("user:hunter2@", address), "host2", 443).await.unwrap_err();
    assert!(text.contains("does not take this user and password") && !text.contains("hunter2"), "{text}");
    let text = refusal("", 443, "HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\n\r\n").await;
    assert!(text.contains("of a kind that is not spoken"), "{text}");
}

#[tokio::test]
async fn other_refusals_are_named() {
    for (port, answer, expected) in [
        (6783, "HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow host2:6783: most allow port 443 alone"),
        (443, "HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow host2:443"),
        (443, "HTTP/1.1 503 Service Unavailable\r\n\r\n", "cannot reach host2:443: it answers 503"),
        (443, "HTTP/1.1 418 Teapot\r\n\r\n", "opens no way to host2:443: it answers 418 Teapot"),
        (443, "SSH-2.0-OpenSSH_9\r\n", "it does not speak HTTP"),
        (443, "HTTP/1.1 200 OK\r\n\r\n\x16\x03", "it sends more than its answer"),
        (443, "HTTP/1.1 200 O", "closes the connection without an answer"),
    ] {
        let text = refusal("user:hunter2@", port, answer).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let text = open(&proxy("u:hunter2@", address), "host2", 443).await.unwrap_err();
    assert_eq!(text, format!("the proxy http://{address}: cannot connect to {address}: connection refused"));
}
