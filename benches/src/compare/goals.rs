//! What the data path has to reach, and what it did. The figures of comparison are from the same run.

use serde::Serialize;

use crate::results::{Batch, ENOUGH_OFFERED, Kind, Metric, NO_OVERLAY, TLS, UDP, Underlay, VXLAN};

/// How far a goal was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Aim,
    Must,
    Missed,
    /// It, or what it is compared with, gave no value.
    NotMeasured,
    /// The underlay was not what it is called.
    Invalid,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Must => "must",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
            Self::Invalid => "invalid",
        }
    }
}

/// One goal of one variant.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) underlay: &'static str,
    pub(crate) variant: &'static str,
    /// Must be reached, and is aimed at. Where `must` is the larger, less is better.
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) reached: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// A goal before it is judged.
struct Wish {
    what: &'static str,
    must: f64,
    aim: f64,
    most: bool,
}

fn at_least(what: &'static str, must: f64, aim: f64) -> Wish {
    Wish { what, must, aim, most: false }
}

fn at_most(what: &'static str, must: f64, aim: f64) -> Wish {
    Wish { what, must, aim, most: true }
}

/// Judges what was measured on all underlays.
pub(crate) fn judge(batches: &[Batch]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for batch in batches {
        for variant in [UDP, TLS] {
            if batch.row(variant).is_some() {
                goals.extend(of_variant(batch, variant));
            }
        }
    }
    goals
}

fn of_variant(batch: &Batch, variant: &'static str) -> Vec<Goal> {
    let value = |metric| batch.median(variant, metric);
    let over = |metric, base: &str| ratio(value(metric), batch.median(base, metric));
    let more = |metric, base: &str| Some(value(metric)? - batch.median(base, metric)?);
    let offload = batch.underlay == Underlay::Offload;
    // The first figures are for the offloading underlay, the second for the plain one.
    let pick = |on_offload: (f64, f64), on_plain: (f64, f64)| if offload { on_offload } else { on_plain };

    let tcp = over(Metric::Tcp1Gbps, NO_OVERLAY);
    let udp = over(Metric::Udp1200Kpps, NO_OVERLAY);
    let (tcp_must, tcp_aim) = pick((0.25, 0.45), (0.70, 1.0));
    let (vxlan_must, vxlan_aim) = pick((0.45, 0.70), (0.75, 1.0));
    let (udp_must, udp_aim) = pick((0.50, 0.75), (0.55, 0.75));
    let (rival_must, rival_aim) = pick((5.0, 7.0), (2.5, 3.5));
    let (cost_must, cost_aim) = pick((0.75, 0.50), (2.0, 1.4));
    let (load_must, load_aim) = pick((700.0, 200.0), (1000.0, 400.0));
    // At another rate it is another measurement: on a busy machine the sender does not get that far.
    let offered = value(Metric::PacedOfferedKpps).is_some_and(|kpps| kpps >= ENOUGH_OFFERED);
    let loss = value(Metric::PacedLossPercent).filter(|_| offered);
    let best = ratio(value(Metric::Tcp1Gbps), best_l2_rival(batch).map(|(_, gbps)| gbps));

    let mut wishes = vec![
        (at_least("TCP 1 stream, of no overlay", tcp_must, tcp_aim), tcp),
        (at_least("TCP 1 stream, of VXLAN", vxlan_must, vxlan_aim), over(Metric::Tcp1Gbps, VXLAN)),
        (at_least("UDP 1200 B, of no overlay", udp_must, udp_aim), udp),
        (at_least("UDP 1200 B, of VXLAN", 0.60, 0.90), over(Metric::Udp1200Kpps, VXLAN)),
        (at_least("TCP 1 stream, of the best L2 rival", rival_must, rival_aim), best),
        (at_most("CPU s/GB, both routers", cost_must, cost_aim), value(Metric::DaemonsSecondsPerGb)),
        (at_most("ping idle, us over no overlay", 100.0, 40.0), more(Metric::PingMedianUs, NO_OVERLAY)),
        (at_most("ping under TCP load, us", load_must, load_aim), value(Metric::PingLoadMedianUs)),
        (at_most("resident after load, MiB", 40.0, 20.0), value(Metric::ResidentAfterMib)),
        (at_most("loss at 100 kpps, %", 1.0, 1.0), loss),
        (
            at_least("UDP to a group, of UDP to one", 0.45, 0.45),
            ratio(value(Metric::MulticastKpps), value(Metric::UnicastKpps)),
        ),
    ];
    if !offload {
        for (what, metric) in [
            ("TCP with 0.1 % loss, of no overlay with it", Metric::TcpLoss01Gbps),
            ("TCP with 1 % loss, of no overlay with it", Metric::TcpLoss1Gbps),
        ] {
            wishes.push((at_least(what, 0.8, 0.8), over(metric, NO_OVERLAY)));
        }
    }
    let goal = |(wish, reached): (Wish, Option<f64>)| Goal {
        what: wish.what.into(),
        underlay: batch.underlay.name(),
        variant,
        must: wish.must,
        aim: wish.aim,
        reached,
        verdict: if batch.valid() { wish.verdict(reached) } else { Verdict::Invalid },
    };
    wishes.into_iter().map(goal).collect()
}

/// The fastest of the other programs that carry Ethernet frames, by TCP with one stream.
pub(crate) fn best_l2_rival(batch: &Batch) -> Option<(&str, f64)> {
    let rivals = batch.rows.iter().filter(|row| row.kind == Kind::RivalL2);
    rivals
        .filter_map(|row| Some((row.variant.as_str(), row.median(Metric::Tcp1Gbps)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    Some(of? / to.filter(|&to| to > 0.0)?)
}

impl Wish {
    fn verdict(&self, reached: Option<f64>) -> Verdict {
        let Some(reached) = reached else { return Verdict::NotMeasured };
        let meets = |bound| if self.most { reached <= bound } else { reached >= bound };
        match (meets(self.must), meets(self.aim)) {
            (_, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, false) => Verdict::Missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Row, WireCheck};

    fn row(variant: &str, kind: Kind, samples: &[(Metric, f64)]) -> Row {
        let mut row = Row::new(variant, kind, 1500);
        samples.iter().for_each(|&(metric, value)| row.add(metric, value));
        row
    }

    fn batch(underlay: Underlay, rows: Vec<Row>) -> Batch {
        let wire = vec![WireCheck { variant: UDP.into(), packets: 9, long: 0, longest: 1506 }];
        Batch { underlay, wire, drops: vec![], rows, steal_percent: 0.0 }
    }

    fn find<'a>(goals: &'a [Goal], what: &str) -> &'a Goal {
        goals.iter().find(|goal| goal.what == what).unwrap()
    }

    #[test]
    fn more_is_better_where_the_aim_is_larger_and_less_where_it_is_smaller() {
        let more = at_least("x", 0.25, 0.45);
        assert_eq!(more.verdict(Some(0.5)), Verdict::Aim);
        assert_eq!(more.verdict(Some(0.25)), Verdict::Must);
        assert_eq!(more.verdict(Some(0.2)), Verdict::Missed);
        assert_eq!(more.verdict(None), Verdict::NotMeasured);
        let less = at_most("x", 40.0, 20.0);
        assert_eq!(less.verdict(Some(15.0)), Verdict::Aim);
        assert_eq!(less.verdict(Some(40.0)), Verdict::Must);
        assert_eq!(less.verdict(Some(41.0)), Verdict::Missed);
    }

    #[test]
    fn a_goal_is_a_ratio_to_what_was_measured_beside_it() {
        let goals = judge(&[batch(
            Underlay::Offload,
            vec![
                row(NO_OVERLAY, Kind::NoOverlay, &[(Metric::Tcp1Gbps, 40.0), (Metric::PingMedianUs, 50.0)]),
                row(UDP, Kind::Ours, &[(Metric::Tcp1Gbps, 12.0), (Metric::PingMedianUs, 170.0)]),
                row("slow", Kind::RivalL2, &[(Metric::Tcp1Gbps, 1.0)]),
                row("fast", Kind::RivalL2, &[(Metric::Tcp1Gbps, 1.5)]),
                row("not L2", Kind::RivalL3, &[(Metric::Tcp1Gbps, 6.0)]),
            ],
        )]);
        let tcp = find(&goals, "TCP 1 stream, of no overlay");
        assert_eq!((tcp.reached, tcp.verdict), (Some(0.3), Verdict::Must));
        let rival = find(&goals, "TCP 1 stream, of the best L2 rival");
        assert_eq!((rival.reached, rival.verdict), (Some(8.0), Verdict::Aim));
        let ping = find(&goals, "ping idle, us over no overlay");
        assert_eq!((ping.reached, ping.verdict), (Some(120.0), Verdict::Missed));
        assert_eq!(find(&goals, "TCP 1 stream, of VXLAN").verdict, Verdict::NotMeasured);
        assert!(goals.iter().all(|goal| goal.variant == UDP), "a variant that did not run has no goals");
    }

    #[test]
    fn loss_counts_only_if_enough_was_offered() {
        for (offered, verdict) in [(99.9, Verdict::Aim), (60.0, Verdict::NotMeasured)] {
            let samples = [(Metric::PacedLossPercent, 0.2), (Metric::PacedOfferedKpps, offered)];
            let goals = judge(&[batch(Underlay::Offload, vec![row(UDP, Kind::Ours, &samples)])]);
            assert_eq!(find(&goals, "loss at 100 kpps, %").verdict, verdict);
        }
    }

    #[test]
    fn nothing_counts_on_a_plain_underlay_that_carried_long_packets() {
        let mut plain = batch(
            Underlay::Plain,
            vec![
                row(NO_OVERLAY, Kind::NoOverlay, &[(Metric::TcpLoss1Gbps, 2.0)]),
                row(TLS, Kind::Ours, &[(Metric::TcpLoss1Gbps, 1.8)]),
            ],
        );
        let what = "TCP with 1 % loss, of no overlay with it";
        assert_eq!(find(&judge(std::slice::from_ref(&plain)), what).verdict, Verdict::Aim);
        plain.wire[0].long = 1;
        assert_eq!(find(&judge(&[plain]), what).verdict, Verdict::Invalid);
    }
}
