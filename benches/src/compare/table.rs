//! Results as Markdown, as it can be pasted into a document.

use std::collections::BTreeSet;
use std::fmt::Write;

use benches::stats::Summary;

use crate::goals::{Goal, Verdict, best_l2_rival};
use crate::results::{Batch, ENOUGH_OFFERED, Metric, Row, Underlay};

/// The columns after the name and the MTU. A cell of two metrics shows the medians of both.
const COLUMNS: [(&str, Cell); 13] = [
    ("TCP 1 stream, Gb/s", Cell::Spread(Metric::Tcp1Gbps)),
    ("TCP 4 streams", Cell::Spread(Metric::Tcp4Gbps)),
    ("TCP both ways, sum", Cell::Spread(Metric::TcpBothGbps)),
    ("UDP 1200 B, kpps received", Cell::Spread(Metric::Udp1200Kpps)),
    ("UDP 64 B", Cell::Spread(Metric::Udp64Kpps)),
    ("loss at 100 kpps, %", Cell::Loss),
    ("ping idle, us: median", Cell::Spread(Metric::PingMedianUs)),
    ("p99", Cell::Spread(Metric::PingP99Us)),
    ("ping under TCP load, us: median", Cell::Spread(Metric::PingLoadMedianUs)),
    ("p99", Cell::Spread(Metric::PingLoadP99Us)),
    ("CPU s/GB: daemons, whole machine", Cell::Two(Metric::DaemonsSecondsPerGb, Metric::MachineSecondsPerGb)),
    ("CPU us/packet: daemons", Cell::Spread(Metric::DaemonsUsPerPacket)),
    ("resident MiB: idle, after", Cell::Two(Metric::ResidentIdleMib, Metric::ResidentAfterMib)),
];

enum Cell {
    Spread(Metric),
    Two(Metric, Metric),
    /// Loss says something only beside what was offered.
    Loss,
}

/// The table of one underlay, and what there is to know about it.
pub(crate) fn underlay(batch: &Batch) -> String {
    let mut text = String::new();
    let name = batch.underlay.name();
    let valid = if batch.valid() { "" } else { ": INVALID, it did not carry what it should" };
    let _ = writeln!(text, "### Underlay `{name}`{valid}\n");
    let _ = writeln!(text, "{}\n", wire(batch));
    let headings: Vec<&str> = COLUMNS.iter().map(|(heading, _)| *heading).collect();
    let _ = writeln!(text, "| | MTU | {} |", headings.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(COLUMNS.len() + 2));
    for row in &batch.rows {
        let _ = match &row.failure {
            Some(why) => {
                writeln!(text, "| {} | | {} |{}", row.variant, one_line(why), " |".repeat(12))
            }
            None => writeln!(text, "| {} | {} | {} |", row.variant, row.mtu, cells(row).join(" | ")),
        };
    }
    if let Some(table) = extras(batch) {
        let _ = write!(text, "\n{table}");
    }
    for row in &batch.rows {
        if !row.troubles.is_empty() {
            let told: Vec<String> = row.troubles.iter().take(3).map(|trouble| one_line(trouble)).collect();
            let _ = writeln!(
                text,
                "\n{}: {} runs gave no value, among them: {}",
                row.variant,
                row.troubles.len(),
                told.join("; ")
            );
        }
    }
    if batch.rows.iter().any(|row| row.median(Metric::MachineSecondsPerGb).is_some()) {
        let _ = writeln!(
            text,
            "\nThe whole machine's CPU s/GB includes starting iperf3 and what else runs; of variants that carry little in a run that is a large part."
        );
    }
    if batch.steal_percent > 2.0 {
        let _ = writeln!(
            text,
            "\nThe hypervisor took {:.1} % of this machine's time meanwhile.",
            batch.steal_percent
        );
    }
    text
}

/// What the capture of the underlay found.
fn wire(batch: &Batch) -> String {
    if batch.wire.is_empty() {
        return "What crossed the wire was not captured.".into();
    }
    let each = batch.wire.iter().map(|check| {
        format!("{} {} of {}, longest {}", check.variant, check.long, check.packets, check.longest)
    });
    let said = match (batch.underlay, batch.valid()) {
        (Underlay::Offload, _) => "",
        (Underlay::Plain, true) => " There must be none, and there were none.",
        (Underlay::Plain, false) => " There must be none.",
    };
    let each: Vec<String> = each.collect();
    format!("Packets longer than 1514 bytes on the wire under TCP: {}.{said}", each.join("; "))
}

fn cells(row: &Row) -> Vec<String> {
    let median = |metric| row.median(metric).map_or_else(String::new, number);
    COLUMNS
        .iter()
        .map(|(_, cell)| match *cell {
            Cell::Spread(metric) => row.summary(metric).map_or_else(String::new, spread),
            Cell::Two(first, second) => format!("{}, {}", median(first), median(second)),
            Cell::Loss => match row.median(Metric::PacedOfferedKpps) {
                Some(offered) if offered < ENOUGH_OFFERED => {
                    format!("{} at {}", spread_of(row, Metric::PacedLossPercent), number(offered))
                }
                _ => spread_of(row, Metric::PacedLossPercent),
            },
        })
        .map(|cell| if cell.starts_with(", ") { cell.trim_start_matches(", ").into() } else { cell })
        .collect()
}

/// What only some variants have: TCP with loss, UDP to a group.
fn extras(batch: &Batch) -> Option<String> {
    let columns = [
        ("TCP 1 stream with 0.1 % loss, Gb/s", Metric::TcpLoss01Gbps),
        ("with 1 % loss", Metric::TcpLoss1Gbps),
        ("UDP 1200 B to one, kpps", Metric::UnicastKpps),
        ("to a group", Metric::MulticastKpps),
    ];
    let has = |metric| batch.rows.iter().any(|row| row.samples.contains_key(&metric));
    let columns: Vec<_> = columns.into_iter().filter(|&(_, metric)| has(metric)).collect();
    if columns.is_empty() {
        return None;
    }
    let mut text = String::new();
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let _ = writeln!(text, "| | {} |", headings.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len() + 1));
    for row in &batch.rows {
        let cells: Vec<String> = columns.iter().map(|&(_, metric)| spread_of(row, metric)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let _ = writeln!(text, "| {} | {} |", row.variant, cells.join(" | "));
        }
    }
    for check in &batch.drops {
        let (wanted, percent, packets) = (check.wanted_percent, check.percent(), check.packets);
        let _ = writeln!(text, "\nLoss of {wanted} %: {percent:.3} % of {packets} packets were dropped.");
    }
    Some(text)
}

/// The table of goals: one for each underlay, a column for each of our variants.
pub(crate) fn goals(batches: &[Batch], goals: &[Goal]) -> String {
    let mut text = String::from("### Goals\n");
    for batch in batches {
        let here: Vec<&Goal> = goals.iter().filter(|goal| goal.underlay == batch.underlay.name()).collect();
        let variants: BTreeSet<&str> = here.iter().map(|goal| goal.variant).collect();
        // Ours over UDP is first in the results, and so here.
        let variants: Vec<&str> = variants.into_iter().rev().collect();
        if variants.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n| {} | must | aim | {} |", batch.underlay.name(), variants.join(" | "));
        let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(variants.len()));
        for first in here.iter().filter(|goal| goal.variant == variants[0]) {
            let same = here.iter().filter(|goal| goal.what == first.what);
            let cells: Vec<String> = same.map(|goal| reached(goal)).collect();
            let _ =
                writeln!(text, "| {} | {} | {} | {} |", first.what, first.must, first.aim, cells.join(" | "));
        }
        let _ = match best_l2_rival(batch) {
            Some((rival, gbps)) => writeln!(text, "\nBest L2 rival: {rival} with {} Gb/s.", number(gbps)),
            None => writeln!(text, "\nNo L2 rival was measured: `benches/rivals.sh` installs some."),
        };
    }
    let count = |wanted: &[Verdict]| goals.iter().filter(|goal| wanted.contains(&goal.verdict)).count();
    let _ = writeln!(
        text,
        "\nOf {} goals {} are reached, {} of them as aimed at; {} are missed, {} not measured.",
        goals.len(),
        count(&[Verdict::Must, Verdict::Aim]),
        count(&[Verdict::Aim]),
        count(&[Verdict::Missed]),
        count(&[Verdict::NotMeasured, Verdict::Invalid])
    );
    text
}

fn reached(goal: &Goal) -> String {
    match goal.reached {
        Some(reached) => format!("{} {}", number(reached), goal.verdict.name()),
        None => goal.verdict.name().into(),
    }
}

fn spread_of(row: &Row, metric: Metric) -> String {
    row.summary(metric).map_or_else(String::new, spread)
}

fn spread(summary: Summary) -> String {
    format!("{} ({}-{})", number(summary.median), number(summary.least), number(summary.most))
}

/// With about three digits, as no more are certain.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// For a cell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Kind, NO_OVERLAY, TLS, UDP, WireCheck};

    fn batch() -> Batch {
        let mut none = Row::new(NO_OVERLAY, Kind::NoOverlay, 1500);
        [40.0, 38.0, 41.0].into_iter().for_each(|gbps| none.add(Metric::Tcp1Gbps, gbps));
        none.add(Metric::MachineSecondsPerGb, 0.3);
        let mut ours = Row::new(UDP, Kind::Ours, 1376);
        ours.add(Metric::PacedLossPercent, 0.5);
        ours.add(Metric::PacedOfferedKpps, 80.0);
        ours.add(Metric::DaemonsSecondsPerGb, 0.6);
        ours.add(Metric::MachineSecondsPerGb, 1.0);
        ours.add(Metric::TcpLoss1Gbps, 3.0);
        ours.troubles.push("round 1, Udp64: not\n done | in time".into());
        let mut failed = Row::new("tinc", Kind::RivalL2, 1400);
        failed.failure = Some("no /dev/tap".into());
        let wire = vec![WireCheck { variant: UDP.into(), packets: 100, long: 0, longest: 1506 }];
        let rows = vec![none, ours, failed];
        Batch { underlay: Underlay::Plain, wire, drops: vec![], rows, steal_percent: 0.0 }
    }

    #[test]
    fn a_row_shows_medians_with_their_spread_and_leaves_empty_what_was_not_measured() {
        let text = underlay(&batch());
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert_eq!(
            line("| no overlay"),
            "| no overlay | 1500 | 40.0 (38.0-41.0) |  |  |  |  |  |  |  |  |  | 0.30 |  |  |"
        );
        assert!(line("| weave udp | 1376").contains("| 0.50 (0.50-0.50) at 80.0 |"), "{text}");
        assert!(line("| weave udp | 1376").contains("| 0.60, 1.00 |"), "{text}");
        assert!(line("| tinc").contains("no /dev/tap"), "{text}");
        assert!(text.contains("| weave udp | 3.00 (3.00-3.00) |"), "{text}");
        assert!(
            text.contains("1 runs gave no value, among them: round 1, Udp64: not done / in time"),
            "{text}"
        );
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells() {
        let text = underlay(&batch());
        let first = text.split("\n\n").find(|part| part.starts_with("| | MTU")).unwrap();
        let bars: Vec<usize> = first.lines().map(|line| line.matches('|').count()).collect();
        assert!(bars.iter().all(|&count| count == bars[0]), "{bars:?} in {first}");
    }

    #[test]
    fn goals_have_a_column_for_each_of_our_variants() {
        let batch = batch();
        let goal = |variant, reached, verdict| Goal {
            what: "TCP".into(),
            underlay: "plain",
            variant,
            must: 0.7,
            aim: 1.0,
            reached,
            verdict,
        };
        let judged = [goal(UDP, Some(0.8), Verdict::Must), goal(TLS, None, Verdict::NotMeasured)];
        let text = goals(&[batch], &judged);
        assert!(text.contains("| plain | must | aim | weave udp | weave tls |"), "{text}");
        assert!(text.contains("| TCP | 0.7 | 1 | 0.80 must | not measured |"), "{text}");
        assert!(
            text.contains("Of 2 goals 1 are reached, 0 of them as aimed at; 0 are missed, 1 not measured.")
        );
    }

    #[test]
    fn an_invalid_underlay_says_so_in_its_heading() {
        assert!(!underlay(&batch()).contains("INVALID"));
        let mut batch = batch();
        batch.wire[0].long = 3;
        assert!(underlay(&batch).starts_with("### Underlay `plain`: INVALID"));
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let numbers = [0.123, 9.99, 12.34, 99.96, 1234.5].map(number);
        assert_eq!(numbers, ["0.12", "9.99", "12.3", "100", "1234"]);
    }
}
