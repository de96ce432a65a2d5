//! Whether and how two hosts reach each other through NATs, firewalls, proxies and bad ways: one table, printed by one
//! command. Real routers in networks without names, with one hop of our own in between; nothing is left of it.

mod faults;
mod lossy;
mod measure;
mod rows;
mod stream;
mod table;
mod transfer;
mod watch;

use std::any::Any;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;
use testbed::world::World;

use crate::measure::Found;

/// Measures how two hosts reach each other through NATs and firewalls, on this machine
#[derive(Debug, Parser)]
#[command(name = "ways", version)]
struct Arguments {
    /// Only rows whose names contain one of these
    rows: Vec<String>,

    /// What happens to traffic while ways break and heal, instead
    #[arg(long, conflicts_with = "lossy")]
    faults: bool,

    /// What frames over TLS get on a way that loses packets, instead
    #[arg(long)]
    lossy: bool,

    /// How long one run of iperf3 lasts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Where ways.json, ways-faults.json and ways-lossy.json go
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The program to measure [default: weave beside this program]
    #[arg(long, env = "WEAVE_BIN", value_name = "FILE")]
    weave: Option<PathBuf>,
}

/// What is needed beside what every world needs.
const TOOLS: [&str; 4] = ["iperf3", "conntrack", "squid", "miniupnpd"];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    World::available(&TOOLS).map_err(anyhow::Error::msg)?;
    let program = env::current_exe().context("where this program is")?;
    let weave = arguments.weave.clone().unwrap_or_else(|| program.with_file_name("weave"));
    let weave =
        weave.canonicalize().with_context(|| format!("{}: `make build` builds it", weave.display()))?;
    let weave = weave.to_str().context("the program's path is no text")?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        program.ancestors().nth(2).map_or_else(|| PathBuf::from("target"), PathBuf::from).join("bench")
    });
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    // What goes wrong in a row is part of the table, and told there.
    std::panic::set_hook(Box::new(|_| {}));

    let wanted =
        |name: &str| arguments.rows.is_empty() || arguments.rows.iter().any(|part| name.contains(part));
    if arguments.faults {
        let faults = faults::all().into_iter().filter(|fault| wanted(fault.name));
        let found = each(
            faults,
            faults::HEAD,
            |fault| match alone(|| faults::measure(&fault, weave)) {
                Ok(found) => found,
                Err(why) => faults::Found::failed(&fault, why),
            },
            faults::line,
        )?;
        show(&faults::foot(&found))?;
        return keep(&out.join("ways-faults.json"), &found);
    }
    if arguments.lossy {
        let found = alone(|| lossy::measure(weave)).map_err(anyhow::Error::msg)?;
        show(&lossy::table(&found))?;
        return keep(&out.join("ways-lossy.json"), &found);
    }
    let rows = rows::all().into_iter().filter(|row| wanted(&row.name));
    let found = each(
        rows,
        &table::head(),
        |row| {
            alone(|| measure::measure(&row, weave, arguments.seconds)).unwrap_or_else(|why| Found {
                name: row.name.clone(),
                expected: row.expected.word(),
                way: "none",
                missed: vec![why],
                ..Found::default()
            })
        },
        table::line,
    )?;
    show(&table::foot(&found, arguments.seconds))?;
    keep(&out.join("ways.json"), &found)
}

/// Prints a table whose rows take a while each: every one as soon as it is there.
fn each<R, F>(
    rows: impl Iterator<Item = R>,
    head: &str,
    mut measure: impl FnMut(R) -> F,
    line: impl Fn(&F) -> String,
) -> Result<Vec<F>> {
    let mut found = Vec::new();
    for row in rows {
        if found.is_empty() {
            show(head)?;
        }
        found.push(measure(row));
        if let Some(last) = found.last() {
            show(&line(last))?;
        }
    }
    ensure!(!found.is_empty(), "no row has such a name");
    Ok(found)
}

/// Does something on a thread of its own, with which all that it started ends. Gives its panic as words.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| scope.spawn(work).join()).map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("failed");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn show(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).context("cannot write to standard output")
}

fn keep(path: &std::path::Path, found: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(found)?;
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("raw values: {}", path.display()));
    Ok(())
}

fn say(text: &str) {
    // Nobody to listen is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "ways: {text}");
}
