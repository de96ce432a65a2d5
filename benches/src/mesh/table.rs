//! The figures as a table, as goals reached or missed, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::figures::Figures;
use crate::scenario::Scenario;

type Done = BTreeMap<(usize, Scenario), Figures>;

/// The size that goals are for.
const GOAL_PEERS: usize = 1000;

/// One table for each size.
pub(crate) fn text(done: &Done) -> String {
    let mut out = String::new();
    let mut last = None;
    for (&(n, scenario), f) in done {
        if last.replace(n) != Some(n) {
            let _ = writeln!(
                out,
                "\n{n} peers\n{:31} {:>9} {:>10} {:>11} {:>11} {:>9} {:>9} {:>6} {:>5} {:>5} {:>8} {:>7}",
                "",
                "agree",
                "gossip",
                "gossip",
                "all sent",
                "change",
                "peak",
                "links",
                "most",
                "most",
                "stretch",
                "real"
            );
            let _ = writeln!(
                out,
                "{:31} {:>9} {:>10} {:>11} {:>11} {:>9} {:>9} {:>6} {:>5} {:>5} {:>8} {:>7}",
                "",
                "s",
                "msgs/peer",
                "bytes/peer",
                "B/s/peer",
                "B/link",
                "KiB/peer",
                "",
                "links",
                "hops",
                "worst",
                "s"
            );
        }
        let agreement = f.agreement.map_or_else(|| "never".into(), |t| format!("{:.2}", t.as_secs_f64()));
        let change = f.change_per_link().map_or_else(String::new, |b| format!("{b:.0}"));
        let _ = writeln!(
            out,
            "{:31} {agreement:>9} {:>10.0} {:>11.0} {:>11.0} {change:>9} {:>9.0} {:>6} {:>5} {:>5} {:>8.1} {:>7.1}",
            scenario.title(),
            f.messages_per_peer(),
            f.bytes_per_peer(),
            f.rate_per_peer(),
            f.peak_per_peer() / 1024.0,
            f.links,
            f.shape.most_links,
            f.shape.most_hops,
            f.shape.worst_stretch,
            f.real.as_secs_f64(),
        );
        if let Some(flaw) = &f.flaw {
            let _ = writeln!(out, "  no agreement: {flaw}");
        }
    }
    out.push_str(
        "\nagree: simulated time from the event, or from its end where it lasts, until all hold equal facts and have a route to each other\n\
         gossip: facts, digests, announcements, wants, prunes; bytes of messages before TLS; all sent: pings too\n\
         change: bytes of gossip for one change (two links facts), for each link there is; peak: everything allocated, messages on their way too\n\
         stretch: time of a route over that of a straight line between its ends\n",
    );
    out
}

/// The goals beside the figures; and whether one was missed.
pub(crate) fn goals(done: &Done, real: Duration) -> (String, bool) {
    let mut out = format!("\nGoals at {GOAL_PEERS} peers\n");
    let mut missed = false;
    let mut goal = |name: &str, limit: f64, unit: &str, figure: Option<f64>| {
        let reached = figure.is_some_and(|figure| figure <= limit);
        missed |= !reached;
        let figure = figure.map_or_else(|| "never".into(), |f| format!("{f:.2}"));
        let verdict = if reached { "reached" } else { "MISSED" };
        let _ = writeln!(out, "  {name:44} {figure:>10} {unit:7} goal {limit:>7} {verdict}");
    };
    let of = |scenario| done.get(&(GOAL_PEERS, scenario));
    let seconds = |f: &Figures| f.agreement.map(|t| t.as_secs_f64());
    if let Some(f) = of(Scenario::Join) {
        goal("agreement after a mass join", 10.0, "s", seconds(f));
    }
    if let Some(f) = of(Scenario::Restart) {
        goal("agreement after a mass restart", 10.0, "s", seconds(f));
    }
    if let Some(f) = of(Scenario::Change) {
        goal("agreement after one change", 2.0, "s", seconds(f));
        goal("one link change, for each link there is", 200.0, "B", f.change_per_link());
    }
    if let Some(f) = of(Scenario::Steady) {
        goal("steady state, for each peer", 2000.0, "B/s", Some(f.rate_per_peer()));
    }
    let memory = done.iter().filter(|((n, _), _)| *n == GOAL_PEERS).map(|(_, f)| f.peak_per_peer());
    if let Some(worst) = memory.max_by(f64::total_cmp) {
        goal("peak memory for each peer, worst row", 4096.0, "KiB", Some(worst / 1024.0));
    }
    goal("real time for the table", 300.0, "s", Some(real.as_secs_f64()));
    (out, missed)
}

/// Everything.
pub(crate) fn json(done: &Done, real: Duration, seed: u64) -> Value {
    let row = |(&(n, scenario), f): (&(usize, Scenario), &Figures)| {
        json!({
            "peers": n,
            "scenario": scenario.name(),
            "agreement_s": f.agreement.map(|t| t.as_secs_f64()),
            "flaw": f.flaw,
            "gossip_messages_per_peer": f.messages_per_peer(),
            "gossip_bytes_per_peer": f.bytes_per_peer(),
            "bytes_per_second_per_peer": f.rate_per_peer(),
            "lasted_s": f.lasted.as_secs_f64(),
            "change_bytes_per_link": f.change_per_link(),
            "changes": f.changes,
            "peak_bytes_per_peer": f.peak_per_peer(),
            "rest_bytes_per_peer": f.rest_bytes as f64 / n as f64,
            "links": f.links,
            "most_links": f.shape.most_links,
            "most_hops": f.shape.most_hops,
            "worst_stretch": f.shape.worst_stretch,
            "mean_stretch": f.shape.mean_stretch,
            "real_s": f.real.as_secs_f64(),
        })
    };
    json!({ "seed": seed, "real_s": real.as_secs_f64(), "rows": done.iter().map(row).collect::<Vec<_>>() })
}
