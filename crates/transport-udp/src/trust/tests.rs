//! Networks made of numbers: what they do to trains and to single datagrams is known, the policy has to find it out.

use proptest::prelude::*;

use super::*;

/// What is sent in a second, and which share of it is lost, is damaged.
#[derive(Debug, Clone, Copy)]
struct Way {
    rate: f64,
    lost: f64,
    damaged: f64,
}

const fn way(rate: f64, lost: f64) -> Way {
    Way { rate, lost, damaged: 0.0 }
}

struct Net {
    trust: Trust,
    now: Instant,
    with: Way,
    without: Way,
    /// Sent, in trains, opened, forged: exact, so that nothing gets lost by rounding.
    counts: [f64; 4],
    /// Seconds without trains.
    off: f64,
    next_probe: Instant,
}

impl Net {
    fn new(with: Way, without: Way) -> Self {
        let now = Instant::now();
        let trust = Trust::new(now);
        Self { trust, now, with, without, counts: [0.0; 4], off: 0.0, next_probe: now }
    }

    fn run(&mut self, seconds: f64) -> &mut Self {
        let step = PACE / 2;
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            let trains = self.trust.allowed();
            let Way { rate, lost, damaged } = if trains { self.with } else { self.without };
            let sent = rate * step.as_secs_f64();
            let forged = sent * damaged;
            self.counts[0] += sent;
            self.counts[1] += if trains { sent } else { 0.0 };
            self.counts[2] += (sent - sent * lost - forged).max(0.0);
            self.counts[3] += forged;
            self.off += if trains { 0.0 } else { step.as_secs_f64() };
            self.now += step;
            if self.trust.poll_timeout().is_some_and(|at| at <= self.now) {
                self.trust.handle_timeout(self.now);
            }
            let pace = if self.trust.is_measuring() { PACE } else { Duration::from_secs(3) };
            if self.next_probe.min(self.now + pace) <= self.now || self.trust.is_measuring() {
                self.next_probe = self.now + pace;
                let [sent, trained, opened, forged] = self.counts.map(|n| n.round() as u64);
                // A full-size probe and a small one at once.
                for _ in 0..2 {
                    let sample = Sample { at: self.now, sent, trained, opened, forged };
                    self.trust.handle_sample(self.now, sample);
                }
            }
        }
        self
    }

    fn is_convicted(&self) -> bool {
        matches!(self.trust.why(), Some(Why::Lossy(..) | Why::Corrupt(..)))
    }
}

#[test]
fn trains_that_get_lost_are_switched_off_and_it_is_said_why() {
    let mut net = Net::new(way(10_000.0, 0.31), way(10_000.0, 0.001));
    net.run(10.0);
    assert_eq!(net.trust.why().unwrap().to_string(), "they lose 31 % of records, single datagrams 0.1 %");
    assert_eq!(net.trust.switched_off(), [0, 1, 0, 1], "a trial and a verdict");
}

#[test]
fn a_flow_that_crawls_because_all_its_trains_get_lost_is_set_free() {
    // TCP after each time-out: a segment that passes, then two in a train that does not.
    let mut net = Net::new(way(12.0, 0.6), way(300.0, 0.0));
    net.run(10.0);
    assert!(net.is_convicted(), "{:?}", net.trust);
}

#[test]
fn damaged_trains_are_found_out_before_much_is_lost() {
    let mut net = Net::new(Way { rate: 50_000.0, lost: 0.0, damaged: 0.005 }, way(50_000.0, 0.0));
    net.run(10.0);
    let why = net.trust.why().unwrap();
    assert_eq!(
        why.to_string(),
        "they are damaged on the way: 0.5 % of records lost, 0 % of single datagrams"
    );
    assert_eq!(why.label(), "corrupt");
}

#[test]
fn what_was_switched_off_is_tried_again_later_and_later() {
    let mut net = Net::new(way(10_000.0, 0.5), way(10_000.0, 0.0));
    net.run(10.0);
    let first = net.trust.poll_timeout().unwrap() - net.now;
    assert!(first <= OFF.0 && first > OFF.0 - Duration::from_secs(10), "{first:?}");
    net.run(first.as_secs_f64() + 2.0);
    assert!(net.is_convicted(), "found guilty again: {:?}", net.trust);
    let second = net.trust.poll_timeout().unwrap() - net.now;
    assert!(second > OFF.0 * 2 - Duration::from_secs(10), "{second:?}");
    // The hypervisor is replaced meanwhile.
    net.with.lost = 0.0;
    net.run(second.as_secs_f64() + 2.0);
    let off = net.off;
    net.run(3600.0);
    assert!(net.trust.allowed() && net.off == off, "and stay: {:?}", net.trust);
}

#[test]
fn a_flood_that_the_receiver_cannot_take_keeps_its_trains() {
    // Three quarters of many are more than nearly all of few.
    let mut net = Net::new(way(400_000.0, 0.25), way(150_000.0, 0.02));
    net.run(600.0);
    assert!(!net.is_convicted(), "{:?}", net.trust);
    assert!(net.off < 6.0, "{} of 600 seconds without trains", net.off);
}

#[test]
fn a_flood_of_which_singly_a_little_more_arrives_keeps_its_trains() {
    let mut net = Net::new(way(150_000.0, 0.5), way(80_000.0, 0.02));
    net.run(600.0);
    assert!(!net.is_convicted(), "{:?}", net.trust);
}

#[test]
fn a_flood_of_which_singly_far_more_arrives_loses_them() {
    let mut net = Net::new(way(150_000.0, 0.9), way(80_000.0, 0.02));
    net.run(10.0);
    assert!(net.is_convicted(), "{:?}", net.trust);
}

#[test]
fn a_burst_of_loss_that_passes_by_itself_is_forgiven() {
    let mut net = Net::new(way(10_000.0, 0.1), way(12_000.0, 0.0));
    net.run(2.0);
    while net.trust.allowed() {
        net.run(0.1);
    }
    net.with = way(12_000.0, 0.0);
    net.run(5.0);
    assert!(net.trust.allowed(), "{:?}", net.trust);
}

#[test]
fn an_excuse_for_a_little_loss_does_not_cover_much() {
    // Most of the first window was before the network changed, and the flow lost as much while it found its pace again.
    let mut net = Net::new(way(10_000.0, 0.03), way(10_000.0, 0.03));
    net.run(10.0);
    assert!(net.trust.allowed(), "acquitted");
    net.with = way(12.0, 0.6);
    net.without = way(1000.0, 0.0);
    net.run(10.0);
    assert!(net.is_convicted(), "{:?}", net.trust);
}

#[test]
fn loss_where_no_trains_were_sent_is_not_theirs() {
    let mut trust = Trust::new(Instant::now());
    let mut at = Instant::now();
    for n in 0..100 {
        at += Duration::from_secs(3);
        trust.handle_sample(at, Sample { at, sent: n * 1000, trained: n, opened: n * 500, forged: 0 });
        assert!(trust.allowed());
    }
}

#[test]
fn forged_records_that_others_send_do_not_switch_trains_off() {
    let mut trust = Trust::new(Instant::now());
    let mut at = Instant::now();
    for n in 0..100 {
        at += Duration::from_secs(3);
        let (sent, forged) = (n * 1000, n * 5000);
        trust.handle_sample(at, Sample { at, sent, trained: sent, opened: sent, forged });
        assert!(trust.allowed());
    }
}

#[test]
fn a_refusal_counts_at_once_and_passes_too() {
    let mut net = Net::new(way(1000.0, 0.0), way(1000.0, 0.0));
    net.trust.handle_refusal(net.now, nix::errno::Errno::EIO as i32);
    net.trust.handle_refusal(net.now, nix::errno::Errno::EIO as i32);
    assert_eq!(
        net.trust.why().unwrap().to_string(),
        "the kernel refuses them: Input/output error (os error 5)"
    );
    assert_eq!(net.trust.switched_off(), [1, 0, 0, 0]);
    net.run(OFF.0.as_secs_f64() + 1.0);
    assert!(net.trust.allowed());
}

#[test]
fn what_was_sent_before_a_switch_is_not_counted_after_it() {
    let start = Instant::now();
    let mut trust = Trust::new(start);
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let sample = |s, sent, opened| Sample { at: at(s), sent, trained: sent, opened, forged: 0 };
    trust.handle_sample(at(3), sample(3, 1000, 1000));
    trust.handle_sample(at(6), sample(6, 2000, 1500));
    assert!(!trust.allowed());
    // The answer to a probe that was on its way at the switch.
    trust.handle_sample(at(7), sample(5, 3000, 1600));
    trust.handle_sample(at(8), sample(8, 3000, 1600));
    trust.handle_sample(at(9), sample(9, 4000, 2600));
    assert!(trust.allowed() && trust.is_measuring(), "single datagrams all arrived: {trust:?}");
}

#[test]
fn a_trial_ends_when_nothing_is_sent_any_more() {
    let mut net = Net::new(way(1000.0, 0.5), way(0.0, 0.0));
    net.run(60.0);
    assert!(net.trust.allowed() || net.trust.is_measuring());
    net.with.rate = 0.0;
    net.run(40.0);
    assert!(net.trust.allowed() && !net.trust.is_measuring(), "{:?}", net.trust);
}

proptest! {
    #[test]
    fn loss_that_does_not_depend_on_trains_never_switches_them_off(
        rate in 1.0..500_000.0_f64,
        lost in 0.0..1.0_f64,
        damaged in 0.0..0.2_f64,
    ) {
        let way = Way { rate, lost: lost * (1.0 - damaged), damaged };
        let mut net = Net::new(way, way);
        for _ in 0..30 {
            net.run(20.0);
            prop_assert!(!net.is_convicted(), "{:?}", net.trust);
        }
    }

    #[test]
    fn trains_that_lose_more_and_get_less_through_are_always_found_out(
        rate in 1000.0..500_000.0_f64,
        lost in 0.05..1.0_f64,
        share in 0.0..0.4_f64,
    ) {
        let mut net = Net::new(way(rate, lost), way(rate, lost * share));
        net.run(20.0);
        prop_assert!(net.is_convicted(), "{:?}", net.trust);
    }

    #[test]
    fn whatever_is_counted_a_decision_comes_out_and_no_state_lasts_for_ever(
        samples in proptest::collection::vec(
            (0..20_000_u64, any::<[u64; 4]>(), 0..5_u64, any::<bool>()), 1..80),
    ) {
        let mut now = Instant::now();
        let mut trust = Trust::new(now);
        let mut total = [0; 4];
        for (millis, counts, zeroes, grows) in samples {
            now += Duration::from_millis(millis);
            for (total, n) in total.iter_mut().zip(counts) {
                *total = if grows { *total + (n >> (40 + zeroes * 4)) } else { n };
            }
            let [sent, trained, opened, forged] = total;
            trust.handle_sample(now, Sample { at: now, sent, trained, opened, forged });
            trust.handle_timeout(now);
            prop_assert!(trust.allowed() || trust.poll_timeout().is_some());
        }
        for _ in 0..4 {
            now += OFF.1;
            trust.handle_timeout(now);
        }
        prop_assert!(trust.allowed());
    }
}
