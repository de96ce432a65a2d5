//! Which way frames take, tested through its public face, together with the prober: hours of ways that lose, break and come back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh::{Cause, Choice, Other, PathProber, PathSample, PathState, Way};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const TICK: Duration = Duration::from_secs(1);

/// What the network does at one moment.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// What share is lost, each way.
    loss: f64,
    rtt: Duration,
}

const FINE: Weather = Weather { loss: 0.0, rtt: Duration::from_millis(20) };
const BLOCKED: Weather = Weather { loss: 1.0, ..FINE };

const fn lossy(loss: f64) -> Weather {
    Weather { loss, ..FINE }
}

/// One end of a path, with frames that go out and are answered.
struct Rig<F> {
    prober: PathProber,
    choice: Choice,
    rng: StdRng,
    start: Instant,
    now: Instant,
    weather: F,
    /// The longest record that passes.
    limit: u16,
    link_rtt: Option<Duration>,
    /// Frames a second.
    rate: f64,
    /// Those that are due, with a fraction.
    due: f64,
    sent: u64,
    /// Records of ours that arrived there, and of theirs that arrived here.
    opened: [u64; 2],
    /// Tokens, when and where they were sent, and when the answer arrives; what had been sent and had arrived.
    answers: Vec<(Instant, u64, u16, Instant, PathSample)>,
    muddled_at: Option<Instant>,
    next_tick: Instant,
    /// What frames took, since when, in seconds.
    ways: Vec<(f64, Way, Cause)>,
    /// Frames that only took UDP and were lost there, and the longest time in which all were.
    lost: u64,
    dark_since: Option<f64>,
    darkest: f64,
    probes: u64,
}

fn address() -> SocketAddr {
    ([10, 0, 0, 1], 6783).into()
}

impl<F: Fn(f64) -> Weather> Rig<F> {
    fn new(other: Other, rate: f64, weather: F) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a run has to begin at some moment; no outcome depends on which"
        )]
        let now = Instant::now();
        Self {
            prober: PathProber::new(now, [7; 32], 1429, 1152, vec![address()]),
            choice: Choice::new(now, other),
            rng: StdRng::from_seed([3; 32]),
            start: now,
            now,
            weather,
            limit: u16::MAX,
            link_rtt: Some(FINE.rtt),
            rate,
            due: 0.0,
            sent: 0,
            opened: [0; 2],
            answers: Vec::new(),
            muddled_at: None,
            next_tick: now,
            ways: Vec::new(),
            lost: 0,
            dark_since: None,
            darkest: 0.0,
            probes: 0,
        }
    }

    fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    fn run_until(&mut self, seconds: f64) {
        let end = self.start + Duration::from_secs_f64(seconds);
        loop {
            self.turn();
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let prober = self.prober.poll_timeout().map(|(at, _)| at);
            let timers = answer.into_iter().chain(prober).chain(self.choice.poll_timeout());
            let next = timers.chain([self.next_tick, end]).min().unwrap_or(end).max(self.now);
            if next >= end {
                self.advance(end);
                return;
            }
            // What is due at once is due a moment later, or this would never end.
            self.advance(next.max(self.now + Duration::from_micros(10)));
            while let Some(place) = self.answers.iter().position(|(at, ..)| *at <= self.now) {
                let (_, token, length, sent_at, sample) = self.answers.remove(place);
                self.prober.handle_answer(self.now, token, length, address(), address());
                self.choice.handle_answer(self.now, token, sent_at);
                if self.muddled_at.is_none_or(|muddled| muddled < sent_at) {
                    self.choice.handle_sample(self.now, sample);
                }
            }
        }
    }

    /// What `UdpSide` of the daemon does when it is driven.
    fn turn(&mut self) {
        let (now, before) = (self.now, self.choice.way());
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.choice.handle_look(now, self.sent, self.opened[1]);
            self.choice.handle_link(now, self.link_rtt);
        }
        self.prober.handle_timeout(now);
        while let Some(probe) = self.prober.poll_transmit() {
            self.choice.handle_probe(now);
            self.send_probe(probe.token, probe.length);
        }
        if self.choice.wants_look(now) {
            self.choice.handle_look(now, self.sent, self.opened[1]);
        }
        let rtt = if let PathState::Up { rtt, .. } = self.prober.state() { Some(*rtt) } else { None };
        let waits = self.choice.can_wait() && self.prober.is_sizing(now);
        self.choice.handle_path(now, rtt.filter(|_| !waits), false);
        if self.choice.take_round() {
            self.prober.ask(now);
        }
        while let Some(token) = self.choice.poll_probe(now) {
            self.send_probe(token, 88);
        }
        let way = self.choice.way();
        if way == Way::Both || before == Way::Both {
            self.muddled_at = Some(now);
        }
        if self.ways.last().is_none_or(|(_, last, _)| *last != way) {
            self.ways.push((self.seconds(), way, self.choice.cause()));
        }
    }

    fn send_probe(&mut self, token: u64, length: u16) {
        self.probes += 1;
        let Weather { loss, rtt } = (self.weather)(self.seconds());
        if length <= self.limit && self.rng.random_bool((1.0 - loss).powi(2)) {
            let sample = PathSample { at: self.now, sent: self.sent, opened: self.opened[0] };
            self.answers.push((self.now + rtt, token, length, self.now, sample));
        }
    }

    /// Frames go out until then, and some of them arrive and are answered.
    fn advance(&mut self, until: Instant) {
        let (at, way) = (self.seconds(), self.choice.way());
        self.due += self.rate * (until - self.now).as_secs_f64();
        let Weather { loss, .. } = (self.weather)(at);
        let dark = way == Way::Udp && loss == 1.0;
        while self.due >= 1.0 {
            self.due -= 1.0;
            if way == Way::Other {
                continue;
            }
            self.sent += 1;
            let arrives = !self.rng.random_bool(loss);
            self.opened[0] += u64::from(arrives);
            self.opened[1] += u64::from(arrives && !self.rng.random_bool(loss));
            self.lost += u64::from(!arrives && way == Way::Udp);
        }
        self.now = until;
        if dark {
            let since = *self.dark_since.get_or_insert(at);
            self.darkest = self.darkest.max(self.seconds() - since);
        } else {
            self.dark_since = None;
        }
    }

    /// How often frames left the path or returned to it.
    fn changes(&self) -> usize {
        let used: Vec<_> = self.ways.iter().map(|(_, way, _)| *way != Way::Other).collect();
        used.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

#[test]
fn the_first_path_that_answers_is_taken_at_once() {
    let mut rig = Rig::new(Other::Link, 20.0, |_| FINE);
    rig.run_until(0.1);
    assert_eq!(rig.ways.iter().map(|(_, way, _)| *way).collect::<Vec<_>>(), [Way::Other, Way::Udp]);
    assert_eq!(rig.choice.cause(), Cause::Answered);
    assert_eq!(rig.choice.reason(), None);
    let mut idle = Rig::new(Other::Link, 0.0, |_| FINE);
    idle.run_until(60.0);
    assert_eq!(idle.probes, 2 * 20, "a path that nothing takes costs no more than the prober's rounds");
}

#[test]
fn frames_wait_for_the_size_of_a_narrow_way_only_where_they_have_another() {
    for (other, waits) in [(Other::Link, true), (Other::Relay, true), (Other::Nothing, false)] {
        let mut rig = Rig::new(other, 20.0, |_| FINE);
        rig.limit = 1252;
        let mut size = 0;
        while rig.choice.way() != Way::Udp {
            rig.run_until(rig.seconds() + 0.001);
            assert!(rig.seconds() < 1.5, "{other:?}");
            size = rig.prober.size();
        }
        assert_eq!(size == 1252, waits, "{other:?}: {size} after {} s", rig.seconds());
        assert_eq!(rig.seconds() > 0.1, waits, "{other:?}");
        rig.run_until(100.0);
        assert_eq!((rig.changes(), rig.prober.size()), (1, 1252), "{other:?}: {:?}", rig.ways);
    }
}

/// A transfer, a ping twenty times a second, one a second.
#[test]
fn in_silence_frames_go_both_ways_within_two_seconds_and_the_other_in_the_end() {
    for rate in [5000.0, 20.0, 1.0] {
        let mut rig = Rig::new(Other::Link, rate, |s| if s < 30.0 { FINE } else { BLOCKED });
        rig.run_until(60.0);
        assert!(rig.darkest < 2.0, "{rate}: {}", rig.darkest);
        assert!(rig.lost as f64 <= rate * 1.6 + 1.0, "{rate}: {} lost", rig.lost);
        let ways: Vec<_> = rig.ways.iter().map(|(_, way, _)| *way).collect();
        assert_eq!(ways, [Way::Other, Way::Udp, Way::Both, Way::Other], "{rate}");
        assert_eq!(rig.choice.cause(), Cause::Silent);
        let down = rig.ways[3].0;
        assert!((30.0..36.5).contains(&down), "{rate}: down at {down}");
    }
}

#[test]
fn it_is_back_soon_after_the_path_is_whole_again() {
    for whole_at in [33.0, 50.0, 100.0, 1000.0] {
        let weather = move |s| if s < 30.0 || s >= whole_at { FINE } else { BLOCKED };
        let mut rig = Rig::new(Other::Link, 20.0, weather);
        rig.run_until(whole_at + 30.0);
        assert_eq!(rig.choice.way(), Way::Udp, "whole at {whole_at}: {:?}", rig.ways);
        let back = rig.ways.last().map(|(at, ..)| at - whole_at).unwrap_or_default();
        assert!(back < 25.0, "{back} s after {whole_at}");
    }
}

#[test]
fn one_lost_round_is_no_doubt_and_an_alarm_ends_with_an_answer() {
    let mut rig = Rig::new(Other::Link, 20.0, |s| if (20.0..20.3).contains(&s) { BLOCKED } else { FINE });
    rig.run_until(30.0);
    assert_eq!(rig.ways.len(), 2, "{:?}", rig.ways);
    rig.choice.handle_alarm(rig.now);
    rig.turn();
    assert_eq!(rig.choice.way(), Way::Both, "the system refused a record");
    rig.run_until(30.3);
    assert_eq!(rig.choice.way(), Way::Udp);
    assert_eq!((rig.changes(), rig.choice.doubts()), (1, 1));
}

#[test]
fn two_ends_do_not_keep_each_other_in_doubt() {
    let mut rig = Rig::new(Other::Link, 20.0, |_| FINE);
    rig.run_until(10.0);
    // Records go on coming by the other way for three seconds.
    for n in 0..60 {
        rig.choice.handle_hint(rig.now);
        rig.run_until(10.0 + f64::from(n) * 0.05);
    }
    assert_eq!(rig.choice.doubts(), 1);
    assert_eq!(rig.choice.way(), Way::Udp);
}

#[test]
fn a_path_that_loses_one_record_in_twenty_is_kept_for_hours() {
    for rate in [20.0, 200.0] {
        let mut rig = Rig::new(Other::Link, rate, |_| lossy(0.05));
        rig.run_until(4.0 * 3600.0);
        assert!(rig.changes() <= 3, "{rate}: {} changes, {:?}", rig.changes(), rig.ways.last());
        assert_eq!(rig.choice.way(), Way::Udp);
        let doubled = rig.choice.doubts();
        assert!(doubled < 60, "in doubt {doubled} times in four hours");
    }
}

#[test]
fn a_path_that_loses_far_more_is_left_and_tried_ever_more_rarely() {
    let mut rig = Rig::new(Other::Link, 100.0, |s| if s < 60.0 { FINE } else { lossy(0.2) });
    rig.run_until(80.0);
    assert_eq!((rig.choice.way(), rig.choice.cause()), (Way::Other, Cause::Lossy), "{:?}", rig.ways);
    let reason = rig.choice.reason().unwrap();
    assert!(reason.starts_with("UDP lost "), "{reason}");
    let before = rig.probes;
    rig.run_until(80.0 + 4.0 * 3600.0);
    assert!(rig.changes() <= 12, "{:?}", rig.ways);
    assert!(rig.probes - before > 400, "it is tried for ever");
}

#[test]
fn so_much_loss_that_it_is_often_in_doubt_is_noticed_all_the_same() {
    for (rate, loss) in [(15.0, 0.25), (15.0, 0.4), (200.0, 0.25), (200.0, 0.5)] {
        let mut rig = Rig::new(Other::Link, rate, move |s| if s < 30.0 { FINE } else { lossy(loss) });
        rig.run_until(75.0);
        assert_eq!(rig.choice.way(), Way::Other, "{rate}, {loss}: {:?}", rig.ways);
    }
}

#[test]
fn a_lossy_path_that_is_mended_is_used_again_after_a_proof() {
    let weather = |s| if (60.0..90.0).contains(&s) { lossy(0.3) } else { FINE };
    let mut rig = Rig::new(Other::Link, 100.0, weather);
    rig.run_until(90.0);
    assert_eq!(rig.choice.way(), Way::Other);
    rig.run_until(180.0);
    assert_eq!((rig.choice.way(), rig.choice.cause()), (Way::Udp, Cause::Proven), "{:?}", rig.ways);
    assert_eq!(rig.choice.reason().as_deref(), Some("UDP works again and has proved itself"));
}

#[test]
fn a_path_that_is_far_slower_than_the_link_is_left() {
    let slow = Weather { rtt: Duration::from_millis(200), ..FINE };
    let weather = move |s| if (60.0..200.0).contains(&s) { slow } else { FINE };
    let mut rig = Rig::new(Other::Link, 100.0, weather);
    rig.run_until(120.0);
    assert_eq!((rig.choice.way(), rig.choice.cause()), (Way::Other, Cause::Slow), "{:?}", rig.ways);
    rig.run_until(200.0);
    assert_eq!(rig.choice.way(), Way::Other, "it did not get faster");
    rig.run_until(400.0);
    assert_eq!(rig.choice.way(), Way::Udp);
    // Where everything became slower there is nothing better.
    let mut rig = Rig::new(Other::Link, 100.0, weather);
    rig.link_rtt = Some(slow.rtt);
    rig.run_until(190.0);
    assert_eq!(rig.changes(), 1);
}

#[test]
fn where_there_is_nothing_better_a_path_that_works_is_used() {
    let bad = |s| if s > 60.0 { Weather { loss: 0.2, rtt: Duration::from_millis(500) } } else { FINE };
    let mut relayed = Rig::new(Other::Relay, 100.0, bad);
    relayed.run_until(600.0);
    assert!(relayed.ways.iter().all(|(.., cause)| !matches!(cause, Cause::Lossy | Cause::Slow)));
    let mut alone =
        Rig::new(Other::Nothing, 100.0, |s| if (30.0..40.0).contains(&s) { BLOCKED } else { bad(s) });
    alone.run_until(600.0);
    assert!(alone.ways.iter().all(|(_, way, _)| *way != Way::Both));
    assert_eq!(alone.choice.way(), Way::Udp);
}

#[test]
fn a_path_that_comes_and_goes_is_left_alone_for_longer_and_longer() {
    let mut rig = Rig::new(Other::Link, 20.0, |s| if s % 20.0 < 10.0 { FINE } else { BLOCKED });
    rig.run_until(4.0 * 3600.0);
    assert!(rig.changes() < 120, "{} changes in 720 ups and downs", rig.changes());
    assert!(rig.darkest < 2.0, "{}", rig.darkest);
}

#[test]
fn a_change_of_the_network_ends_a_rest() {
    let mut rig = Rig::new(Other::Link, 100.0, |s| if (60.0..80.0).contains(&s) { lossy(0.3) } else { FINE });
    rig.run_until(75.0);
    assert_eq!(rig.choice.way(), Way::Other, "{:?}", rig.ways);
    assert!(rig.choice.story(rig.now).iter().any(|line| line.starts_with("tried again in ")));
    rig.run_until(80.0);
    rig.choice.restart(rig.now);
    rig.run_until(93.5);
    assert_eq!(rig.choice.way(), Way::Udp);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the weather, frames are never on a dead path alone for longer than the prober takes, changes are few, and on a path
    /// that is fine for long everything is as it was.
    #[test]
    fn never_long_in_the_dark_and_back_in_the_end(
        spells in proptest::collection::vec((0.5..120.0_f64, 0..5_usize), 1..40),
        rate in prop_oneof![Just(0.3), Just(10.0), Just(300.0)],
    ) {
        let kinds = [FINE, BLOCKED, lossy(0.05), lossy(0.4), Weather { rtt: Duration::from_millis(300), ..FINE }];
        let mut at = 0.0;
        let mut starts = Vec::new();
        for (length, kind) in &spells {
            starts.push((at, kinds[*kind]));
            at += length;
        }
        starts.push((at, FINE));
        let weather = move |s| starts.iter().rev().find(|(from, _)| s >= *from).map_or(FINE, |(_, weather)| *weather);
        let mut rig = Rig::new(Other::Link, rate, weather);
        rig.run_until(at);
        // A ping every three seconds shows nothing sooner than the prober does.
        prop_assert!(rig.darkest < if rate < 1.0 { 6.6 } else { 2.6 }, "{}", rig.darkest);
        let most = 2 + spells.len() * 2;
        prop_assert!(rig.changes() <= most, "{} changes in {} spells", rig.changes(), spells.len());
        rig.run_until(at + 700.0);
        prop_assert_eq!(rig.choice.way(), Way::Udp, "{:?}", rig.ways);
    }
}
