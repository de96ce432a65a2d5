//! Sessions between peers that share no link (P6.1 to P6.3).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use mesh::SessionEvent;
use rand::RngExt;
use session::{Opener, Sealer};
use wire::{Message, Parcel, ParcelKind, PeerName, RecordHeader};

use crate::harness::{Net, config};

/// The keys of all hosts, as their data paths would hold them.
#[derive(Default)]
struct Keys {
    of: BTreeMap<(usize, u32), (Arc<Sealer>, Opener)>,
    seals: BTreeMap<(usize, PeerName), u32>,
    agreed: usize,
}

impl Keys {
    /// Does with the keys what the meshes said since the last time.
    fn obey(&mut self, net: &mut Net) {
        for (host, h) in net.hosts.iter_mut().enumerate() {
            for event in h.sessions.drain(..) {
                match event {
                    SessionEvent::Keys { peer, index, sealer, opener, seal_now, .. } => {
                        self.agreed += 1;
                        self.of.insert((host, index), (sealer, opener));
                        if seal_now {
                            self.seals.insert((host, peer), index);
                        }
                    }
                    SessionEvent::Addresses { .. } => {}
                    SessionEvent::Seal { peer, index } => {
                        self.seals.insert((host, peer), index);
                    }
                    SessionEvent::End { peer, index } => {
                        self.of.remove(&(host, index)).expect("keys that there are");
                        self.seals.retain(|&at, &mut seals| at != (host, peer) || seals != index);
                    }
                }
            }
        }
    }

    fn seal(&self, net: &Net, from: usize, to: usize) -> Option<Vec<u8>> {
        let index = self.seals.get(&(from, net.name(to)))?;
        let mut record = Vec::new();
        self.of[&(from, *index)].0.seal(&[b"frame"], &mut record).unwrap();
        Some(record)
    }

    fn open(&mut self, host: usize, record: &[u8]) -> Option<u32> {
        let header = RecordHeader::decode(record).unwrap();
        let (_, opener) = self.of.get_mut(&(host, header.index))?;
        opener.open(&header, &mut record.to_vec()).ok()?;
        Some(header.index)
    }

    /// Whether a frame from one host reaches the other.
    fn passes(&mut self, net: &mut Net, from: usize, to: usize) -> bool {
        self.obey(net);
        let Some(record) = self.seal(net, from, to) else { return false };
        let Some(index) = self.open(to, &record) else { return false };
        let (one, other) = (net.name(from), net.name(to));
        net.with(from, |mesh, now| mesh.session_used(now, other));
        net.with(to, |mesh, now| mesh.handle_session_opened(now, one, index));
        net.with(to, |mesh, now| mesh.session_used(now, one));
        self.obey(net);
        true
    }
}

/// So many hosts in a row, each linked to the next only.
fn row(seed: u64, n: u8) -> Net {
    let mut net = Net::new(seed);
    for n in 1..=n {
        let mut config = config(n);
        config.discovery = false;
        net.add(config);
    }
    for host in 1..n.into() {
        net.connect(host - 1, host);
    }
    net.run(5.0);
    net
}

fn want(net: &mut Net, from: usize, to: usize) {
    let peer = net.name(to);
    net.with(from, |mesh, now| mesh.want_session(now, peer));
}

/// Two hosts at the ends of a row that have agreed.
fn agreed(seed: u64, n: u8) -> (Net, Keys) {
    let (mut net, mut keys) = (row(seed, n), Keys::default());
    want(&mut net, 0, usize::from(n) - 1);
    net.run(2.0);
    assert!(keys.passes(&mut net, 0, usize::from(n) - 1) && keys.passes(&mut net, usize::from(n) - 1, 0));
    (net, keys)
}

#[test]
fn the_ends_of_a_row_agree_through_relays_that_open_nothing() {
    for n in [3, 5, 9] {
        let last = usize::from(n) - 1;
        let (mut net, mut keys) = agreed(1, n);
        assert_eq!(keys.agreed, 2);
        // Every relay has sessions of its own with both ends and its neighbours, and so keys of every kind there is.
        for relay in 1..last {
            for other in [0, last] {
                want(&mut net, relay, other);
            }
        }
        net.run(2.0);
        keys.obey(&mut net);
        for (from, to) in [(0, last), (last, 0)] {
            let record = keys.seal(&net, from, to).unwrap();
            let header = RecordHeader::decode(&record).unwrap();
            for ((_, _), (_, opener)) in keys.of.iter_mut().filter(|((host, _), _)| (1..last).contains(host))
            {
                assert!(opener.open(&header, &mut record.clone()).is_err());
            }
            assert!(keys.open(to, &record).is_some());
        }
        for relay in 1..last {
            assert!(net.hosts[relay].mesh.counters().parcels_relayed >= 2);
        }
    }
}

#[test]
fn two_that_want_each_other_at_once_agree_once() {
    let (mut net, mut keys) = (row(2, 4), Keys::default());
    want(&mut net, 0, 3);
    want(&mut net, 3, 0);
    net.run(2.0);
    assert!(keys.passes(&mut net, 0, 3) && keys.passes(&mut net, 3, 0));
    assert_eq!(keys.agreed, 2);
    let crossed = |host: usize| net.hosts[host].mesh.counters().shares_crossed;
    assert_eq!(crossed(0) + crossed(3), 1);
}

#[test]
fn a_third_of_all_parcels_lost_on_each_link_delays_it_and_no_more() {
    for seed in 0..20 {
        let (mut net, mut keys) = (row(seed, 3), Keys::default());
        net.tamper = Some(Box::new(|message, rng| {
            !matches!(message, Message::Parcel(_)) || rng.random_bool(2.0 / 3.0)
        }));
        let passed = (0..200).any(|_| {
            want(&mut net, 0, 2);
            if seed % 2 == 0 {
                want(&mut net, 2, 0);
            }
            net.run(1.0);
            keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0)
        });
        assert!(passed, "seed {seed}");
    }
}

#[test]
fn a_relay_that_changes_bits_gets_no_keys_made_and_is_counted() {
    let mut dropped = 0;
    for seed in 0..20 {
        let (mut net, mut keys) = (row(seed, 3), Keys::default());
        net.tamper = Some(Box::new(|message, rng| {
            if let Message::Parcel(parcel) = message
                && parcel.hops.is_empty()
                && rng.random_bool(0.7)
            {
                let bit = rng.random_range(0..parcel.body.len() * 8);
                parcel.body[bit / 8] ^= 1 << (bit % 8);
            }
            true
        }));
        want(&mut net, 0, 2);
        for _ in 0..60 {
            net.run(1.0);
            want(&mut net, 0, 2);
        }
        keys.obey(&mut net);
        let counters = [0, 2].map(|host| net.hosts[host].mesh.counters());
        dropped += counters.iter().map(|c| c.shares_forged + c.shares_malformed).sum::<u64>();
        net.tamper = None;
        net.run(70.0);
        want(&mut net, 0, 2);
        net.run(2.0);
        assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0), "seed {seed}");
    }
    assert!(dropped > 20, "{dropped}");
}

#[test]
fn what_a_relay_kept_makes_no_keys_again() {
    let (mut net, mut keys) = (row(3, 3), Keys::default());
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&kept);
    net.tamper = Some(Box::new(move |message, _| {
        if let Message::Parcel(parcel) = message {
            keep.borrow_mut().push(parcel.clone());
        }
        true
    }));
    want(&mut net, 0, 2);
    net.run(2.0);
    assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0));
    let replay = |net: &mut Net| {
        let parcels = kept.take();
        for parcel in parcels.iter().filter(|p| p.hops.is_empty()).cloned() {
            let to = if parcel.kind == ParcelKind::OFFER { 2 } else { 0 };
            net.inject(1, to, Message::Parcel(parcel));
        }
        *kept.borrow_mut() = parcels;
        net.run(1.0);
    };
    replay(&mut net);
    assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0));
    assert_eq!(keys.agreed, 2);
    net.run(400.0);
    keys.obey(&mut net);
    assert!(keys.of.is_empty(), "nothing was sent for 5 minutes");
    replay(&mut net);
    keys.obey(&mut net);
    assert_eq!(keys.agreed, 2);
    assert!(net.hosts[2].mesh.counters().shares_stale > 0 && net.hosts[0].mesh.counters().shares_stale > 0);
}

#[test]
fn a_parcel_that_is_not_to_be_passed_on_is_dropped_and_counted() {
    let mut net = row(4, 3);
    let [a, b, c] = [0, 1, 2].map(|host| net.name(host));
    let stranger = PeerName::new([2, 9, 9, 9, 9, 9]);
    let parcel = |source, hops: &[PeerName]| {
        Message::Parcel(Parcel { hops: hops.to_vec(), source, kind: ParcelKind::OFFER, body: vec![0; 80] })
    };
    let mut grown = |source, hops: &[PeerName]| {
        let before = net.hosts[1].mesh.counters();
        net.inject(0, 1, parcel(source, hops));
        let after = net.hosts[1].mesh.counters();
        [
            after.parcels_relayed - before.parcels_relayed,
            after.parcels_unrouted - before.parcels_unrouted,
            after.parcels_looped - before.parcels_looped,
            after.shares_unknown - before.shares_unknown,
            after.shares_malformed - before.shares_malformed,
        ]
    };
    assert_eq!(grown(a, &[c]), [1, 0, 0, 0, 0]);
    assert_eq!(
        grown(stranger, &[c, stranger]),
        [1, 0, 0, 0, 0],
        "the source is for the destination to judge"
    );
    assert_eq!(grown(a, &[stranger]), [0, 1, 0, 0, 0], "no link to it");
    assert_eq!(grown(c, &[a]), [0, 1, 0, 0, 0], "back to where it came from");
    assert_eq!(grown(a, &[c, b]), [0, 0, 1, 0, 0], "it would come back to us");
    assert_eq!(grown(b, &[]), [0, 0, 1, 0, 0], "somebody speaks for us");
    assert_eq!(grown(stranger, &[]), [0, 0, 0, 1, 0]);
    assert_eq!(grown(a, &[]), [0, 0, 0, 0, 1]);
}

#[test]
fn each_end_is_told_where_the_other_may_be_reached() {
    let mut net = row(5, 3);
    let told = "192.0.2.7:4000".parse().unwrap();
    net.with(2, |mesh, now| mesh.set_reachable_at(now, vec![told]));
    want(&mut net, 0, 2);
    net.run(2.0);
    let addresses = |host: usize| match &net.hosts[host].sessions[..] {
        [SessionEvent::Keys { addresses, udp_port, .. }] => (addresses.clone(), *udp_port),
        other => panic!("{other:?}"),
    };
    // What the relay between them sees of each, at the port that it names.
    assert_eq!(addresses(0), (vec![told, ([10, 0, 0, 3], 6783).into()], Some(6783)));
    assert_eq!(addresses(2), (vec![([10, 0, 0, 1], 6783).into()], Some(6783)));
}

#[test]
fn a_restart_of_either_end_ends_the_session_at_the_other() {
    for restarted in [0, 3] {
        let stays = 3 - restarted;
        let (mut net, mut keys) = agreed(6, 4);
        net.kill(restarted, true);
        keys.of.retain(|&(host, _), _| host != restarted);
        keys.seals.retain(|&(host, _), _| host != restarted);
        net.restart(restarted);
        let neighbour = if restarted == 0 { 1 } else { 2 };
        net.connect(restarted, neighbour);
        net.run(10.0);
        keys.obey(&mut net);
        assert!(keys.of.is_empty(), "{:?}", keys.of.keys());
        want(&mut net, stays, restarted);
        net.run(2.0);
        assert!(keys.passes(&mut net, 0, 3) && keys.passes(&mut net, 3, 0));
    }
}

#[test]
fn a_peer_that_is_forgotten_has_no_session_any_more() {
    let (mut net, mut keys) = agreed(7, 3);
    net.kill(2, true);
    let name = net.name(1);
    for _ in 0..100 {
        net.run(1.0);
        net.with(0, |mesh, now| mesh.session_used(now, name));
    }
    keys.obey(&mut net);
    assert_eq!(net.hosts[0].gone, [net.name(2)]);
    assert!(keys.of.keys().all(|&(host, _)| host == 2));
    assert_eq!(net.hosts[0].mesh.session_count(), 0);
    want(&mut net, 0, 2);
    net.run(1.0);
    assert_eq!(net.hosts[0].mesh.counters().parcels_unrouted, 0, "nobody asks for who is not known");
}

#[test]
fn an_offer_that_waits_for_a_way_goes_out_with_the_survey_that_finds_one() {
    let (mut net, mut keys) = (row(8, 3), Keys::default());
    net.kill(1, true);
    net.run(1.0);
    want(&mut net, 0, 2);
    net.run(30.0);
    want(&mut net, 0, 2);
    assert!(net.hosts[0].mesh.counters().parcels_unrouted > 0);
    assert_eq!(net.hosts[0].mesh.counters().parcels_sent, 0);
    net.restart(1);
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(2.0);
    assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0));
}

#[test]
fn a_peer_that_becomes_a_neighbour_keeps_its_session_until_it_is_idle() {
    let (mut net, mut keys) = agreed(9, 3);
    net.connect(0, 2);
    net.run(5.0);
    assert!(net.link_between(0, 2).is_some());
    assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0));
    let peer = net.name(2);
    net.with(0, |mesh, now| mesh.rekey_session(now, peer));
    net.run(1.0);
    assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0), "the parcels take the link");
    assert_eq!(keys.agreed, 4);
    net.run(301.0);
    keys.obey(&mut net);
    assert!(keys.of.is_empty());
}

#[test]
fn frames_pass_for_three_hours_without_a_pause_while_keys_change() {
    let (mut net, mut keys) = agreed(10, 3);
    for _ in 0..3 * 360 {
        net.run(10.0);
        assert!(keys.passes(&mut net, 0, 2) && keys.passes(&mut net, 2, 0), "at {} s", net.seconds());
    }
    assert_eq!(keys.agreed, 2 * 4);
    assert_eq!(keys.of.len(), 2, "old keys are gone");
}
