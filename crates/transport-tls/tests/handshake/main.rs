//! Who is let in, who is not, and that both ends are told why.

#[path = "../common/mod.rs"]
mod common;
mod progress;
mod shown;
mod simultaneous;
mod turns;

use common::{Nowhere, endpoint, handshake, public_key};
use transport_tls::{Expect, HandshakeError, LinkEvent};
use wire::{Message, PeerName, RefuseCode};

#[tokio::test]
async fn both_ends_prove_their_identity_and_share_a_secret() {
    let (d, a) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), Expect::default()).await;
    let (d, a) = (d.unwrap(), a.unwrap());
    assert_eq!((d.public_key, a.public_key), (public_key(2), public_key(1)));
    assert_eq!((d.hello.nickname.as_str(), a.hello.nickname.as_str()), ("h2", "h1"));
    assert_eq!(d.session_secret, a.session_secret);
    assert_eq!(d.dialler_nonce, a.dialler_nonce);
    assert!(d.outbound && !a.outbound && !d.authenticated && !a.authenticated);
    let (again, _) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), Expect::default()).await;
    assert_ne!(d.session_secret, again.unwrap().session_secret, "each link has a secret of its own");
}

#[tokio::test]
async fn a_common_password_lets_in_also_while_it_is_being_replaced() {
    for (ours, theirs) in
        [(&["s3"][..], &["s3"][..]), (&["old"], &["old", "new"]), (&["old", "new"], &["new"])]
    {
        let (d, a) = handshake(&endpoint(1, ours), &endpoint(2, theirs), Expect::default()).await;
        assert!(d.unwrap().authenticated && a.unwrap().authenticated, "{ours:?} {theirs:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_both_ends_know_why() {
    let (d, a) = handshake(&endpoint(1, &["right"]), &endpoint(2, &["wrong"]), Expect::default()).await;
    check_refused(d.err(), a.err(), RefuseCode::PasswordWrong, "wrong password");
}

#[tokio::test]
async fn a_password_on_one_side_only_is_refused_and_both_ends_know_why() {
    for (ours, theirs) in [(&["x"][..], &[][..]), (&[], &["x"])] {
        let (d, a) = handshake(&endpoint(1, ours), &endpoint(2, theirs), Expect::default()).await;
        check_refused(d.err(), a.err(), RefuseCode::PasswordMissing, "the other none");
    }
}

#[tokio::test]
async fn a_peer_of_another_version_is_refused_and_both_ends_know_why() {
    let mut later = endpoint(2, &[]);
    later.versions = (2, 3);
    let (d, a) = handshake(&endpoint(1, &[]), &later, Expect::default()).await;
    check_refused(d.err(), a.err(), RefuseCode::Version, "2 to 3");
}

#[tokio::test]
async fn the_highest_common_version_is_spoken() {
    let (mut one, mut two) = (endpoint(1, &[]), endpoint(2, &[]));
    (one.versions, two.versions) = ((1, 3), (1, 2));
    let (d, a) = handshake(&one, &two, Expect::default()).await;
    assert_eq!((d.unwrap().version, a.unwrap().version), (2, 2));
}

#[tokio::test]
async fn another_identity_than_the_remembered_one_is_refused_and_both_ends_know_why() {
    let expect = Expect { public_key: Some(public_key(7)), name: None };
    let (d, a) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), expect).await;
    check_refused(d.err(), a.err(), RefuseCode::WrongPeer, "another identity");
}

#[tokio::test]
async fn another_peer_than_the_one_heard_of_is_refused() {
    let expect = Expect { public_key: None, name: Some(PeerName::new([2, 9, 9, 9, 9, 9])) };
    let (d, a) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), expect).await;
    let error = d.err().unwrap();
    assert_eq!(error.code(), Some(RefuseCode::WrongPeer), "{error}");
    // The acceptor had said all it has to say; it reads the reason as the first message of the link.
    let (events, mut inbox) = tokio::sync::mpsc::channel(4);
    let _link = a.unwrap().start(1, std::sync::Arc::new(Nowhere), events, None).unwrap();
    let Some((1, LinkEvent::Message(Message::Refuse(refuse)))) = inbox.recv().await else {
        panic!("no reason")
    };
    assert!(refuse.text.contains("expected another peer"), "{refuse}");
}

#[tokio::test]
async fn something_else_than_a_router_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let serve = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let dialler = endpoint(1, &[]);
    let (result, ()) = tokio::join!(dialler.dial(tcp, Expect::default()), serve);
    assert!(matches!(result.err(), Some(HandshakeError::Tls(_))));
}

/// One end refused with this code and words; the other heard the same, or came to the same conclusion by itself.
fn check_refused(d: Option<HandshakeError>, a: Option<HandshakeError>, code: RefuseCode, words: &str) {
    for (who, error) in [("dialler", d), ("acceptor", a)] {
        let error = error.unwrap_or_else(|| panic!("the {who} let the other in"));
        assert_eq!(error.code(), Some(code), "{who}: {error}");
        assert!(error.to_string().contains(words), "{who}: {error}");
    }
}
