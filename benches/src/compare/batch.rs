//! All measurements on one underlay: every variant is up at once, and runs interleave, so that a slow minute of the
//! machine hits all of them. Who comes first changes from round to round.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::cost::Machine;
use crate::drops::Drops;
use crate::hosts::Hosts;
use crate::load::{self, Load, Measure};
use crate::results::{Batch, DropCheck, Kind, Metric, Row, Underlay, WireCheck};
use crate::variant::{self, Plan, Variant};
use crate::{group, say, wire};

/// How a batch is measured.
pub(crate) struct Settings<'a> {
    pub(crate) runs: usize,
    pub(crate) load: Load<'a>,
    /// Only what one needs while working on the data path.
    pub(crate) quick: bool,
    pub(crate) weave: &'a Path,
}

/// The share of a processor that an idle daemon may use without disturbing others.
const IDLE_SHARE: f64 = 0.05;

/// Measures all of `plans`.
///
/// # Errors
/// The hosts cannot be made. What goes wrong with one variant is in its row.
pub(crate) fn measure(underlay: Underlay, plans: &[Plan], settings: &Settings<'_>) -> Result<Batch> {
    let before = Machine::now()?;
    say(&format!("{}: making {} hosts", underlay.name(), variant::HOSTS));
    let hosts = Hosts::up(variant::HOSTS, underlay)?;
    let mut bench =
        Bench { hosts: &hosts, settings, underlay, first: 0, measured: Vec::new(), failed: Vec::new() };
    for plan in plans {
        bench.set_up(plan);
    }
    bench.idle();
    let wire = bench.wire();
    for round in 1..=settings.runs {
        bench.round(round);
    }
    bench.note_memory(Metric::ResidentAfterMib);
    let mut drops = Vec::new();
    if !settings.quick {
        if underlay == Underlay::Plain {
            bench.with_drops(&mut drops);
        }
        bench.groups();
    }
    let rows = bench.rows();
    let now = Machine::now()?;
    let steal_percent = (now.stolen - before.stolen) / (now.all - before.all) * 100.0;
    Ok(Batch { underlay, wire, drops, rows, steal_percent })
}

struct Bench<'a> {
    hosts: &'a Hosts,
    settings: &'a Settings<'a>,
    underlay: Underlay,
    /// Who has the first turn of a round; the others follow as they were planned.
    first: usize,
    measured: Vec<(Variant, Row)>,
    failed: Vec<Row>,
}

impl Bench<'_> {
    fn say(&self, text: &str) {
        say(&format!("{}: {text}", self.underlay.name()));
    }

    fn set_up(&mut self, plan: &Plan) {
        self.say(&format!("setting up {}", plan.name));
        match plan.set_up(self.hosts, self.settings.weave) {
            Ok(variant) => {
                let row = Row::new(&variant.name, variant.kind, variant.mtu);
                self.measured.push((variant, row));
            }
            Err(e) => {
                let why = format!("did not start: {e:#}");
                self.say(&format!("{} {why}", plan.name));
                let mut row = Row::new(&plan.name, plan.kind, plan.mtu.unwrap_or(0));
                row.failure = Some(why);
                self.failed.push(row);
            }
        }
    }

    /// Notes memory before the first load, and leaves out who is busy with nothing.
    fn idle(&mut self) {
        self.note_memory(Metric::ResidentIdleMib);
        let used = |measured: &[(Variant, Row)]| -> Vec<f64> {
            measured.iter().map(|(variant, _)| variant.daemons.seconds().unwrap_or(f64::NAN)).collect()
        };
        let seconds = 2.0;
        let before = used(&self.measured);
        thread::sleep(Duration::from_secs_f64(seconds));
        let after = used(&self.measured);
        let shares: Vec<f64> =
            before.iter().zip(after).map(|(before, after)| (after - before) / seconds).collect();
        let (mut kept, mut shares) = (Vec::new(), shares.into_iter());
        for (variant, mut row) in std::mem::take(&mut self.measured) {
            let share = shares.next().unwrap_or(f64::NAN);
            row.add(Metric::IdlePercent, share * 100.0);
            if share <= IDLE_SHARE || variant.main() {
                kept.push((variant, row));
                continue;
            }
            let why = format!("left out and stopped: idle, it used {:.0} % of a processor", share * 100.0);
            variant.daemons.kill();
            self.say(&format!("{} {why}", variant.name));
            row.failure = Some(why);
            self.failed.push(row);
        }
        self.measured = kept;
    }

    fn wire(&self) -> Vec<WireCheck> {
        let mut checks = Vec::new();
        // One is enough where none of the main ones was asked for.
        let any = self.measured.iter().any(|(variant, _)| variant.main());
        let looked =
            self.measured.iter().map(|(variant, _)| variant).filter(|variant| variant.main() || !any);
        for variant in looked.take(if any { usize::MAX } else { 1 }) {
            match wire::check(self.hosts, variant, self.settings.load) {
                Ok(check) => checks.push(check),
                Err(e) => self.say(&format!("{}: what crosses the wire is not known: {e:#}", variant.name)),
            }
        }
        checks
    }

    fn round(&mut self, round: usize) {
        self.say(&format!("round {round} of {}", self.settings.runs));
        self.first = round - 1;
        for measure in Measure::ALL {
            self.each(
                &format!("round {round}, {measure:?}"),
                |variant| variant.main() || measure.for_rivals(),
                |hosts, variant, load| load::run(hosts, variant, measure, load),
            );
        }
    }

    /// TCP while packets of the underlay get lost.
    fn with_drops(&mut self, drops: &mut Vec<DropCheck>) {
        for round in 1..=self.settings.runs {
            self.say(&format!("with loss, round {round} of {}", self.settings.runs));
            self.first = round - 1;
            for (per_mille, metric) in [(1, Metric::TcpLoss01Gbps), (10, Metric::TcpLoss1Gbps)] {
                self.each(
                    &format!("with loss, round {round}, {per_mille} of 1000"),
                    |variant| matches!(variant.kind, Kind::NoOverlay | Kind::Ours),
                    |hosts, variant, load| {
                        let dropping = Drops::at(hosts, variant.pair, per_mille)?;
                        let gbps = load::tcp(hosts, variant, load, &[])?;
                        drops.push(dropping.check()?);
                        Ok(vec![(metric, gbps)])
                    },
                );
            }
        }
        *drops = DropCheck::summed(drops);
    }

    fn groups(&mut self) {
        for round in 1..=self.settings.runs {
            self.say(&format!("to one and to a group, round {round} of {}", self.settings.runs));
            self.first = round - 1;
            for metric in [Metric::UnicastKpps, Metric::MulticastKpps] {
                self.each(
                    &format!("round {round}, {metric:?}"),
                    |variant| variant.kind == Kind::Ours,
                    |hosts, variant, load| {
                        Ok(vec![(metric, group::run(hosts, variant, load.seconds, metric)?)])
                    },
                );
            }
        }
    }

    /// Makes one run of one measurement through each variant that wants it.
    fn each(
        &mut self,
        what: &str,
        wants: impl Fn(&Variant) -> bool,
        mut run: impl FnMut(&Hosts, &Variant, Load<'_>) -> Result<load::Found>,
    ) {
        let mut takers: Vec<_> = self.measured.iter_mut().filter(|(variant, _)| wants(variant)).collect();
        let first = self.first % takers.len().max(1);
        takers.rotate_left(first);
        for (variant, row) in takers {
            let found = run(self.hosts, variant, self.settings.load)
                // What travelled some other way is no figure of this variant.
                .and_then(|found| variant.still_itself(self.hosts, self.settings.weave).map(|()| found));
            match found {
                Ok(found) => found.into_iter().for_each(|(metric, value)| row.add(metric, value)),
                Err(e) => {
                    let trouble = format!("{what}: {e:#}");
                    say(&format!("{}: {}: {trouble}", self.underlay.name(), variant.name));
                    row.troubles.push(trouble);
                    if let Err(e) = variant.serve(self.hosts, true) {
                        row.troubles.push(format!("{what}: {e:#}"));
                    }
                }
            }
        }
    }

    fn note_memory(&mut self, metric: Metric) {
        for (variant, row) in &mut self.measured {
            match variant.daemons.resident_mib() {
                Ok(Some(mib)) => row.add(metric, mib),
                Ok(None) => {}
                Err(e) => row.troubles.push(format!("{e:#}")),
            }
        }
    }

    /// Those that were measured first, as they were planned.
    fn rows(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.measured.into_iter().map(|(_, row)| row).collect();
        rows.extend(self.failed);
        rows.sort_by_key(|row| row.kind);
        rows
    }
}
