//! Ways that fail, are silent, or work, against a real acceptor.

use std::time::Instant;

use mesh::Identity;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use transport_tls::{Credentials, LocalHello};
use wire::Uid;

use super::*;
use crate::proxy::Exceptions;
use crate::proxy::testing::serve;

fn endpoint(n: u8) -> Endpoint {
    let identity = Identity::from_seed(&[n; 32]);
    Endpoint {
        credentials: Credentials::new(&[n; 32], &identity.public_key()).unwrap(),
        passwords: Vec::new(),
        uid: Uid(n.into()),
        versions: (1, 1),
        hello: LocalHello {
            name: identity.name(),
            nickname: format!("h{n}"),
            incarnation: 1,
            port: 6783,
            udp_port: 0,
            transports: wire::TRANSPORT_TLS,
            frame_max: 1390,
            program: "test".into(),
        },
        congestion: transport_tls::Congestion::default(),
    }
}

/// Accepts links for ever; how many there were is in the number that comes.
async fn acceptor() -> (SocketAddr, mpsc::Receiver<Established>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, links) = mpsc::channel(8);
    tokio::spawn(async move {
        let endpoint = Arc::new(endpoint(2));
        while let Ok((tcp, _)) = listener.accept().await {
            let (endpoint, sender) = (Arc::clone(&endpoint), sender.clone());
            tokio::spawn(async move {
                if let Ok(established) = endpoint.accept(tcp).await {
                    let _ = sender.send(established).await;
                }
            });
        }
    });
    (address, links)
}

/// A port where nobody listens.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A proxy that leads to `beyond`, whatever it is asked for.
async fn leading_to(beyond: SocketAddr) -> (Proxy, JoinHandle<String>) {
    let reply = Box::new(|_: &str| b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let (address, served) = serve(reply, 1, Some(beyond)).await;
    (proxy(address, ""), served)
}

fn proxy(address: SocketAddr, except: &str) -> Proxy {
    let server = HttpProxy::parse(&format!("http://user:hunter2@{address}")).unwrap();
    Proxy { server, except: Exceptions::parse(except) }
}

/// What the event loop hears last.
async fn dial(to: DialTo, proxy: Option<Proxy>) -> Result<Established, String> {
    let (inputs, mut inbox) = mpsc::channel(64);
    let dialler = Dialler {
        endpoint: Arc::new(endpoint(1)),
        proxy: proxy.map(Arc::new),
        narrow: Arc::default(),
        default_port: 6783,
        inputs,
    };
    dialler.dial(DialId(1), to, Pins::new()).await;
    let mut last = None;
    while let Some(input) = inbox.recv().await {
        last = Some(input);
    }
    match last.unwrap() {
        Input::Linked(established, Some(DialId(1))) => Ok(*established),
        Input::DialFailed(DialId(1), reason, _) => Err(reason),
        _ => panic!("neither a link nor a failure"),
    }
}

fn target(text: impl ToString) -> DialTo {
    DialTo::Target(text.to_string())
}

#[tokio::test]
async fn what_answers_directly_is_linked_and_the_proxy_hears_nothing() {
    let (address, mut links) = acceptor().await;
    let (proxy, served) = leading_to(address).await;
    let established = dial(target(address), Some(proxy)).await.unwrap();
    assert_eq!((established.remote, established.proxied), (address, false));
    assert_eq!(links.recv().await.unwrap().hello.nickname, "h1");
    assert!(!served.is_finished());
}

#[tokio::test]
async fn where_connections_are_refused_the_proxy_is_asked_at_once() {
    let (address, mut links) = acceptor().await;
    let refused = closed().await;
    let (proxy, served) = leading_to(address).await;
    let established = dial(target(refused), Some(proxy)).await.unwrap();
    assert_eq!((established.remote, established.proxied), (refused, true));
    assert_eq!(links.recv().await.unwrap().hello.seen, None);
    drop(established);
    drop(links);
    assert!(served.await.unwrap().starts_with(&format!("CONNECT {refused} HTTP/1.1\r\n")));
}

#[tokio::test]
async fn a_name_that_only_the_proxy_knows_is_left_to_it() {
    let (address, _links) = acceptor().await;
    let (proxy, served) = leading_to(address).await;
    let established = dial(target("host2.invalid:443"), Some(proxy)).await.unwrap();
    assert!(established.proxied && established.remote.ip().is_unspecified());
    drop(established);
    assert!(served.await.unwrap().starts_with("CONNECT host2.invalid:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_way_on_which_nothing_comes_back_does_not_hold_up_the_proxy() {
    let (address, mut links) = acceptor().await;
    // Takes connections, as a firewall may that lets no TLS through, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (proxy, _served) = leading_to(address).await;
    let start = Instant::now();
    let established = dial(target(silent.local_addr().unwrap()), Some(proxy)).await.unwrap();
    assert!(established.proxied && start.elapsed() >= PROXY_GAP);
    assert!(start.elapsed() < Duration::from_secs(8), "before the silent way was given up");
    links.recv().await.unwrap();
    assert!(links.try_recv().is_err(), "one link");
}

#[tokio::test]
async fn whom_no_proxy_names_is_reached_directly_or_not_at_all() {
    let (address, _links) = acceptor().await;
    let (mut proxy, served) = leading_to(address).await;
    proxy.except = Exceptions::parse("127.0.0.0/8");
    let refused = closed().await;
    let expect = Identity::from_seed(&[2; 32]).name();
    let reason =
        dial(DialTo::Addresses { addresses: vec![refused], expect }, Some(proxy)).await.err().unwrap();
    assert_eq!(reason, format!("cannot connect to {refused}: connection refused"));
    assert!(!served.is_finished());
}

#[tokio::test]
async fn addresses_of_a_peer_are_tried_side_by_side_and_a_stranger_at_one_of_them_harms_nobody() {
    let (address, mut links) = acceptor().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = vec![held.local_addr().unwrap(), silent, address];
    let expect = Identity::from_seed(&[2; 32]).name();
    let start = Instant::now();
    let to = DialTo::Addresses { addresses: addresses.clone(), expect };
    assert_eq!(dial(to, None).await.unwrap().remote, address);
    assert!(start.elapsed() >= ADDRESS_GAP && start.elapsed() < Duration::from_secs(8));
    links.recv().await.unwrap();
    // Somebody else lives there.
    let expect = Identity::from_seed(&[3; 32]).name();
    let refused = closed().await;
    let to = |addresses| DialTo::Addresses { addresses, expect };
    let reason = dial(to(vec![address, refused]), None).await.err().unwrap();
    assert_eq!(reason, format!("cannot connect to {refused}: connection refused"));
    let reason = dial(to(vec![address]), None).await.err().unwrap();
    assert!(reason.contains("expected another peer"), "{reason}");
}

#[tokio::test]
async fn when_every_way_fails_all_reasons_are_told_and_no_password() {
    let (refused, nowhere) = (closed().await, closed().await);
    let reason = dial(target(refused), Some(proxy(nowhere, ""))).await.err().unwrap();
    assert_eq!(
        reason,
        format!(
            "cannot connect to {refused}: connection refused; the proxy http://{nowhere}: cannot connect to {nowhere}: connection refused"
        )
    );
}

#[test]
fn a_refusal_goes_before_other_reasons() {
    let failed = |reason: &str, code| Failed { reason: reason.into(), code };
    let all = vec![
        failed("a", None),
        failed("b", Some(RefuseCode::PasswordWrong)),
        failed("b", Some(RefuseCode::PasswordWrong)),
    ];
    assert_eq!(Failed::of(all), failed("b", Some(RefuseCode::PasswordWrong)));
    let elsewhere = vec![failed("a", Some(RefuseCode::WrongPeer)), failed("b", None)];
    assert_eq!(Failed::of(elsewhere), failed("b", None));
    let elsewhere = vec![failed("a", Some(RefuseCode::WrongPeer))];
    assert_eq!(Failed::of(elsewhere), failed("a", Some(RefuseCode::WrongPeer)));
    assert_eq!(
        Failed::of(vec![failed("a", None), failed("a", None), failed("c", None)]),
        failed("a; c", None)
    );
}
