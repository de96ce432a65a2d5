//! Further sockets of one path (P6.7), on loopback: which one the path takes up, and that the others leave nothing behind.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Joined, address, join, start};
use packet::{SuperFrame, VnetHdr};
use records::UdpEvent;
use transport::{Batch, FramePath, FrameSink, Outbox, TapFrame};
use transport_udp::{Extra, UdpPath, UdpTransport};
use wire::{ANSWER_RECORD, GroupHeader, Hops, PeerName};

const A: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xa]);
const B: PeerName = PeerName::new([2, 0, 0, 0, 0, 0xb]);
const PATIENCE: Duration = Duration::from_secs(10);

/// Remembers the lengths of frames.
#[derive(Default)]
struct Heard(Mutex<Vec<usize>>);

impl FrameSink for Heard {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        self.0.lock().unwrap().push(frame.frame().frame().len());
    }

    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        false
    }

    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {}
}

/// A opens sockets, B guesses.
struct Pair {
    transports: [UdpTransport; 2],
    to_b: Arc<UdpPath>,
    to_a: Arc<UdpPath>,
    heard: [Arc<Heard>; 2],
    /// What B learns.
    events: Receiver<UdpEvent>,
}

impl Pair {
    fn new() -> Self {
        let (tell, events) = channel();
        let heard = [(); 2].map(|()| Arc::new(Heard::default()));
        let sinks = heard.each_ref().map(|heard| Arc::clone(heard) as Arc<dyn FrameSink>);
        let [of_a, of_b] = sinks;
        let at_a = start(of_a, Box::new(|_| {}));
        let at_b = start(of_b, Box::new(move |event| tell.send(event).unwrap_or_default()));
        let Joined { to_b, to_a, .. } = join((A, &at_a, 1), (B, &at_b, 2));
        Self { transports: [at_a, at_b], to_b, to_a, heard, events }
    }

    fn open(&mut self, n: usize) -> Vec<Arc<Extra>> {
        (0..n).map(|_| self.transports[0].open_extra(&self.to_b).unwrap()).collect()
    }

    /// Waits for an answer to the probe with this token, and gives where it came from.
    fn answered(&self, token: u64) -> SocketAddr {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let UdpEvent::Answer { token: of, from, .. } = self.events.recv_timeout(left).unwrap()
                && of == token
            {
                return from;
            }
        }
    }

    fn guess(&self, at: SocketAddr, token: u64) -> SocketAddr {
        self.to_a.probe(at, token, ANSWER_RECORD as u16).unwrap();
        self.answered(token)
    }

    fn carries(&self, path: &UdpPath, to: usize, len: usize) -> bool {
        let (mut batch, bytes) = (Batch::new(), vec![0; len]);
        path.send(&SuperFrame::checked(VnetHdr::default(), &bytes).unwrap(), &mut batch).unwrap();
        path.flush(&mut batch);
        within(PATIENCE, || self.heard[to].0.lock().unwrap().contains(&len))
    }
}

fn within(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn at(extra: &Extra) -> SocketAddr {
    ([127, 0, 0, 1], extra.port().unwrap()).into()
}

/// Whether nobody has this port any more.
fn is_free(at: SocketAddr) -> bool {
    within(PATIENCE, || UdpSocket::bind(at).is_ok())
}

#[test]
fn the_path_goes_by_the_socket_that_was_guessed_and_the_others_are_closed() {
    let mut pair = Pair::new();
    let extras = pair.open(40);
    let b = address(&pair.transports[1]);
    for (n, extra) in extras.iter().enumerate() {
        extra.probe(b, n as u64).unwrap();
    }
    assert_eq!(
        (pair.to_b.take_found(), pair.to_b.is_by_extra()),
        (None, false),
        "B answers nothing it did not ask"
    );
    let ports: Vec<_> = extras.iter().map(|extra| at(extra)).collect();
    assert_eq!(pair.guess(ports[7], 1000), ports[7], "by no other socket would it get through a NAT");
    assert_eq!((pair.to_b.take_found(), pair.to_b.is_by_extra()), (Some(b), true));
    assert_eq!(pair.to_b.take_found(), None, "told once");

    drop(extras);
    assert!(ports.iter().enumerate().all(|(n, port)| n == 7 || is_free(*port)));
    assert!(UdpSocket::bind(ports[7]).is_err());
    pair.to_a.set_remote(ports[7]);
    assert!(pair.carries(&pair.to_b, 1, 700) && pair.carries(&pair.to_a, 0, 701));
    // A probe of its own goes the same way.
    while pair.events.try_recv().is_ok() {}
    pair.to_b.probe(b, 1, ANSWER_RECORD as u16).unwrap();
    assert_eq!(pair.guess(ports[7], 1001), ports[7]);
    assert_eq!(pair.to_b.take_found(), None, "it has it already");

    pair.to_b.use_main();
    assert!(is_free(ports[7]) && !pair.to_b.is_by_extra());
    let main = address(&pair.transports[0]);
    pair.to_a.set_remote(main);
    assert!(pair.carries(&pair.to_b, 1, 702) && pair.carries(&pair.to_a, 0, 703));
}

#[test]
fn the_last_one_that_the_peer_got_through_to_is_taken() {
    let mut pair = Pair::new();
    let extras = pair.open(3);
    for (token, extra) in [(1, &extras[0]), (2, &extras[2]), (3, &extras[2])] {
        assert_eq!(pair.guess(at(extra), token), at(extra));
    }
    let ports: Vec<_> = extras.iter().map(|extra| at(extra)).collect();
    drop(extras);
    assert!(is_free(ports[0]) && is_free(ports[1]) && UdpSocket::bind(ports[2]).is_err());
    let main = address(&pair.transports[0]);
    assert_eq!(pair.guess(main, 4), main, "what comes to the socket of all is answered from there");
    assert!(pair.to_b.is_by_extra());
}

#[test]
fn what_is_not_of_the_session_is_neither_answered_nor_taken_up() {
    let mut pair = Pair::new();
    let extras = pair.open(1);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for bytes in [vec![], vec![0; 40], [&[1, 0, 0, 0, 1][..], &[0; 40]].concat()] {
        stranger.send_to(&bytes, at(&extras[0])).unwrap();
    }
    assert!(stranger.recv(&mut [0; 100]).is_err());
    assert_eq!((pair.to_b.take_found(), pair.to_b.is_by_extra()), (None, false));
    assert_eq!(pair.guess(at(&extras[0]), 5), at(&extras[0]), "it goes on listening");
}

#[test]
fn a_port_where_nobody_is_does_not_keep_the_receiver_busy() {
    let mut pair = Pair::new();
    let extras = pair.open(2);
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for extra in &extras {
        // The second is told of the ICMP error that the first one caused.
        let _ = extra.probe(nobody, 1);
        std::thread::sleep(Duration::from_millis(20));
        let _ = extra.probe(nobody, 2);
    }
    let before = cpu();
    std::thread::sleep(Duration::from_millis(500));
    assert!(cpu() - before < Duration::from_millis(250), "{:?}", cpu() - before);
    assert_eq!(pair.guess(at(&extras[1]), 6), at(&extras[1]));
}

/// What this process has used of processors so far.
fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    of(usage.user_time()) + of(usage.system_time())
}
