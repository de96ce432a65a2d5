//! What a stranger on the wire sees of a handshake (P2.2), and who lets whom in.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use transport_tls::{Endpoint, Expect, Shown};

use crate::common::{endpoint, handshake};

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

fn showing(n: u8, shown: Shown) -> Endpoint {
    let endpoint = endpoint(n, &[]);
    Endpoint { credentials: endpoint.credentials.clone().showing(shown), ..endpoint }
}

/// The extensions of the ClientHello (RFC 8446 section 4.1.2) that this endpoint sends.
async fn client_hello(endpoint: &Endpoint) -> Vec<(u16, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(endpoint.dial(tcp, Expect::default()).await.is_err());
    };
    let watch = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut header = [0; 5];
        tcp.read_exact(&mut header).await.unwrap();
        assert_eq!(header[0], 22, "a handshake record");
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        tcp.read_exact(&mut record).await.unwrap();
        record
    };
    let ((), record) = tokio::join!(dial, watch);
    extensions(&record)
}

fn extensions(hello: &[u8]) -> Vec<(u16, Vec<u8>)> {
    assert_eq!(hello[0], 1, "a ClientHello");
    // Type and length, version, random.
    let mut rest = &hello[4 + 2 + 32..];
    // Session, cipher suites, compression.
    let _ = vector(&mut rest, 1);
    let _ = vector(&mut rest, 2);
    let _ = vector(&mut rest, 1);
    let mut list = vector(&mut rest, 2);
    let mut found = Vec::new();
    while !list.is_empty() {
        let kind = u16::from_be_bytes([list[0], list[1]]);
        list = &list[2..];
        found.push((kind, vector(&mut list, 2).to_vec()));
    }
    found
}

fn vector<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let len = bytes[..length].iter().fold(0, |len, b| len << 8 | usize::from(*b));
    let (vector, rest) = bytes[length..].split_at(len);
    *bytes = rest;
    vector
}

fn of(extensions: &[(u16, Vec<u8>)], kind: u16) -> Option<&[u8]> {
    extensions.iter().find(|(k, _)| *k == kind).map(|(_, body)| &body[..])
}

#[tokio::test]
async fn by_default_no_server_name_and_our_own_protocol() {
    let seen = client_hello(&endpoint(1, &[])).await;
    assert_eq!(of(&seen, SERVER_NAME), None);
    assert_eq!(of(&seen, ALPN), Some(&b"\x00\x06\x05weave"[..]));
}

#[tokio::test]
async fn a_dialler_looks_as_it_is_told() {
    let shown = Shown::default().with_server_name("www.example.org").unwrap();
    let seen = client_hello(&showing(1, shown.with_alpn("h2,http/1.1").unwrap())).await;
    assert_eq!(of(&seen, SERVER_NAME), Some(&b"\x00\x12\x00\x00\x0fwww.example.org"[..]));
    assert_eq!(of(&seen, ALPN), Some(&b"\x00\x0c\x02h2\x08http/1.1"[..]));
}

#[tokio::test]
async fn only_the_dialling_end_has_to_be_told() {
    let shown = || Shown::default().with_server_name("www.example.org").unwrap().with_alpn("h2").unwrap();
    for (dialler, acceptor) in
        [(showing(1, shown()), endpoint(2, &[])), (endpoint(1, &[]), showing(2, shown()))]
    {
        let (d, a) = handshake(&dialler, &acceptor, Expect::default()).await;
        assert_eq!(d.unwrap().hello.nickname, "h2");
        assert_eq!(a.unwrap().hello.nickname, "h1");
    }
}
