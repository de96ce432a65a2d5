//! The contract, over real links on loopback.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

mod common;

use std::sync::Arc;

use common::{Nowhere, endpoint, handshake};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use transport::FrameSink;
use transport::conformance::{self, Ends, Harness, HopEnds, HopHarness};
use transport_tls::{Expect, LinkEvent};
use wire::{Message, PeerName, Refuse, RefuseCode};

struct Links(Runtime);

type End = (PeerName, Arc<dyn FrameSink>);

impl Links {
    fn links(&mut self, a: End, b: End) -> HopEnds {
        let (mut one, mut two) = (endpoint(1, &[]), endpoint(2, &[]));
        (one.hello.name, two.hello.name) = (a.0, b.0);
        let (to_b, to_a) = self.0.block_on(async {
            let (d, a_) = handshake(&one, &two, Expect::default()).await;
            let (events, mut inbox) = mpsc::channel(64);
            tokio::spawn(async move { while inbox.recv().await.is_some() {} });
            let to_b = d.unwrap().start(1, a.1, events.clone(), None).unwrap();
            (to_b, a_.unwrap().start(2, b.1, events, None).unwrap())
        });
        HopEnds {
            to_b: to_b.path(),
            to_a: to_a.path(),
            close: Box::new(move || {
                to_b.close(Refuse::new(RefuseCode::ShuttingDown, "test"));
                drop((to_b, to_a));
            }),
        }
    }
}

impl Harness for Links {
    fn connect(&mut self, a: End, b: End) -> Ends {
        let HopEnds { to_b, to_a, close } = self.links(a, b);
        Ends { to_b, to_a, close }
    }
}

impl HopHarness for Links {
    fn connect_hops(&mut self, a: End, b: End) -> HopEnds {
        self.links(a, b)
    }
}

#[test]
fn it_fulfils_the_contract() {
    conformance::run(&mut Links(Runtime::new().unwrap()));
}

#[test]
fn it_fulfils_the_contract_of_a_hop() {
    conformance::run_hops(&mut Links(Runtime::new().unwrap()));
}

#[test]
fn control_messages_arrive_and_a_refusal_is_the_last_thing_heard() {
    Runtime::new().unwrap().block_on(async {
        let (d, a) = handshake(&endpoint(1, &[]), &endpoint(2, &[]), Expect::default()).await;
        let (events, mut inbox) = mpsc::channel(64);
        let (quiet, mut own) = mpsc::channel(64);
        let dialler = d.unwrap().start(1, Arc::new(Nowhere), quiet, None).unwrap();
        let _acceptor = a.unwrap().start(2, Arc::new(Nowhere), events, None).unwrap();
        assert!(dialler.send(Message::Ping(7)));
        dialler.close(Refuse::new(RefuseCode::ShuttingDown, "bye"));
        let mut heard = Vec::new();
        while let Some((2, event)) = inbox.recv().await {
            let last = matches!(event, LinkEvent::Closed { .. });
            heard.push(event);
            if last {
                break;
            }
        }
        assert!(matches!(heard[0], LinkEvent::Message(Message::Ping(7))), "{heard:?}");
        assert!(matches!(&heard[1], LinkEvent::Message(Message::Refuse(r)) if r.text == "bye"), "{heard:?}");
        assert!(matches!(own.recv().await, Some((1, LinkEvent::Closed { .. }))));
    });
}
