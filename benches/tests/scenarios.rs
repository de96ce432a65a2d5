//! What the benchmarks measure: that they do what they say, that nothing on a frame's way allocates, and what tables take.

#[path = "../benches/scenarios/mod.rs"]
mod scenarios;

use allocation_counter::measure;
use scenarios::tables::{LARGE, OWN, SMALL, Size, tables};
use scenarios::{Scenario, all};

/// What 10 000 addresses and 1000 peers may take, in bytes: the 20 MiB for the router have to hold much more.
const LARGE_TABLES: i64 = 2 * 1024 * 1024;

#[test]
fn every_scenario_does_what_it_says_each_time() {
    for entry in all() {
        let Scenario { units, mut prepare, mut run, .. } = (entry.build)();
        for _ in 0..3 {
            assert_eq!(run(&mut prepare()), units, "{}", entry.name);
        }
    }
}

#[test]
fn nothing_on_the_way_of_a_frame_allocates() {
    for entry in all() {
        let Scenario { allocates, mut prepare, mut run, .. } = (entry.build)();
        // The first run takes the buffers that the others reuse.
        run(&mut prepare());
        let mut input = prepare();
        let counted = measure(|| _ = run(&mut input));
        assert_eq!(counted.count_total > 0, allocates, "{}: {counted:?}", entry.name);
    }
}

#[test]
fn a_thousand_peers_and_ten_thousand_addresses_fit_into_2_mib() {
    let (small, large) = (taken(SMALL), taken(LARGE));
    println!("bytes of small tables (the control side's, a snapshot): {small:?}; of large ones: {large:?}");
    assert!(large.0 > 100 * small.0, "counted nothing: {small:?}, {large:?}");
    assert!(large.0 + large.1 < LARGE_TABLES, "{large:?}");
}

/// Bytes that the control side's table takes, and a snapshot of it beside that.
fn taken(size: Size) -> (i64, i64) {
    let (mut table, mut fib) = (None, None);
    let of_table = measure(|| table = Some(tables(size)));
    let of_fib =
        measure(|| fib = table.as_ref().map(|(table, peers)| table.snapshot(OWN, peers.clone(), Vec::new())));
    (of_table.bytes_current, of_fib.bytes_current)
}
