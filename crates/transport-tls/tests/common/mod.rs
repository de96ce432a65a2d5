//! Two endpoints on loopback.
#![expect(clippy::unwrap_used, reason = "a test's own helpers: what is unexpected fails the test")]

use tokio::net::{TcpListener, TcpStream};
use transport::{FrameSink, Outbox, TapFrame};
use transport_tls::{
    Congestion, Credentials, Endpoint, Established, Expect, HandshakeError, LocalHello, Password,
};
use wire::{GroupHeader, Hops, PeerName, Uid};

/// An endpoint whose identity, name and UID follow from `n`.
pub(crate) fn endpoint(n: u8, passwords: &[&str]) -> Endpoint {
    let seed = [n; 32];
    Endpoint {
        credentials: Credentials::new(&seed, &public_key(n)).unwrap(),
        passwords: passwords.iter().map(|p| Password::new(p).unwrap()).collect(),
        uid: Uid(n.into()),
        versions: (1, 1),
        hello: LocalHello {
            name: PeerName::new([2, 0, 0, 0, 0, n]),
            nickname: format!("h{n}"),
            incarnation: 1,
            port: 6783,
            udp_port: 0,
            transports: wire::TRANSPORT_TLS,
            frame_max: 1390,
            program: "test".into(),
        },
        congestion: Congestion::default(),
    }
}

pub(crate) fn public_key(n: u8) -> [u8; 32] {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap().public_key().as_ref().try_into().unwrap()
}

/// What both ends make of it: the dialler's view, then the acceptor's.
pub(crate) async fn handshake(
    dialler: &Endpoint,
    acceptor: &Endpoint,
    expect: Expect,
) -> (Result<Established, HandshakeError>, Result<Established, HandshakeError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        dialler.dial(tcp, expect).await
    };
    let accept = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await
    };
    tokio::join!(dial, accept)
}

/// Forgets what arrives.
pub(crate) struct Nowhere;

impl FrameSink for Nowhere {
    fn deliver(&self, _: PeerName, _: TapFrame<'_>) {}

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}
