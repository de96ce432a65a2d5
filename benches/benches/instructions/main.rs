//! The regression gate: how many instructions each scenario needs, held against the figures in `instructions.json`.
//!
//! ```text
//! cargo bench -p benches --bench instructions               compare; fails when one needs more than 5 % above its figure
//! cargo bench -p benches --bench instructions -- --record   make today's figures the ones to compare with
//! ```
//!
//! Time depends on what else the machine does; the number of instructions does not, so it can be a gate. They are counted
//! by Valgrind, which simulates a CPU and therefore needs no performance counters. It says nothing about cache misses and
//! branches; for time there is `frames`. Two runs differ by 1 % at most, because hash maps are seeded anew; 5 %
//! leaves room for what the compiler makes of an unrelated change.
//!
//! Another compiler, C library or Valgrind makes other figures. Then the change is shown but not judged. Judged in any
//! case is what one run can tell alone: that a frame costs the same with large tables as with small ones.
//!
//! Without Valgrind there are no figures, and the gate is skipped, or fails if `LAB_REQUIRED` is set.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is the result")]

mod count;
mod recorded;
#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::process::ExitCode;

use count::{Counts, NotCounted};
use recorded::Recorded;

/// A scenario fails above this share of its recorded figure.
const LIMIT: f64 = 1.05;
/// A frame may cost this much more with large tables than with small ones: hashing costs the same, and in a fuller table
/// it takes a few more comparisons to find an entry.
const LARGE_LIMIT: f64 = 1.25;

fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|arg| arg == flag);
    if given(count::CHILD) {
        count::run_all();
        return ExitCode::SUCCESS;
    }
    let counts = match count::count() {
        Ok(counts) => counts,
        Err(NotCounted::Skipped(reason)) if std::env::var_os("LAB_REQUIRED").is_none() => {
            println!("instructions: skipped: {reason}");
            return ExitCode::SUCCESS;
        }
        Err(NotCounted::Skipped(reason) | NotCounted::Failed(reason)) => {
            eprintln!("instructions: not counted: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let finished = if given("--record") { record(&counts) } else { compare(&counts) };
    finished.unwrap_or_else(|problem| {
        eprintln!("instructions: {problem}");
        ExitCode::FAILURE
    })
}

fn record(counts: &Counts) -> Result<ExitCode, String> {
    // The first time there is nothing to compare with.
    let old = Recorded::read().unwrap_or_default();
    print_table(counts, &old);
    let path = Recorded::of(counts).write()?;
    println!("recorded in {path}");
    Ok(ExitCode::SUCCESS)
}

fn compare(counts: &Counts) -> Result<ExitCode, String> {
    let recorded = Recorded::read()?;
    let (mut failures, more) = print_table(counts, &recorded);
    let made_otherwise = recorded.made_otherwise(counts);
    for other in &made_otherwise {
        println!("not judged against the recorded figures, which were {other}");
    }
    if made_otherwise.is_empty() {
        failures.extend(more);
    }
    for gone in recorded.instructions.keys().filter(|name| counts.of(name).is_none()) {
        failures.push(format!("{gone} is recorded but no longer measured; `-- --record` removes it"));
    }
    failures.extend(large_tables(counts));
    for failure in &failures {
        eprintln!("instructions: {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints all figures. Gives back those that nothing is recorded for, and those that became worse.
fn print_table(counts: &Counts, recorded: &Recorded) -> (Vec<String>, Vec<String>) {
    let (mut new, mut more) = (Vec::new(), Vec::new());
    println!("{:<24} {:<12} {:>12} {:>12} {:>9}", "scenario", "per", "instructions", "recorded", "change");
    for count in &counts.list {
        let (name, per, now) = (&count.name, &count.per, count.instructions);
        let Some(before) = recorded.instructions.get(name).copied() else {
            println!("{name:<24} {per:<12} {now:>12.1} {:>12} {:>9}", "-", "new");
            new.push(format!("{name} has no recorded figure; `-- --record` adds it"));
            continue;
        };
        let change = now / before;
        let percent = (change - 1.0) * 100.0;
        let note = match change {
            change if change > LIMIT => "  MORE",
            change if change < 2.0 - LIMIT => "  less: record it",
            _ => "",
        };
        println!("{name:<24} {per:<12} {now:>12.1} {before:>12.1} {percent:>+8.1}%{note}");
        if change > LIMIT {
            more.push(format!(
                "{name} needs {now:.1} instructions per {per}, {percent:.1} % more than the {before:.1} recorded; \
                 mend it, or say in the commit what it buys and record it with `-- --record`"
            ));
        }
    }
    println!(
        "ciphers: Valgrind does not know AVX-512, so other code of the library is counted than runs where there is"
    );
    (new, more)
}

/// What costs more for each frame because the tables are large.
fn large_tables(counts: &Counts) -> Vec<String> {
    let mut failures = Vec::new();
    for (small, large) in scenarios::tables::SAME {
        let (Some(few), Some(many)) = (counts.of(small), counts.of(large)) else {
            failures.push(format!("{small} or {large} was not counted"));
            continue;
        };
        let ratio = many / few;
        println!("{large} costs {ratio:.2} times {small}, at most {LARGE_LIMIT:.2}");
        if ratio > LARGE_LIMIT {
            failures.push(format!(
                "{large} needs {many:.1} instructions, {ratio:.2} times the {few:.1} of {small}: \
                 a lookup depends on the size of the table"
            ));
        }
    }
    failures
}
