//! Random schedules on small networks. `SIM_SEED=n` runs that one alone and tells what happens; `SIM_SCHEDULES=n` runs so many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sim::schedule::Schedule;

/// How many are run unless the environment says otherwise.
const SCHEDULES: u64 = 10_000;
/// One in so many is run with data paths and frames.
const FRAMED: u64 = 2;

#[test]
fn nothing_goes_wrong_in_ten_thousand_random_schedules() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_framed = |seed: u64| seed.is_multiple_of(FRAMED);
    if let Some(seed) = number("SIM_SEED") {
        let schedule = Schedule::draw(seed);
        println!("{schedule:#?}");
        if let Err(flaw) = schedule.run(is_framed(seed), true) {
            panic!("seed {seed}: {flaw}");
        }
        return;
    }
    let schedules = number("SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let (next, flaws) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= schedules || flaws.lock().unwrap().len() >= 10 {
                        return;
                    }
                    let run = || Schedule::draw(seed).run(is_framed(seed), false).err();
                    let flaw = std::panic::catch_unwind(run).unwrap_or_else(|_| Some("it panicked".into()));
                    flaws.lock().unwrap().extend(flaw.map(|flaw| (seed, flaw)));
                }
            });
        }
    });
    let mut flaws = flaws.into_inner().unwrap();
    flaws.sort_unstable();
    let tell = |(seed, flaw): &(u64, String)| {
        format!("seed {seed}: {flaw}\n  SIM_SEED={seed} cargo test -p sim --test schedules -- --nocapture")
    };
    assert!(flaws.is_empty(), "{}", flaws.iter().map(tell).collect::<Vec<_>>().join("\n"));
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [3, 4] {
        let run = || {
            let world = Schedule::draw(seed).run(seed == 4, false).unwrap();
            (world.elapsed(), world.handled(), world.sent().all())
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}
