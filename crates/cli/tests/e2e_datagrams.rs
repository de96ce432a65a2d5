//! UDP between containers: super-frames and the order of one flow.

use std::thread;
use std::time::{Duration, Instant};

use testbed::{Lab, UdpEnd, Underlay};

#[test]
fn every_datagram_of_a_super_frame_arrives_as_it_was_sent_over_udp() {
    super_frames("udp");
}

#[test]
fn every_datagram_of_a_super_frame_arrives_as_it_was_sent_over_tls() {
    super_frames("tls");
}

#[test]
fn one_flow_of_datagrams_of_all_sizes_keeps_its_order_over_udp() {
    order("udp");
}

#[test]
fn one_flow_of_datagrams_of_all_sizes_keeps_its_order_over_tls() {
    order("tls");
}

/// Segment and length of what is sent in one call. Segments of 1348 bytes fill the network's MTU of 1376 over IPv4 (20
/// bytes of header, 8 of UDP's), those of 1328 over IPv6 (40 and 8), where the former are left out.
const TRAINS: &[(u16, usize)] = &[
    (1200, 12_000),
    (1200, 12_300),
    (1200, 1201),
    (1200, 2399),
    (1328, 32 * 1328),
    (1328, 48 * 1328 + 1),
    (1348, 48 * 1348),
    (500, 64 * 500),
    (64, 64 * 63 + 1),
    (1, 64),
    (1200, 1200),
    (1200, 7),
];

/// How often each of them is sent.
const ROUNDS: usize = 20;

fn super_frames(transport: &str) {
    let Some(lab) = joined(transport) else { return };
    let [network1, network2] = [1, 2].map(|k| lab.host(k).network_of("web"));
    let seen = [1, 2].map(|k| lab.host(k).capture("vethwe-bridge", "udp port 7001"));
    for (from, to, largest) in [
        (lab.host(1).overlay(), lab.host(2).overlay(), 1348),
        (lab.host(1).overlay6(), lab.host(2).overlay6(), 1328),
    ] {
        for merge in [false, true] {
            let (sender, mut receiver) =
                (UdpEnd::bind(&network1, &from, 7001), UdpEnd::bind(&network2, &to, 7001));
            sender.connect(&receiver);
            if merge {
                receiver.merge();
            }
            let trains = TRAINS.iter().filter(|(segment, _)| *segment <= largest);
            for (number, (segment, length)) in trains.cycle().take(ROUNDS * TRAINS.len()).enumerate() {
                let train = filled(*length, number);
                sender.send_train(&train, *segment);
                arrives(&mut receiver, &train, usize::from(*segment));
            }
        }
    }
    if lab.hosts().iter().all(|host| host.report()["Router"]["Offloads"]["Uso"] == true) {
        let longest = seen.map(|seen| seen.stop().iter().map(Vec::len).max().unwrap_or(0));
        assert!(longest.iter().all(|one| *one > 60_000), "whole on both bridges, not {longest:?} bytes");
    }
}

/// Asserts that these bytes come, in this order and in datagrams of `segment` bytes, the last one of the rest.
fn arrives(receiver: &mut UdpEnd, train: &[u8], segment: usize) {
    let what = format!("{} bytes in segments of {segment}", train.len());
    let mut expected = train.chunks(segment);
    while expected.len() > 0 {
        let Some(received) = receiver.receive() else {
            panic!("{what}: {} datagrams are missing", expected.len());
        };
        for datagram in received.datagrams() {
            let sent = expected.next().unwrap_or_else(|| panic!("{what}: more came: {received:?}"));
            assert_eq!(datagram.len(), sent.len(), "{what}");
            assert!(datagram == sent, "{what}: other bytes");
        }
    }
}

/// Bytes of which no two trains and no two segments have the same.
fn filled(length: usize, number: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251 + number * 7) as u8).collect()
}

/// So many a second: far fewer than get through, so that what is missing was lost for another reason than speed.
const PACE: u32 = 40_000;
const COUNT: u32 = 100_000;

/// How many are sent before the clock is looked at.
const BURST: u32 = 10;

/// So many bursts are sent as single datagrams, and then one as a train.
const SINGLES: u32 = 9;

fn order(transport: &str) {
    let Some(lab) = joined(transport) else { return };
    let end = |k: usize| UdpEnd::bind(&lab.host(k).network_of("web"), &lab.host(k).overlay(), 7001);
    let (sender, mut receiver) = (end(1), end(2));
    sender.connect(&receiver);
    let numbers = thread::scope(|scope| {
        scope.spawn(|| send_all(&sender));
        let mut numbers = Vec::new();
        while numbers.last() != Some(&(COUNT - 1)) {
            let Some(received) = receiver.receive() else { break };
            let number = received.bytes.first_chunk().map_or(u32::MAX, |first| u32::from_be_bytes(*first));
            assert!(received.bytes == numbered(number), "datagram {number}, {} bytes", received.bytes.len());
            numbers.push(number);
        }
        numbers
    });
    for pair in numbers.windows(2) {
        assert!(pair[0] < pair[1], "{} came after {}", pair[1], pair[0]);
    }
    assert!(numbers.len() > (COUNT - COUNT / 20) as usize, "only {} of {COUNT} arrived", numbers.len());
}

fn send_all(sender: &UdpEnd) {
    let start = Instant::now();
    for first in (0..COUNT).step_by(BURST as usize) {
        let due = start + Duration::from_secs(1) * first / PACE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let burst = (first..first + BURST).map(numbered);
        if is_train(first) {
            let burst: Vec<_> = burst.collect();
            sender.send_train(&burst.concat(), burst[0].len() as u16);
        } else {
            burst.for_each(|datagram| sender.send(&datagram));
        }
    }
}

fn is_train(number: u32) -> bool {
    number / BURST % (SINGLES + 1) == SINGLES
}

/// Datagrams of 64 and 1200 bytes in turn, and of 500 where they are sent as a train; filled from the number they begin
/// with.
fn numbered(number: u32) -> Vec<u8> {
    let length = if is_train(number) { 500 } else { [64, 1200][number as usize % 2] };
    let mut bytes = vec![(number % 251) as u8; length];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn joined(transport: &str) -> Option<Lab> {
    let lab = Lab::up_or_skip(2, Underlay::Offload)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    Some(lab.joined_over(transport))
}
