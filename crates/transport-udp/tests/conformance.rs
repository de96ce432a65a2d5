//! The contract, over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

use std::sync::Arc;

use session::{KeyExchange, Role};
use transport::conformance::{self, Ends, Harness};
use transport::{FramePath, FrameSink};
use transport_udp::{Socket, UdpPath, UdpTransport};
use wire::{Cipher, PeerName};

const MAX_FRAME: usize = 1390;

/// Keeps what it made alive until the end.
#[derive(Default)]
struct Loopback(Vec<UdpTransport>);

impl Harness for Loopback {
    fn connect(&mut self, a: (PeerName, Arc<dyn FrameSink>), b: (PeerName, Arc<dyn FrameSink>)) -> Ends {
        let host = Some("127.0.0.1".parse().unwrap());
        let start =
            |sink| UdpTransport::start(Socket::bind(host, 0).unwrap(), sink, Box::new(|_| {})).unwrap();
        let (at_a, at_b) = (start(a.1), start(b.1));
        let (ka, kb) = (KeyExchange::new().unwrap(), KeyExchange::new().unwrap());
        let (pa, pb) = (ka.public_key().to_vec(), kb.public_key().to_vec());
        let (seal_a, open_a) = ka.finish(&pb, &[1; 32], Role::Dialler, 0, Cipher::Aes256Gcm, 22).unwrap();
        let (seal_b, open_b) = kb.finish(&pa, &[1; 32], Role::Acceptor, 0, Cipher::Aes256Gcm, 11).unwrap();
        let path = |from: &UdpTransport, to: &UdpTransport, sealer| {
            let remote = format!("127.0.0.1:{}", to.socket().port().unwrap()).parse().unwrap();
            Arc::new(UdpPath::new(from.socket(), sealer, remote, MAX_FRAME))
        };
        let (to_b, to_a) = (path(&at_a, &at_b, seal_a), path(&at_b, &at_a, seal_b));
        at_a.install(11, b.0, open_a, Arc::clone(&to_b));
        at_b.install(22, a.0, open_b, Arc::clone(&to_a));
        // Frames of a session that is not installed yet would be lost, which this harness promises not to do.
        std::thread::sleep(std::time::Duration::from_millis(50));
        self.0.extend([at_a, at_b]);
        let closing = [Arc::clone(&to_b), Arc::clone(&to_a)];
        Ends {
            to_b: to_b as Arc<dyn FramePath>,
            to_a: to_a as Arc<dyn FramePath>,
            close: Box::new(move || closing.iter().for_each(|p| p.close())),
        }
    }
}

#[test]
fn it_fulfils_the_contract() {
    conformance::run(&mut Loopback::default());
}
