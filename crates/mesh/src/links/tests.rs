//! Pings, silence, proofs and costs, step by step.

use super::*;
use crate::testing::{link_up, start};
use rand::SeedableRng;

const ID: LinkId = LinkId(1);

struct Rig {
    links: Links,
    rng: StdRng,
    start: Instant,
}

impl Rig {
    fn new() -> Self {
        let (start, up) = (start(), link_up(2, true));
        let mut links = Links::default();
        links.add(start, ID, &up, (up.peer, 0));
        Self { links, rng: StdRng::from_seed([1; 32]), start }
    }

    fn at(&mut self, s: f64) -> Vec<LinkEvent> {
        self.links.handle_timeout(self.start + Duration::from_secs_f64(s), &mut self.rng)
    }

    fn ping(&mut self, s: f64) -> u64 {
        let mut events = self.at(s);
        events.retain(|e| *e != LinkEvent::Costs);
        match events[..] {
            [LinkEvent::Ping(ID, token)] => token,
            ref other => panic!("no ping at {s} s but {other:?}"),
        }
    }

    fn pong(&mut self, s: f64, token: u64) -> Option<SocketAddr> {
        let now = self.start + Duration::from_secs_f64(s);
        self.links.heard(now, ID);
        self.links.pong(now, ID, token)
    }
}

#[test]
fn a_ping_goes_out_at_once_and_every_3_s() {
    let mut rig = Rig::new();
    let mut tokens = vec![rig.ping(0.0)];
    assert_eq!(rig.at(1.0), [LinkEvent::Costs]);
    assert_eq!(rig.links.poll_timeout(), Some((rig.start + PING_EVERY, "a ping is due")));
    assert_eq!(rig.at(2.9), []);
    tokens.extend([rig.ping(3.0), rig.ping(6.0)]);
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[test]
fn silence_of_6_5_s_ends_a_link_and_anything_heard_saves_it() {
    let mut rig = Rig::new();
    for s in [0.0, 3.0, 6.0] {
        rig.ping(s);
    }
    rig.links.heard(rig.start + Duration::from_secs(4), ID);
    rig.ping(9.0);
    assert_eq!(rig.at(10.4), []);
    assert_eq!(rig.at(10.5), [LinkEvent::Silent(ID)]);
}

#[test]
fn a_cost_is_stated_when_it_is_first_known_and_then_twice_a_minute_at_most() {
    let mut rig = Rig::new();
    let cost = |rig: &Rig| rig.links.entries()[0].cost;
    assert_eq!(rig.links.entries(), [], "nothing is known");
    assert_eq!(rig.links.all_entries().len(), 1);
    let token = rig.ping(0.0);
    rig.pong(0.003, token);
    assert_eq!(rig.at(0.003), [LinkEvent::Costs]);
    assert_eq!((cost(&rig), rig.links.costs()[0].1), (2, 2));
    let mut stated = Vec::new();
    for n in 1..40 {
        let s = f64::from(n) * 3.0;
        let events = rig.at(s);
        if events.contains(&LinkEvent::Costs) {
            stated.push((s, cost(&rig)));
        }
        for event in events {
            if let LinkEvent::Ping(_, token) = event {
                rig.pong(s + 0.1, token);
            }
        }
    }
    assert_eq!(stated, [(33.0, 6), (63.0, 7)], "nothing is stated that did not change");
}

#[test]
fn a_link_that_is_not_measured_within_a_second_is_stated_at_the_worst() {
    let mut rig = Rig::new();
    rig.ping(0.0);
    assert_eq!(rig.at(0.9), []);
    assert_eq!(rig.at(1.0), [LinkEvent::Costs]);
    assert_eq!(rig.links.entries()[0].cost, MAX_CLASS);
    assert_eq!(rig.at(2.9), []);
}

#[test]
fn a_cost_that_wavers_around_a_bound_is_stated_once() {
    let mut rig = Rig::new();
    for n in 0..100 {
        let s = f64::from(n) * 3.0;
        let token =
            rig.at(s).into_iter().find_map(|e| if let LinkEvent::Ping(_, t) = e { Some(t) } else { None });
        rig.pong(s + if n % 2 == 0 { 0.0078 } else { 0.0083 }, token.unwrap());
        if n > 0 {
            assert!(!rig.at(s + 0.1).contains(&LinkEvent::Costs));
        }
    }
}

#[test]
fn a_host_that_slept_does_not_take_its_own_absence_for_silence() {
    let mut rig = Rig::new();
    rig.ping(0.0);
    rig.ping(500.0);
    assert_eq!(rig.at(502.9), []);
    assert_eq!(rig.at(503.0), [LinkEvent::Silent(ID)], "the one more ping was not answered either");
}

#[test]
fn a_host_that_slept_gives_its_peer_another_3_s_for_the_proof() {
    let mut rig = Rig::new();
    let newcomer = "10.0.0.9:1".parse().unwrap();
    let Some(LinkEvent::Ping(ID, token)) = rig.links.demand_proof(rig.start, ID, newcomer, &mut rig.rng)
    else {
        panic!("no ping");
    };
    assert!(matches!(rig.at(500.0)[..], [LinkEvent::Ping(..), LinkEvent::Costs]));
    assert_eq!(rig.pong(500.1, token), Some(newcomer), "it lay unread");
}

#[test]
fn the_round_trip_time_is_smoothed_as_rfc_6298_says() {
    let mut rig = Rig::new();
    let ms = Duration::from_millis;
    let token = rig.ping(0.0);
    rig.pong(0.080, token);
    assert_eq!(rig.links.get(ID).unwrap().rtt(), Some(ms(80)));
    let token = rig.ping(3.0);
    rig.pong(3.160, token);
    assert_eq!(rig.links.get(ID).unwrap().rtt(), Some(ms(90)));
}

#[test]
fn a_pong_nobody_asked_for_or_a_second_one_measures_nothing() {
    let mut rig = Rig::new();
    rig.pong(0.5, 4711);
    assert_eq!(rig.links.get(ID).unwrap().rtt(), None);
    let token = rig.ping(1.0);
    rig.pong(1.1, token);
    let once = rig.links.get(ID).unwrap().rtt();
    rig.pong(2.9, token);
    assert_eq!(rig.links.get(ID).unwrap().rtt(), once);
}

#[test]
fn a_proof_that_does_not_come_within_3_s_ends_the_old_link() {
    let mut rig = Rig::new();
    let earlier = rig.ping(0.0);
    let newcomer = "10.0.0.9:1".parse().unwrap();
    let now = rig.start + Duration::from_secs(1);
    assert!(matches!(rig.links.demand_proof(now, ID, newcomer, &mut rig.rng), Some(LinkEvent::Ping(..))));
    assert_eq!(
        rig.links.demand_proof(now, ID, newcomer, &mut rig.rng),
        None,
        "asking twice does not prolong it"
    );
    assert_eq!(rig.pong(1.5, earlier), None, "an answer under way before the question proves nothing");
    assert_eq!(rig.at(1.5), [LinkEvent::Costs]);
    assert_eq!(rig.links.poll_timeout().unwrap().0, rig.start + Duration::from_secs(4));
    assert_eq!(rig.at(4.0), [LinkEvent::Superseded(ID)]);
}

#[test]
fn a_proof_in_time_names_where_the_second_router_is() {
    let mut rig = Rig::new();
    let newcomer = "10.0.0.9:1".parse().unwrap();
    let Some(LinkEvent::Ping(ID, token)) = rig.links.demand_proof(rig.start, ID, newcomer, &mut rig.rng)
    else {
        panic!("no ping");
    };
    assert_eq!(rig.pong(2.9, token), Some(newcomer));
    assert!(!rig.at(3.0).contains(&LinkEvent::Superseded(ID)));
}

#[test]
fn times_that_are_far_shorter_three_times_in_a_row_are_believed_at_once_and_one_alone_is_not() {
    let mut rig = Rig::new();
    let (ms, mut measured) = (Duration::from_millis, Vec::new());
    for (n, took) in (0..).zip([0.8, 0.01, 0.8, 0.01, 0.02, 0.01, 0.01]) {
        let s = f64::from(n) * 3.0;
        let token = rig.ping(s);
        rig.pong(s + took, token);
        measured.push(rig.links.get(ID).unwrap().rtt().unwrap());
    }
    assert!(measured[..5].iter().all(|&srtt| srtt > ms(500)), "{measured:?}");
    assert_eq!(measured[5], ms(20), "the longest of the three");
    assert!(measured[6] > ms(18));
}
