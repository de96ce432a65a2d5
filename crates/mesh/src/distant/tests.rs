//! Two ends, the parcels between them in the hands of the test.

use std::collections::BTreeMap;
use std::time::Duration;

use ::session::{Opener, Sealer};
use proptest::prelude::*;
use rand::SeedableRng;
use wire::RecordHeader;

use super::*;
use crate::testing::{identity, start};

mod bounds;
mod guessing;
mod losing;
mod renewing;
mod telling;

/// Keys, as the data path would hold them.
type Keys = BTreeMap<u32, (Arc<Sealer>, Opener)>;

struct End {
    identity: Arc<Identity>,
    run: u64,
    distant: Distant,
    rng: StdRng,
    keys: Keys,
    /// The index of the keys it seals with.
    seals: Option<u32>,
    /// How often it got keys.
    agreed: usize,
    /// Where the other end said that it may be reached.
    told: Vec<Vec<SocketAddr>>,
    /// What became of the shares that it heard.
    heard: Vec<Result<(), Dropped>>,
}

/// Two ends; the one with the smaller name is the first.
struct Pair {
    now: Instant,
    start: Instant,
    ends: [End; 2],
    /// Parcels under way, each with who it is for.
    flight: Vec<(usize, Outgoing)>,
}

impl End {
    fn new(identity: Arc<Identity>, run: u64) -> Self {
        let own = Own {
            identity: Arc::clone(&identity),
            name: identity.name(),
            incarnation: run,
            udp_port: Some(6783),
        };
        Self {
            rng: StdRng::from_seed([run as u8; 32]),
            distant: Distant::new(own),
            identity,
            run,
            keys: BTreeMap::new(),
            seals: None,
            agreed: 0,
            told: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn name(&self) -> PeerName {
        self.identity.name()
    }

    fn known(&self) -> Known {
        Known { name: self.name(), key: self.identity.public_key(), incarnation: self.run }
    }

    /// Does with its keys what it is told.
    fn obey(&mut self) {
        while let Some(event) = self.distant.poll_event() {
            match event {
                SessionEvent::Keys { index, sealer, opener, seal_now, .. } => {
                    self.agreed += 1;
                    assert!(self.keys.insert(index, (sealer, opener)).is_none(), "an index in use");
                    if seal_now {
                        self.seals = Some(index);
                    }
                }
                SessionEvent::Addresses { addresses, .. } => self.told.push(addresses),
                SessionEvent::Seal { index, .. } => {
                    assert!(self.keys.contains_key(&index));
                    self.seals = Some(index);
                }
                SessionEvent::End { index, .. } => {
                    assert!(self.keys.remove(&index).is_some(), "ended twice");
                    self.seals = self.seals.filter(|&seals| seals != index);
                }
            }
        }
    }

    /// A record, if there are keys.
    fn seal(&self) -> Option<Vec<u8>> {
        let (sealer, _) = &self.keys[&self.seals?];
        let mut record = Vec::new();
        sealer.seal(&[b"frame"], &mut record).unwrap();
        Some(record)
    }

    /// The index that a record opened under.
    fn open(&mut self, record: &[u8]) -> Option<u32> {
        let header = RecordHeader::decode(record).unwrap();
        let (_, opener) = self.keys.get_mut(&header.index)?;
        let payload = opener.open(&header, &mut record.to_vec()).map(<[u8]>::to_vec);
        (payload.as_deref() == Ok(b"frame")).then_some(header.index)
    }
}

impl Pair {
    fn new() -> Self {
        let (one, two) = (Arc::new(identity(1)), Arc::new(identity(2)));
        let (small, big) = if one.name() < two.name() { (one, two) } else { (two, one) };
        let start = start();
        Self { now: start, start, ends: [End::new(small, 1), End::new(big, 1)], flight: Vec::new() }
    }

    /// Two that have agreed; the first one asked.
    fn agreed() -> Self {
        let mut pair = Self::new();
        pair.want(0);
        pair.deliver();
        pair
    }

    fn after(&mut self, at: usize) {
        while let Some(outgoing) = self.ends[at].distant.poll_outgoing() {
            assert_eq!(outgoing.to, self.ends[1 - at].name());
            self.flight.push((1 - at, outgoing));
        }
        self.ends[at].obey();
    }

    fn want(&mut self, at: usize) {
        let (now, peer) = (self.now, self.ends[1 - at].name());
        let end = &mut self.ends[at];
        end.distant.want(now, peer, &mut end.rng);
        self.after(at);
    }

    fn hear(&mut self, at: usize, parcel: &Outgoing) -> Result<(), Dropped> {
        let (now, from) = (self.now, self.ends[1 - at].known());
        let end = &mut self.ends[at];
        let heard = match parcel.kind {
            ParcelKind::OFFER => end.distant.hear_offer(now, from, &parcel.body, &mut end.rng),
            ParcelKind::ADDRESSES => end.distant.hear_update(now, from, false, &parcel.body),
            _ => end.distant.hear_answer(now, from, &parcel.body),
        };
        end.heard.push(heard);
        self.after(at);
        heard
    }

    /// Delivers what is under way, and what follows from it.
    fn deliver(&mut self) {
        while !self.flight.is_empty() {
            let (at, parcel) = self.flight.remove(0);
            let _ = self.hear(at, &parcel);
        }
    }

    /// Lets time pass up to `s` seconds after the start; what comes under way meanwhile stays there.
    fn pass(&mut self, s: f64) {
        let until = self.start + Duration::from_secs_f64(s);
        loop {
            let due = |n: usize| Some((self.ends[n].distant.next_due()?, n));
            let Some((at, n)) = [due(0), due(1)].into_iter().flatten().min().filter(|&(at, _)| at <= until)
            else {
                break;
            };
            self.now = self.now.max(at);
            self.tick(n);
            let again = self.ends[n].distant.next_due();
            assert!(again.is_none_or(|again| again > self.now), "due again at once");
        }
        self.now = until;
    }

    fn tick(&mut self, at: usize) {
        let now = self.now;
        let end = &mut self.ends[at];
        end.distant.handle_timeout(now, &mut end.rng);
        self.after(at);
    }

    /// Lets time pass, and nothing get lost.
    fn run(&mut self, s: f64) {
        let mut at = self.seconds();
        while at < s {
            at = (at + 0.1).min(s);
            self.pass(at);
            self.deliver();
        }
    }

    fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    /// Sends a frame from this end; whether it arrives. Without keys it asks for them.
    fn send(&mut self, from: usize) -> bool {
        let Some(record) = self.ends[from].seal() else {
            self.want(from);
            return false;
        };
        let (now, names) = (self.now, [self.ends[0].name(), self.ends[1].name()]);
        let end = &mut self.ends[from];
        end.distant.used(now, names[1 - from], &mut end.rng);
        let end = &mut self.ends[1 - from];
        let opened = end.open(&record);
        if let Some(index) = opened {
            end.distant.opened(now, names[from], index);
            end.distant.used(now, names[from], &mut end.rng);
        }
        self.after(0);
        self.after(1);
        opened.is_some()
    }

    /// The end runs anew.
    fn restart(&mut self, at: usize) {
        let (identity, run) = (Arc::clone(&self.ends[at].identity), self.ends[at].run + 1);
        self.ends[at] = End::new(identity, run);
    }

    /// Says what the facts have it: the newest run of the other end.
    fn review(&mut self, at: usize) {
        let other = self.ends[1 - at].known();
        self.ends[at].distant.review(|peer| (peer == other.name).then_some(other.incarnation));
        self.after(at);
    }
}

#[test]
fn two_ends_agree_in_one_round_and_open_each_others_records() {
    let mut pair = Pair::agreed();
    assert_eq!(
        pair.ends.each_ref().map(|e| (e.agreed, e.keys.len(), e.heard.clone())),
        [(1, 1, vec![Ok(())]), (1, 1, vec![Ok(())]),]
    );
    assert!(pair.send(0) && pair.send(1));
    pair.run(30.0);
    assert!(pair.ends.iter().all(|e| e.agreed == 1), "what is agreed on is not asked for again");
}

#[test]
fn nobody_else_opens_a_record() {
    let (pair, mut others) = (Pair::agreed(), Pair::agreed());
    for at in [0, 1] {
        let record = pair.ends[at].seal().unwrap();
        let header = RecordHeader::decode(&record).unwrap();
        for stranger in &mut others.ends {
            for (_, opener) in stranger.keys.values_mut() {
                assert!(opener.open(&header, &mut record.clone()).is_err());
            }
        }
    }
}

#[test]
fn the_shares_tell_where_each_end_is_reached() {
    let mut pair = Pair::new();
    let at: Vec<SocketAddr> = (1..=9).map(|port| ([192, 0, 2, 1], port).into()).collect();
    assert!(pair.ends[0].distant.set_reachable_at(at.clone()));
    assert!(!pair.ends[0].distant.set_reachable_at(at.clone()), "no news");
    let (now, to) = (pair.now, pair.ends[1].name());
    let end = &mut pair.ends[0];
    end.distant.want(now, to, &mut end.rng);
    let offer = end.distant.poll_outgoing().unwrap();
    let from = end.known();
    let end = &mut pair.ends[1];
    assert_eq!(end.distant.hear_offer(now, from, &offer.body, &mut end.rng), Ok(()));
    let Some(SessionEvent::Keys { peer, udp_port, addresses, seal_now, .. }) = end.distant.poll_event()
    else {
        panic!("no keys");
    };
    assert_eq!((peer, udp_port, addresses, seal_now), (from.name, Some(6783), at[..8].to_vec(), true));
}

#[test]
fn of_two_offers_that_cross_that_of_the_smaller_name_stands() {
    for late in [false, true] {
        let mut pair = Pair::new();
        pair.want(0);
        pair.want(1);
        if late {
            // The answer to the offer that stands overtakes the one that does not.
            let crossed = pair.flight.iter().position(|(at, _)| *at == 0).unwrap();
            let crossed = pair.flight.remove(crossed);
            pair.deliver();
            pair.flight.push(crossed);
        }
        pair.deliver();
        let dropped = pair.ends.each_ref().map(|e| e.heard.iter().filter(|h| h.is_err()).count());
        assert_eq!(dropped, if late { [0, 1] } else { [1, 0] });
        assert_eq!(pair.ends[0].heard.contains(&Err(Dropped::Crossed)), !late);
        for _ in 0..3 {
            assert!(pair.send(0) && pair.send(1));
        }
        pair.run(60.0);
        assert!(pair.send(0) && pair.send(1));
        assert!(pair.ends.iter().all(|e| e.distant.offers.is_empty()));
    }
}

#[test]
fn an_offer_is_repeated_as_p6_2_says_and_made_anew_after_a_minute() {
    let mut pair = Pair::new();
    pair.want(0);
    let first = pair.flight[0].1.body.clone();
    let mut times = Vec::new();
    for tenth in 0..=900 {
        pair.pass(f64::from(tenth) / 10.0);
        if tenth % 200 == 0 {
            pair.want(0);
        }
        times.extend(pair.flight.drain(..).map(|(_, o)| (f64::from(tenth) / 10.0, o.body == first)));
    }
    let same: Vec<_> = times.iter().filter(|t| t.1).map(|t| t.0).collect();
    let anew: Vec<_> = times.iter().filter(|t| !t.1).map(|t| t.0).collect();
    assert_eq!(same, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5, 31.5, 39.5, 47.5, 55.5]);
    assert_eq!(anew, [63.5, 71.5, 79.5, 87.5]);
    pair.pass(200.0);
    assert!(pair.ends[0].distant.offers.is_empty(), "nobody waits for it any more");
    assert!(pair.ends[0].distant.indices.is_empty());
}

#[test]
fn an_offer_that_finds_no_way_goes_out_when_there_is_one() {
    let mut pair = Pair::new();
    pair.want(0);
    pair.flight.clear();
    let (now, peer) = (pair.now, pair.ends[1].name());
    assert_eq!(pair.ends[0].distant.stuck(), []);
    pair.ends[0].distant.unrouted(peer);
    assert_eq!(pair.ends[0].distant.stuck(), [peer]);
    pair.ends[0].distant.routed(now, peer);
    pair.after(0);
    assert_eq!((pair.flight.len(), pair.ends[0].distant.stuck()), (1, vec![]));
}

proptest! {
    #[test]
    fn a_share_with_any_bit_changed_is_dropped_and_changes_nothing(bit: prop::sample::Index, is_answer: bool) {
        let mut pair = Pair::new();
        pair.want(0);
        if is_answer {
            let (_, offer) = pair.flight.remove(0);
            pair.hear(1, &offer).unwrap();
        }
        let (to, mut parcel) = pair.flight.remove(0);
        prop_assert_eq!(parcel.kind == ParcelKind::ANSWER, is_answer);
        let agreed = pair.ends[to].agreed;
        let bit = bit.index(parcel.body.len() * 8);
        parcel.body[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(pair.hear(to, &parcel).is_err());
        prop_assert_eq!(pair.ends[to].agreed, agreed);
        parcel.body[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(pair.hear(to, &parcel), Ok(()), "the true one still counts");
    }

    #[test]
    fn arbitrary_bodies_are_dropped(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut pair = Pair::new();
        pair.want(0);
        for (at, kind) in [(1, ParcelKind::OFFER), (0, ParcelKind::ANSWER)] {
            let parcel = Outgoing { to: pair.ends[at].name(), kind, body: body.clone() };
            prop_assert!(pair.hear(at, &parcel).is_err());
        }
    }
}
