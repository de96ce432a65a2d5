//! The prober of a UDP path, tested through its public face.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh::{PathEvent, PathProber, PathState, Probe};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const FULL: u16 = 1429;
const SMALL: u16 = 1200;

fn address(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 6783).into()
}

/// A prober and a peer that answers from the addresses in `open`, records of at most `mtu` bytes, after `rtt`.
struct Rig {
    prober: PathProber,
    start: Instant,
    now: Instant,
    open: Vec<SocketAddr>,
    mtu: u16,
    rtt: Duration,
    /// What share of everything gets lost, each way.
    loss: Option<(f64, StdRng)>,
    /// When the last answer arrived.
    answered: f64,
    answers: Vec<(Instant, Probe)>,
    sent: Vec<(f64, Probe)>,
    events: Vec<(f64, PathEvent)>,
}

impl Rig {
    fn new(candidates: &[u8], open: &[u8]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a run has to begin at some moment; no outcome depends on which"
        )]
        let now = Instant::now();
        let candidates = candidates.iter().map(|&n| address(n)).collect();
        Self {
            prober: PathProber::new(now, [7; 32], FULL, SMALL, candidates),
            start: now,
            now,
            open: open.iter().map(|&n| address(n)).collect(),
            mtu: u16::MAX,
            rtt: Duration::from_millis(20),
            loss: None,
            answered: 0.0,
            answers: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    fn run_until(&mut self, s: f64) {
        let end = self.start + Duration::from_secs_f64(s);
        loop {
            while let Some(event) = self.prober.poll_event() {
                self.events.push(((self.now - self.start).as_secs_f64(), event));
            }
            while let Some(probe) = self.prober.poll_transmit() {
                self.sent.push(((self.now - self.start).as_secs_f64(), probe));
                let lost =
                    self.loss.as_mut().is_some_and(|(p, rng)| rng.random_bool(1.0 - (1.0 - *p).powi(2)));
                if self.open.contains(&probe.to) && probe.length <= self.mtu && !lost {
                    self.answers.push((self.now + self.rtt, probe));
                }
            }
            let answer = self.answers.iter().map(|&(at, _)| at).min();
            let timeout = self.prober.poll_timeout().map(|(at, _)| at);
            let Some(next) = answer.into_iter().chain(timeout).min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.answers.sort_by_key(|&(at, _)| at);
            if self.answers.first().is_some_and(|&(at, _)| at <= self.now) {
                let (_, probe) = self.answers.remove(0);
                self.answered = (self.now - self.start).as_secs_f64();
                self.prober.handle_answer(self.now, probe.token, probe.length, address(99), probe.to);
            } else {
                self.prober.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn rounds(&self) -> Vec<f64> {
        let full = self.sent.iter().filter(|(_, p)| p.length == FULL);
        let mut at: Vec<_> = full.map(|&(at, _)| (at * 100.0).round() / 100.0).collect();
        at.dedup();
        at
    }

    fn in_use(&self) -> Option<SocketAddr> {
        if let PathState::Up { address, .. } = self.prober.state() { Some(*address) } else { None }
    }
}

#[test]
fn an_answered_path_is_up_and_is_probed_every_3_s() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(7.0);
    assert_eq!(rig.rounds(), [0.0, 3.0, 6.0]);
    assert_eq!(rig.events, [(0.02, PathEvent::Up)]);
    assert_eq!(*rig.prober.state(), PathState::Up { rtt: rig.rtt, address: address(1) });
    assert_eq!(rig.prober.reason(), "UDP probe answered");
    assert_eq!(rig.prober.seen_address(), Some(address(99)));
    let lengths: Vec<_> = rig.sent.iter().map(|(_, p)| p.length).collect();
    assert_eq!(lengths, [FULL, SMALL].repeat(3));
}

#[test]
fn a_path_that_answers_nothing_is_called_down_after_5_probes_and_tried_for_ever() {
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(2.4);
    assert_eq!(*rig.prober.state(), PathState::Probing);
    assert_eq!(rig.prober.reason(), "waiting for an answer to UDP probes (5 sent)");
    rig.run_until(2.5);
    assert_eq!(rig.events, [(2.5, PathEvent::Down)]);
    assert_eq!(rig.prober.reason(), "no answer to UDP probes (6 sent): UDP 6783 blocked?");
    rig.run_until(121.0);
    let rounds = rig.rounds();
    assert_eq!(rounds[..4], [0.0, 0.5, 1.0, 1.5]);
    assert_eq!(rounds[19..25], [9.5, 10.0, 13.0, 16.0, 19.0, 22.0]);
    assert_eq!(rounds[35..], [55.0, 58.0, 61.0, 81.0, 101.0, 121.0]);
    rig.open.push(address(1));
    rig.run_until(142.0);
    assert_eq!(rig.in_use(), Some(address(1)));
}

#[test]
fn a_path_that_breaks_is_down_when_five_rounds_were_not_answered() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(3.5);
    rig.open.clear();
    rig.run_until(8.4);
    assert!(rig.in_use().is_some());
    rig.run_until(8.6);
    assert_eq!(rig.events[1..], [(8.5, PathEvent::Down)]);
    assert_eq!(rig.rounds()[1..], [3.0, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5]);
    assert!(rig.prober.reason().starts_with("no answer to UDP probes (6 sent)"), "{}", rig.prober.reason());
}

#[test]
fn four_rounds_lost_in_a_row_do_not_bring_a_path_down() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(3.5);
    rig.open.clear();
    rig.run_until(7.9);
    rig.open.push(address(1));
    rig.run_until(30.0);
    assert_eq!(rig.events, [(0.02, PathEvent::Up)]);
}

#[test]
fn the_answers_of_a_slow_path_are_waited_for_but_never_longer_than_trust_lasts() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.rtt = Duration::from_millis(300);
    rig.run_until(3.5);
    rig.open.clear();
    rig.run_until(30.0);
    assert_eq!(rig.events[1..], [(9.2, PathEvent::Down)], "four round trips after the last of five rounds");

    let mut rig = Rig::new(&[1], &[1]);
    rig.rtt = Duration::from_secs(1);
    rig.run_until(20.0);
    let answered = rig.answered;
    rig.open.clear();
    rig.answers.clear();
    rig.run_until(60.0);
    let down = rig.events.last().copied();
    assert_eq!(down, Some((answered + 6.5, PathEvent::Down)));
}

/// How often a path that loses so much of what is sent each way is called down.
fn flaps(seed: u64, loss: f64, hours: f64) -> usize {
    let mut rig = Rig::new(&[1], &[1]);
    rig.loss = Some((loss, StdRng::seed_from_u64(seed)));
    rig.run_until(hours * 3600.0);
    rig.events.iter().filter(|(_, event)| *event == PathEvent::Down).count()
}

#[test]
fn one_record_lost_in_twenty_does_not_make_a_path_flap() {
    let downs: usize = (0..8).map(|seed| flaps(seed, 0.05, 25.0)).sum();
    assert!(downs < 10, "{downs} times in 200 hours");
    assert!(flaps(0, 0.4, 5.0) > 10, "two in five do");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_hour_with_such_a_loss_brings_a_path_down_twice(seed: u64) {
        prop_assert!(flaps(seed, 0.05, 1.0) <= 1);
    }

    #[test]
    fn whenever_a_path_breaks_it_is_down_within_6_5_s(broken in 1.0..20.0_f64, rtt in 1..2000_u64) {
        let mut rig = Rig::new(&[1], &[1]);
        rig.rtt = Duration::from_millis(rtt);
        rig.run_until(broken.max(rig.rtt.as_secs_f64() + 0.1));
        rig.open.clear();
        rig.answers.clear();
        let begun = (rig.now - rig.start).as_secs_f64();
        rig.run_until(begun + 10.0);
        let Some((down, PathEvent::Down)) = rig.events.last().copied() else { panic!("{:?}", rig.events) };
        prop_assert!(down <= begun + 6.5);
        prop_assert!(rtt > 125 || down <= begun + 5.5 + 0.001, "{begun} {down}");
    }
}

#[test]
fn what_changed_nearby_has_a_path_asked_and_a_broken_one_tried_as_if_for_the_first_time() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(4.0);
    rig.prober.restart(rig.now);
    rig.run_until(5.0);
    assert_eq!(rig.rounds(), [0.0, 3.0, 4.0]);
    rig.open.clear();
    rig.run_until(100.0);
    let before = rig.rounds().len();
    rig.prober.restart(rig.now);
    rig.run_until(102.1);
    assert_eq!(rig.rounds()[before..], [100.0, 100.5, 101.0, 101.5, 102.0]);
}

#[test]
fn a_path_too_narrow_for_any_record_of_use_is_down() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.mtu = SMALL - 1;
    rig.run_until(4.0);
    assert_eq!(*rig.prober.state(), PathState::Down);
    assert!(rig.prober.reason().starts_with("no answer"), "{}", rig.prober.reason());
    rig.mtu = FULL;
    rig.run_until(30.0);
    assert_eq!((rig.in_use(), rig.prober.size()), (Some(address(1)), FULL));
    rig.mtu = SMALL - 1;
    rig.run_until(40.0);
    assert_eq!(rig.in_use(), None);
}

#[test]
fn all_candidates_are_tried_and_the_one_that_answers_is_used_alone() {
    let mut rig = Rig::new(&[1, 2, 3], &[2, 3]);
    rig.run_until(1.0);
    assert_eq!(rig.in_use(), Some(address(2)));
    let begun = rig.sent.len();
    assert_eq!(begun, 6);
    rig.run_until(3.0);
    assert!(rig.sent[begun..].iter().all(|(_, p)| p.to == address(2)));
}

#[test]
fn a_peer_whose_nat_re_mapped_is_followed_within_a_second() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(4.0);
    rig.open = vec![address(9)];
    rig.prober.handle_address(rig.now, address(9));
    rig.run_until(5.0);
    assert_eq!(rig.in_use(), Some(address(9)));
    assert_eq!(rig.events.len(), 1, "it was up all the time");
}

#[test]
fn an_answer_that_was_under_way_when_the_peer_moved_does_not_keep_it_from_being_followed() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(3.01);
    rig.open = vec![address(9)];
    rig.prober.handle_address(rig.now, address(9));
    rig.run_until(4.0);
    assert_eq!(rig.in_use(), Some(address(9)));
}

#[test]
fn the_first_record_of_a_peer_repeats_the_probe_that_came_too_early_for_it() {
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(0.01);
    // The peer had no keys for the first round; now it has, and its own probe arrives.
    rig.open = vec![address(1)];
    rig.prober.handle_address(rig.now, address(1));
    rig.run_until(0.05);
    assert_eq!(rig.events, [(rig.events[0].0, PathEvent::Up)]);
    assert!(rig.events[0].0 < 0.05, "up after {} s", rig.events[0].0);

    // Only once: further records do not quicken the pace.
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(0.01);
    for _ in 0..100 {
        rig.prober.handle_address(rig.now, address(1));
        rig.run_until(0.05);
    }
    assert!(rig.sent.len() <= 4, "{} probes in 50 ms", rig.sent.len());
}

#[test]
fn a_peer_that_is_heard_from_a_new_address_while_nothing_works_is_probed_there_at_once() {
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(20.5);
    rig.open = vec![address(9)];
    rig.prober.handle_address(rig.now, address(9));
    rig.run_until(20.6);
    assert_eq!(rig.in_use(), Some(address(9)));
}

#[test]
fn an_address_that_only_sends_does_not_take_over() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(4.0);
    for _ in 0..100 {
        let at = (rig.now - rig.start).as_secs_f64();
        rig.prober.handle_address(rig.now, address(9));
        rig.run_until(at + 0.1);
    }
    assert_eq!(rig.in_use(), Some(address(1)));
    let to_rival = rig.sent.iter().filter(|(_, p)| p.to == address(9)).count();
    assert_eq!(to_rival, 2, "one round, not one for each record that it sent");
}

#[test]
fn a_declined_address_is_asked_again_when_the_one_in_use_falls_silent() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(4.0);
    rig.prober.handle_address(rig.now, address(9));
    rig.run_until(5.0);
    rig.open = vec![address(9)];
    rig.run_until(10.0);
    assert_eq!(rig.in_use(), Some(address(9)));
    assert_eq!(rig.events.len(), 1);
}

#[test]
fn an_unreachable_error_brings_the_path_down_at_once() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.run_until(4.0);
    rig.open.clear();
    rig.prober.handle_send_error(rig.now, address(1), true);
    assert_eq!(*rig.prober.state(), PathState::Down);
    assert_eq!(rig.prober.reason(), "UDP to 10.0.0.1:6783: unreachable");
    rig.open.push(address(1));
    rig.run_until(4.1);
    assert!(rig.in_use().is_some(), "it is probed again at once");
}

#[test]
fn an_address_that_cannot_be_reached_does_no_harm_to_the_one_that_works() {
    let mut rig = Rig::new(&[1, 2], &[1]);
    rig.run_until(4.0);
    rig.prober.restart(rig.now);
    rig.run_until(4.01);
    assert!(rig.sent.iter().any(|&(at, probe)| at > 3.9 && probe.to == address(2)), "all are asked");
    rig.prober.handle_send_error(rig.now, address(2), true);
    rig.run_until(10.0);
    assert_eq!((rig.in_use(), rig.events.len()), (Some(address(1)), 1));
}

#[test]
fn other_send_errors_are_only_told() {
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(3.0);
    rig.prober.handle_send_error(rig.now, address(1), false);
    assert!(rig.prober.reason().contains("1 refused by the system"), "{}", rig.prober.reason());
}

#[test]
fn a_prober_without_addresses_sleeps_until_the_peer_is_heard() {
    let mut rig = Rig::new(&[], &[4]);
    assert_eq!(rig.prober.poll_timeout(), None);
    assert_eq!(rig.prober.reason(), "no UDP address of the peer is known");
    rig.prober.handle_address(rig.now, address(4));
    assert_eq!(rig.prober.best_address(), Some(address(4)));
    rig.run_until(0.1);
    assert_eq!(rig.events.iter().map(|e| e.1).collect::<Vec<_>>(), [PathEvent::Down, PathEvent::Up]);
}

#[test]
fn an_answer_counts_once_and_not_with_another_token_or_a_shorter_record() {
    let mut rig = Rig::new(&[1], &[]);
    rig.run_until(0.1);
    let probe = rig.sent[0].1;
    let mut answer = |token, length| {
        rig.prober.handle_answer(rig.now, token, length, address(99), address(1));
        rig.prober.poll_event()
    };
    assert_eq!(answer(probe.token ^ 1, FULL), None);
    assert_eq!(answer(probe.token, FULL - 1), None);
    assert_eq!(answer(probe.token, FULL), None, "the token is spent");
    rig.run_until(0.6);
    let probe = rig.sent[2].1;
    rig.prober.handle_answer(rig.now, probe.token, FULL, address(99), address(1));
    assert_eq!(rig.prober.poll_event(), Some(PathEvent::Up));
}

#[test]
fn an_answer_that_took_longer_than_trust_lasts_proves_nothing() {
    let mut rig = Rig::new(&[1], &[1]);
    rig.rtt = Duration::from_millis(6500);
    rig.run_until(30.0);
    assert_eq!(*rig.prober.state(), PathState::Down);
    let mut rig = Rig::new(&[1], &[1]);
    rig.rtt = Duration::from_secs(2);
    rig.run_until(30.0);
    assert_eq!(rig.events, [(2.0, PathEvent::Up)], "a slow path is a path");
}

#[test]
fn the_number_of_addresses_is_bounded() {
    let mut rig = Rig::new(&[1], &[]);
    for n in 2..200 {
        rig.prober.handle_address(rig.now, address(n));
    }
    rig.run_until(0.1);
    assert!(rig.sent.len() <= 2 * 8);
    assert_eq!(rig.prober.best_address(), Some(address(199)));
}

#[test]
fn what_the_peer_tells_last_is_tried_however_much_it_told_before() {
    let mut rig = Rig::new(&[1], &[]);
    for n in 2..100 {
        rig.prober.told(rig.now, &[address(n), address(n + 100)]);
    }
    // More than there is room for; the first are the best.
    let many: Vec<_> = (200..220).map(address).collect();
    rig.prober.told(rig.now, &many);
    rig.open = vec![address(203)];
    rig.run_until(1.0);
    assert_eq!(rig.in_use(), Some(address(203)));
    assert_eq!(rig.prober.candidates().count(), 8);
    // What works stays.
    rig.prober.told(rig.now, &many[5..]);
    rig.run_until(2.0);
    assert_eq!((rig.in_use(), rig.events.len()), (Some(address(203)), 1));
}

#[test]
fn long_records_are_asked_about_where_the_path_works_and_it_is_none_the_worse_without_them() {
    const LONGER: u16 = FULL + 19;
    const LONG: u16 = FULL + 41;
    let long = |rig: &Rig| rig.sent.iter().filter(|(_, p)| p.length > FULL).count();
    let mut rig = Rig::new(&[1], &[]);
    rig.prober = rig.prober.with_long([LONGER, LONG]);
    rig.run_until(20.0);
    assert_eq!(long(&rig), 0, "nothing is known to work");

    rig.open = vec![address(1)];
    rig.run_until(23.2);
    assert_eq!(rig.events.last().map(|e| e.1), Some(PathEvent::Up));
    assert_eq!(rig.prober.longest(), Some(LONG), "asked at once, not with the next round");

    rig.mtu = LONG - 1;
    rig.run_until(60.0);
    assert_eq!(rig.prober.longest(), Some(LONGER));
    rig.mtu = LONGER - 1;
    rig.run_until(100.0);
    assert_eq!(rig.prober.longest(), None);
    assert!(matches!(rig.prober.state(), PathState::Up { .. }));
    rig.mtu = LONG;
    rig.run_until(104.0);
    assert_eq!(rig.prober.longest(), Some(LONG));

    // What this host itself refuses need not be asked about to be known.
    rig.prober.handle_too_long(rig.now, address(1), LONGER + 1);
    assert_eq!(rig.prober.longest(), Some(LONGER));
    rig.prober.handle_too_long(rig.now, address(1), LONGER);
    assert_eq!((rig.prober.longest(), rig.prober.size()), (None, FULL));
}

#[test]
fn an_address_that_is_heard_of_later_is_tried_at_once() {
    let mut rig = Rig::new(&[3], &[4]);
    rig.run_until(30.0);
    rig.prober.suggest(rig.now, address(4));
    rig.run_until(30.1);
    assert_eq!(rig.events.last().map(|e| e.1), Some(PathEvent::Up));
    let answered = rig.prober.candidates().map(|(a, at)| (a, at.is_some())).collect::<Vec<_>>();
    assert_eq!(answered, [(address(3), false), (address(4), true)]);
}
