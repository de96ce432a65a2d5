//! One table: what a network of 10, 100, 300 and 1000 peers costs, and how soon it agrees, in the simulator.
//!
//! `cargo run --release -p benches --bin mesh-table [-- --peers 100 --scenario join --json FILE]`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod figures;
mod scenario;
mod shape;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;

use figures::Figures;
use scenario::Scenario;

/// What is run.
#[derive(Debug, Parser)]
struct Options {
    /// Peers; several times for several tables.
    #[arg(long = "peers", default_values_t = [10, 100, 300, 1000])]
    sizes: Vec<usize>,
    /// One scenario alone: join, restart, flap, starved, split, loss, change or steady.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// What all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads to run scenarios in.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Tells on standard error, each simulated second, how far agreement is.
    #[arg(long)]
    timeline: bool,
    /// Writes all figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let begin = Instant::now();
    let one = options.scenario.map(|scenario| vec![scenario]);
    let rows: Vec<&[Scenario]> = one.as_ref().map_or_else(|| Scenario::ROWS.to_vec(), |one| vec![&one[..]]);
    let mut work: Vec<_> =
        options.sizes.iter().flat_map(|&n| rows.iter().map(move |&row| (n, row))).collect();
    // The last are taken first: the longest begin first.
    work.sort_by_key(|&(n, _)| n);
    let (work, done) = (Mutex::new(work), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let Some((n, row)) = work.lock().unwrap_or_else(PoisonError::into_inner).pop() else {
                        return;
                    };
                    Scenario::run(row, n, options.seed, options.timeline, |scenario, figures| {
                        let real = figures.real.as_secs_f64();
                        eprintln!("{n:5} peers, {:8}: {real:6.1} s of real time", scenario.name());
                        done.lock().unwrap_or_else(PoisonError::into_inner).insert((n, scenario), figures);
                    });
                }
            });
        }
    });
    let done: BTreeMap<(usize, Scenario), Figures> =
        done.into_inner().unwrap_or_else(PoisonError::into_inner);
    print!("{}", table::text(&done));
    let real = begin.elapsed();
    let (goals, missed) = table::goals(&done, real);
    print!("{goals}");
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&table::json(&done, real, options.seed))?;
        std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
