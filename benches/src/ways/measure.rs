//! One row of the table, measured.

use std::time::Duration;

use serde::Serialize;
use testbed::world::{Way, World, wall_clock};

use crate::rows::Row;
use crate::stream;
use crate::watch::Watch;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) expected: &'static str,
    /// The way in the end; the worse one where the ends differ.
    pub(crate) way: &'static str,
    /// Why, in the router's words.
    pub(crate) reason: String,
    /// From the end of `weave connect` to the first answer.
    pub(crate) first_ping_ms: Option<f64>,
    /// From the same moment until the way was what it stayed.
    pub(crate) final_way_ms: Option<f64>,
    /// Without an overlay, from host to host on the same way.
    pub(crate) bare_gbps: Option<f64>,
    pub(crate) overlay_gbps: Option<f64>,
    /// What was not as it ought to be; nothing when all goals were reached.
    pub(crate) missed: Vec<String>,
}

/// The goal for the first ping.
const FIRST_PING: f64 = 1000.0;

/// How long is waited for the way that is expected, beyond the goal for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A way counts when it has been the same for so long.
const STAY: Duration = Duration::from_millis(1500);
/// Where a relay is right, that no better way is found shows only in time.
const STAY_RELAYED: Duration = Duration::from_secs(4);

pub(crate) fn measure(row: &Row, weave: &str, seconds: u32) -> Found {
    let mut found =
        Found { name: row.name.clone(), expected: row.expected.word(), way: "none", ..Found::default() };
    let mut world = World::new(row.plan, weave);
    world.middle().set(row.conditions);
    found.bare_gbps = stream::tcp(&world.b().host, &world.a().host, &world.b().address, seconds);
    world.raise_walls();
    world.launch(|k| row.arguments[k.min(2)].clone());

    let target = world.target(2, row.port);
    world.connect(1, &target);
    world.await_way(1, 2, Duration::from_secs(10));
    world.connect(0, &target);
    let start = wall_clock();
    let echoes = world.a().echo(&world.b().overlay, Duration::from_millis(50));
    for other in 3..world.sites().len() {
        let target = world.target(other, None);
        [0, 1].into_iter().for_each(|k| world.connect(k, &target));
    }
    let mut watch = Watch::new([world.a(), world.b()]);
    let stay = if row.expected == Way::Relay { STAY_RELAYED } else { STAY };
    watch.until(&[row.expected], stay, row.within + PATIENCE);
    found.overlay_gbps = stream::tcp(&world.b().container, &world.a().container, &world.b().overlay, seconds);
    watch.look();

    let since_start = |at: Duration| at.saturating_sub(start).as_secs_f64() * 1e3;
    found.first_ping_ms = echoes.answered().first().map(|echo| since_start(echo.at));
    let end = watch.worse();
    (found.way, found.reason) = (end.way.word(), end.reason.clone());
    found.final_way_ms = (end.way != Way::None).then(|| since_start(watch.since()));
    judge(&mut found, row.within);
    found
}

fn judge(found: &mut Found, within: Duration) {
    let mut missed = Vec::new();
    if found.way != found.expected {
        missed.push(format!("{} expected: {}", found.expected, found.reason));
    }
    match found.first_ping_ms {
        None => missed.push("nothing gets through".into()),
        Some(first) if first > FIRST_PING => missed.push("first ping late".into()),
        Some(_) => {}
    }
    if found.final_way_ms.is_some_and(|time| time > within.as_secs_f64() * 1e3) {
        missed.push("final way late".into());
    }
    if found.overlay_gbps.is_none_or(|gbps| gbps <= 0.0) {
        missed.push("no throughput".into());
    }
    found.missed = missed;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Found {
        Found {
            expected: "udp",
            way: "udp",
            first_ping_ms: Some(300.0),
            final_way_ms: Some(900.0),
            overlay_gbps: Some(0.5),
            ..Found::default()
        }
    }

    fn missed(change: impl FnOnce(&mut Found)) -> Vec<String> {
        let mut found = good();
        change(&mut found);
        judge(&mut found, Duration::from_secs(5));
        found.missed
    }

    #[test]
    fn every_goal_that_was_missed_is_named() {
        assert!(missed(|_| {}).is_empty());
        assert_eq!(missed(|found| found.first_ping_ms = Some(1001.0)), ["first ping late"]);
        assert_eq!(missed(|found| found.final_way_ms = Some(5001.0)), ["final way late"]);
        assert_eq!(missed(|found| found.overlay_gbps = None), ["no throughput"]);
        assert_eq!(missed(|found| found.way = "relay"), ["udp expected: "]);
        assert_eq!(missed(|found| found.first_ping_ms = None), ["nothing gets through"]);
    }
}
