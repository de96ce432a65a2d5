//! Two neighbours on loopback, with real links and records; only the time is made up.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use packet::{SuperFrame, VnetHdr};
use tokio::net::{TcpListener, TcpStream};
use transport::{Batch, Outbox, TapFrame};
use transport_tls::{Credentials, Endpoint, Expect, LocalHello};
use transport_udp::Socket;
use wire::{GroupHeader, Hops, Uid};

use super::epochs::{OLD_KEYS, SETTLE};
use super::*;

const MTU: u32 = 1376;
/// More turns than any exchange below needs.
const TURNS: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_start_on_tls_move_to_udp_and_go_on_through_a_new_epoch() {
    let mut pair = Pair::connect([TransportChoice::Auto; 2]).await;
    let mut now = Instant::now();
    assert_eq!(pair.chosen(), [Some(PathKind::Tls); 2], "at once");
    pair.send_both_ways();

    pair.run_until(&mut now, |p| p.chosen() == [Some(PathKind::Udp); 2]).await;
    pair.send_both_ways();
    let first = pair.indices();

    now += EPOCH;
    pair.run_until(&mut now, |p| p.indices().iter().zip(first).all(|(new, old)| *new != old)).await;
    pair.send_both_ways();
    now += SETTLE;
    pair.turn(now);
    assert!(
        pair.ends.iter().all(|e| e
            .neighbour
            .udp
            .as_ref()
            .is_some_and(|u| u.epoch == 1 && u.next_sealer.is_none()))
    );
    pair.send_both_ways();

    now += OLD_KEYS;
    pair.run_until(&mut now, |p| {
        p.ends.iter().all(|e| e.neighbour.udp.as_ref().is_some_and(|u| u.old.is_empty()))
    })
    .await;
    pair.send_both_ways();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_late_still_belongs_to_the_offer_under_way() {
    let mut pair = Pair::connect([TransportChoice::Auto; 2]).await;
    let mut now = Instant::now();
    // The link is slow: for a minute nothing arrives, while the dialler looks every second whether an epoch is due.
    for _ in 0..60 {
        now += Duration::from_secs(1);
        pair.ends[0].neighbour.tick(now);
    }
    pair.run_until(&mut now, |p| p.chosen() == [Some(PathKind::Udp); 2]).await;
    pair.send_both_ways();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_uses_tls_only_keeps_the_other_from_udp() {
    let mut pair = Pair::connect([TransportChoice::Auto, TransportChoice::Tls]).await;
    let mut now = Instant::now();
    for _ in 0..20 {
        now += Duration::from_millis(500);
        pair.turn(now);
    }
    assert_eq!(pair.chosen(), [Some(PathKind::Tls); 2]);
    assert!(pair.ends[0].neighbour.reason().contains("TLS only"));
    pair.send_both_ways();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_without_a_common_transport_say_so() {
    let pair = Pair::connect([TransportChoice::Udp, TransportChoice::Tls]).await;
    assert_eq!(pair.chosen(), [None; 2]);
    assert!(pair.ends[1].neighbour.reason().contains("UDP only, the other TLS only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_over_udp_vouch_for_a_link_that_is_silent_but_only_for_a_while() {
    let mut pair = Pair::connect([TransportChoice::Auto; 2]).await;
    let mut now = Instant::now();
    pair.run_until(&mut now, |p| p.chosen() == [Some(PathKind::Udp); 2]).await;
    pair.ends[1].neighbour.link_heard(now);
    pair.ends[1].neighbour.heard(now);
    pair.send_both_ways();
    assert!(pair.ends[1].neighbour.heard(now + VOUCHED / 2));
    assert!(!pair.ends[1].neighbour.heard(now + VOUCHED / 2), "nothing came since");
    pair.send_both_ways();
    assert!(!pair.ends[1].neighbour.heard(now + VOUCHED), "the link may have stalled");
    pair.ends[1].neighbour.link_heard(now + VOUCHED);
    pair.send_both_ways();
    assert!(pair.ends[1].neighbour.heard(now + VOUCHED));
}

struct End {
    neighbour: Neighbour,
    udp: UdpTransport,
    udp_events: Receiver<UdpEvent>,
    link_events: mpsc::Receiver<(u64, LinkEvent)>,
    heard: Arc<Heard>,
}

struct Pair {
    ends: [End; 2],
}

#[derive(Default)]
struct Heard(Mutex<Vec<Vec<u8>>>);

impl FrameSink for Heard {
    fn deliver(&self, _: PeerName, frame: TapFrame<'_>) {
        self.0.lock().unwrap().push(frame.frame().frame().to_vec());
    }
    fn take_group(&self, _: PeerName, _: &GroupHeader, _: TapFrame<'_>, _: &mut Outbox) -> bool {
        panic!("nobody sent a frame for everyone")
    }
    fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {
        panic!("nobody sent a record of others");
    }
}

impl Pair {
    async fn connect(choices: [TransportChoice; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sinks = [Arc::new(Heard::default()), Arc::new(Heard::default())];
        let [(udp_d, events_d), (udp_a, events_a)] = [&sinks[0], &sinks[1]].map(|sink| {
            let (sender, events) = channel();
            let socket = Socket::bind(Some("127.0.0.1".parse().unwrap()), 0).unwrap();
            let udp = UdpTransport::start(
                socket,
                sink.clone(),
                Box::new(move |e| sender.send(e).unwrap_or_default()),
            )
            .unwrap();
            (udp, events)
        });
        let (d, a) = (endpoint(1, choices[0], &udp_d), endpoint(2, choices[1], &udp_a));
        let dial = async {
            d.dial(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(), Expect::default()).await
        };
        let accept = async { a.accept(listener.accept().await.unwrap().0).await };
        let (d, a) = tokio::join!(dial, accept);
        let [heard_d, heard_a] = sinks;
        let end = |established, choice, udp, udp_events, heard: Arc<Heard>| {
            let (events, link_events) = mpsc::channel(64);
            let mut neighbour = Neighbour::start(
                Instant::now(),
                LinkId(1),
                established,
                LinkWay::Direct,
                choice,
                Upwards { frames: heard.clone(), events, handover: None },
            )
            .unwrap();
            neighbour.offer_session();
            End { neighbour, udp, udp_events, link_events, heard }
        };
        Self {
            ends: [
                end(d.unwrap(), choices[0], udp_d, events_d, heard_d),
                end(a.unwrap(), choices[1], udp_a, events_a, heard_a),
            ],
        }
    }

    /// What the core does with one neighbour in one turn.
    fn turn(&mut self, now: Instant) {
        for end in &mut self.ends {
            while let Ok((_, event)) = end.link_events.try_recv() {
                if let LinkEvent::Message(message) = event {
                    end.neighbour.session_message(now, &end.udp, MTU, message);
                }
            }
            while let Ok(event) = end.udp_events.try_recv() {
                end.neighbour.udp_event(now, event);
            }
            end.neighbour.tick(now);
            end.neighbour.drive(now, Some(&end.udp));
        }
    }

    /// Turns in steps of 10 ms, real and made up, until `done`.
    async fn run_until(&mut self, now: &mut Instant, done: impl Fn(&Self) -> bool) {
        for _ in 0..TURNS {
            self.turn(*now);
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            *now += Duration::from_millis(10);
        }
        panic!("it did not come to it: {:?}", self.ends.each_ref().map(|e| e.neighbour.reason()));
    }

    fn chosen(&self) -> [Option<PathKind>; 2] {
        self.ends.each_ref().map(|e| e.neighbour.chosen())
    }

    fn indices(&self) -> [u32; 2] {
        self.ends.each_ref().map(|e| e.neighbour.udp.as_ref().map_or(0, |u| u.index))
    }

    /// One frame each way must arrive.
    fn send_both_ways(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let mut batch = Batch::new();
            let path = self.ends[from].neighbour.paths().primary.unwrap();
            path.send(&SuperFrame::checked(VnetHdr::default(), &[from as u8; 60]).unwrap(), &mut batch)
                .unwrap();
            path.flush(&mut batch);
            let until = Instant::now() + Duration::from_secs(5);
            while self.ends[to].heard.0.lock().unwrap().pop() != Some(vec![from as u8; 60]) {
                assert!(
                    Instant::now() < until,
                    "a frame from {from} over {} did not arrive",
                    path.kind().name()
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn endpoint(n: u8, choice: TransportChoice, udp: &UdpTransport) -> Endpoint {
    let seed = [n; 32];
    let identity = mesh::Identity::from_seed(&seed);
    Endpoint {
        credentials: Credentials::new(&seed, &identity.public_key()).unwrap(),
        passwords: Vec::new(),
        uid: Uid(n.into()),
        versions: (1, 1),
        hello: LocalHello {
            name: identity.name(),
            nickname: format!("h{n}"),
            incarnation: 1,
            port: 6783,
            udp_port: udp.socket().port().unwrap(),
            transports: transports(choice),
            frame_max: MTU + 14,
            program: "test".into(),
        },
        congestion: transport_tls::Congestion::default(),
    }
}
