//! A router of our own on a loopback address, which speaks PCP or NAT-PMP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portmap::{Gateway, Mapped, Ports, Protocol, State, keep};
use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

const OUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// Outer ports by (protocol: 17 or 6, inner port).
type Table = Arc<Mutex<BTreeMap<(u8, u16), u16>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Pcp,
    NatPmp,
}

/// The loopback address with this last byte, and this process's own bytes before it: other runs have others.
fn address(n: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 250, low, n)
}

async fn router(at: Ipv4Addr, speaks: Speaks) -> Table {
    let socket = UdpSocket::bind((at, 5351)).await.unwrap();
    let table = Table::default();
    let held = Arc::clone(&table);
    tokio::spawn(async move {
        let mut request = [0; 1100];
        loop {
            let (length, from) = socket.recv_from(&mut request).await.unwrap();
            let answer = answer(&request[..length], speaks, &held);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    table
}

/// RFC 6886 section 3 and RFC 6887 section 11, as far as a client asks.
fn answer(request: &[u8], speaks: Speaks, table: &Table) -> Vec<u8> {
    let short = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let map = |protocol: u8, inner: u16, life: &[u8]| {
        let mut table = table.lock().unwrap();
        if life == [0; 4] {
            table.remove(&(protocol, inner));
            return 0;
        }
        *table.entry((protocol, inner)).or_insert(inner + 1000)
    };
    match (request[0], speaks) {
        (2, Speaks::Pcp) => {
            let (life, inner) = (&request[4..8], short(40));
            let outer = map(request[36], inner, life);
            let mut b = vec![2, 0x81, 0, 0];
            b.extend(life);
            b.extend([0, 0, 0, 9]);
            b.extend([0; 12]);
            b.extend(&request[24..42]);
            b.extend(outer.to_be_bytes());
            b.extend(OUTER.to_ipv6_mapped().octets());
            b
        }
        (0, Speaks::NatPmp) if request[1] == 0 => [&[0, 128, 0, 0, 0, 0, 0, 9][..], &OUTER.octets()].concat(),
        (0, Speaks::NatPmp) => {
            let (op, inner, life) = (request[1], short(4), &request[8..12]);
            let outer = map(if op == 1 { 17 } else { 6 }, inner, life);
            let mut b = vec![0, 128 + op, 0, 0, 0, 0, 0, 9];
            b.extend(inner.to_be_bytes());
            b.extend(outer.to_be_bytes());
            b.extend(life);
            b
        }
        // Another version: "not supported", in the words of the older protocol.
        _ => vec![0, 128, 0, 1, 0, 0, 0, 9],
    }
}

fn ports() -> Ports {
    Ports { udp: NonZeroU16::new(6783), tcp: NonZeroU16::new(443) }
}

async fn next(states: &mut watch::Receiver<State>) -> State {
    timeout(Duration::from_secs(20), states.changed()).await.unwrap().unwrap();
    states.borrow_and_update().clone()
}

#[tokio::test]
async fn a_router_that_speaks_pcp_or_its_forerunner_maps_both_ports_and_takes_them_back() {
    for (n, speaks, by) in [(1, Speaks::Pcp, Protocol::Pcp), (2, Speaks::NatPmp, Protocol::NatPmp)] {
        let table = router(address(n), speaks).await;
        let local = Ipv4Addr::new(10, 0, 0, 2);
        let (_gateways, gateway) = watch::channel(Some(Gateway { address: address(n), local }));
        let (sender, mut states) = watch::channel(State::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = tokio::spawn(keep(ports(), gateway, sender, async move { drop(stopped.await) }));
        let mapped = Mapped { udp: Some((OUTER, 7783).into()), tcp: Some((OUTER, 1443).into()), by };
        assert_eq!(next(&mut states).await, State::Mapped(mapped));
        assert_eq!(*table.lock().unwrap(), BTreeMap::from([((6, 443), 1443), ((17, 6783), 7783)]));
        stop.send(()).unwrap();
        kept.await.unwrap();
        assert!(table.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_host_with_a_public_address_or_without_a_router_asks_nobody() {
    let table = router(address(3), Speaks::Pcp).await;
    let public = Gateway { address: address(3), local: OUTER };
    for gateway in [None, Some(public)] {
        let (gateways, gateway) = watch::channel(gateway);
        let (sender, mut states) = watch::channel(State::default());
        let kept = tokio::spawn(keep(ports(), gateway, sender, std::future::pending()));
        assert_eq!(next(&mut states).await, State::NotNeeded);
        assert!(table.lock().unwrap().is_empty());
        // The host comes home, where there is a router.
        let home = Gateway { local: Ipv4Addr::new(192, 168, 1, 2), ..public };
        gateways.send(Some(home)).unwrap();
        assert!(matches!(next(&mut states).await, State::Mapped(_)));
        table.lock().unwrap().clear();
        kept.abort();
    }
}

#[tokio::test]
async fn a_router_that_does_not_answer_is_given_up_within_seconds_and_says_why() {
    let gateway = Gateway { address: address(4), local: Ipv4Addr::new(10, 255, 255, 254) };
    let (_gateways, gateway) = watch::channel(Some(gateway));
    let (sender, mut states) = watch::channel(State::default());
    let kept = tokio::spawn(keep(ports(), gateway, sender, std::future::pending()));
    let State::Refused(reason) = next(&mut states).await else { panic!("nobody maps anything") };
    assert!(reason.starts_with("PCP: ") && reason.contains("; UPnP: "), "{reason}");
    kept.abort();
}
