//! TCP in TCP: what one stream inside the TLS of a link gets on a way that loses packets, beside plain TCP on that way.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use testbed::world::{Conditions, Echo, Nat, Plan, Way, World, wall_clock};

use crate::stream;
use crate::watch::Watch;

/// What was found, run by run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    lost_percent: f64,
    round_trip_ms: f64,
    /// For each congestion control of the stream, with and without overlay.
    streams: Vec<Stream>,
    /// Round trips in the overlay while nothing else is there.
    idle_ping_ms: Vec<f64>,
}

/// Streams of one congestion control.
#[derive(Debug, Default, Serialize)]
struct Stream {
    congestion: String,
    bare_mbps: Vec<f64>,
    overlay_mbps: Vec<f64>,
    /// Round trips in the overlay while the stream runs there.
    ping_ms: Vec<f64>,
    /// How many of the requests in that time were not answered.
    lost: u64,
}

/// What streams of hosts and containers have: what Linux has by itself, and what links have.
const CONGESTION: [&str; 2] = ["cubic", "bbr"];

/// The share of what plain TCP gets that is wanted.
const GOAL: f64 = 0.8;
const RUNS: usize = 3;
const SECONDS: u32 = 10;

pub(crate) fn measure(weave: &str) -> Found {
    let mut world = World::new(Plan::of(Nat::None, Nat::None), weave);
    // As much as real ways have at most: without a limit no queue could fill.
    let way = Conditions {
        delay: Duration::from_millis(25),
        lost: 100,
        rate: Some(1_000_000_000),
        ..Conditions::default()
    };
    world.launch(|_| vec!["--transport=tls".into()]);
    // Before there are links: a kernel remembers the shortest round trip of a connection for five minutes.
    world.middle().set(way);
    let target = world.target(2, None);
    world.connect(1, &target);
    world.connect(0, &target);
    let echoes = world.a().echo(&world.b().overlay, Duration::from_millis(50));
    let settled = Watch::new([world.a(), world.b()]).until(
        &[Way::Tls],
        Duration::from_secs(1),
        Duration::from_secs(20),
    );
    assert!(settled, "frames do not travel over TLS: {}", world.a().router().log());
    let mut found = Found { lost_percent: 1.0, round_trip_ms: 50.0, ..Found::default() };
    let (a, b) = (world.a(), world.b());
    let before = wall_clock();
    std::thread::sleep(Duration::from_secs(3));
    found.idle_ping_ms = round_trips(&echoes.answered(), before, wall_clock());
    let known = a.host.run(&["sysctl", "-n", "net.ipv4.tcp_available_congestion_control"]).stdout;
    let known: Vec<_> = known.split_whitespace().collect();
    for congestion in CONGESTION.into_iter().filter(|one| known.contains(one)) {
        let mut stream = Stream { congestion: congestion.into(), ..Stream::default() };
        for _ in 0..RUNS {
            let bare = stream::controlled(&b.host, &a.host, &b.address, SECONDS, congestion);
            stream.bare_mbps.extend(bare.map(|gbps| gbps * 1e3));
            let start = wall_clock();
            let overlay = stream::controlled(&b.container, &a.container, &b.overlay, SECONDS, congestion);
            stream.overlay_mbps.extend(overlay.map(|gbps| gbps * 1e3));
            let end = wall_clock();
            std::thread::sleep(Duration::from_secs(1));
            stream.ping_ms.extend(round_trips(&echoes.answered(), start, end));
            stream.lost += echoes.lost(start, end).0;
        }
        found.streams.push(stream);
    }
    found
}

fn round_trips(answers: &[Echo], from: Duration, to: Duration) -> Vec<f64> {
    let inside = answers.iter().filter(|one| one.at > from && one.at < to);
    inside.map(|one| one.round_trip.as_secs_f64() * 1e3).collect()
}

/// The table for people.
pub(crate) fn table(found: &Found) -> String {
    let list = |values: &[f64]| values.iter().map(|one| format!("{one:.1}")).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "{} % loss each way, {} ms there and back; one stream for {SECONDS} s, Mb/s, median of {RUNS} runs (runs)\n\n\
         echo in the overlay, idle       {:.1} ms, 99th percentile {:.1}\n",
        found.lost_percent,
        found.round_trip_ms,
        at(&found.idle_ping_ms, 0.5),
        at(&found.idle_ping_ms, 0.99),
    );
    for stream in &found.streams {
        let [bare, overlay] = [&stream.bare_mbps, &stream.overlay_mbps].map(|runs| at(runs, 0.5));
        let ratio = overlay / bare;
        let verdict = if ratio >= GOAL { "reached" } else { "missed" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{}\n\
             \x20 plain TCP                     {bare:.1} ({})\n\
             \x20 TCP in the TLS of a link      {overlay:.1} ({})\n\
             \x20 ratio                         {ratio:.2}  goal {GOAL}: {verdict}\n\
             \x20 echo beside it                {:.1} ms, 99th percentile {:.1}; {} lost, {} answered\n",
            stream.congestion,
            list(&stream.bare_mbps),
            list(&stream.overlay_mbps),
            at(&stream.ping_ms, 0.5),
            at(&stream.ping_ms, 0.99),
            stream.lost,
            stream.ping_ms.len(),
        );
    }
    text
}

/// The value that this share of all lie below. Not a number of an empty slice.
fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_medians_and_judged() {
        let stream = Stream {
            bare_mbps: vec![10.0, 20.0, 12.0],
            overlay_mbps: vec![10.0, 9.0, 50.0],
            ..Stream::default()
        };
        let mut found = Found { streams: vec![stream], ..Found::default() };
        assert!(table(&found).contains("0.83  goal 0.8: reached"), "{}", table(&found));
        found.streams[0].overlay_mbps = vec![9.0];
        assert!(table(&found).contains("0.75  goal 0.8: missed"));
        found.streams[0].overlay_mbps.clear();
        assert!(table(&found).contains("missed"), "a stream that got nowhere");
    }

    #[test]
    fn percentiles_are_of_the_values_in_order() {
        assert!((at(&[3.0, 1.0, 2.0], 0.5) - 2.0).abs() < 1e-9);
        assert!((at(&[3.0, 1.0, 2.0], 0.99) - 3.0).abs() < 1e-9);
        assert!(at(&[], 0.5).is_nan());
    }
}
