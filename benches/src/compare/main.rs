//! Puts weave beside no overlay, the kernel's VXLAN and other overlay routers, all between hosts on this machine.
//!
//! One run prints one table for each underlay and one of the goals, and leaves `bench.json` and `bench.svg`. Everything
//! shares this machine's processors, so figures compare with each other and with nothing else.

mod batch;
mod cost;
mod drops;
mod goals;
mod group;
mod hosts;
mod load;
mod machine;
mod plot;
mod results;
mod rival;
mod table;
mod variant;
mod wire;

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, io};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::machine::Machine;
use crate::results::{Batch, Underlay};
use crate::variant::Plan;

/// Compares overlay networks between hosts on this machine
#[derive(Debug, Parser)]
#[command(name = "compare", version)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,

    /// How often each measurement is made [default: 6]
    #[arg(long)]
    runs: Option<usize>,

    /// Two runs if not said otherwise, no rivals, no loss, no groups: for work on the data path
    #[arg(long)]
    quick: bool,

    /// Only variants whose names contain one of these words, such as udp,tls,vxlan,tinc
    #[arg(long, value_delimiter = ',', value_name = "WORD")]
    only: Vec<String>,

    /// Only this underlay
    #[arg(long, value_enum)]
    underlay: Option<Underlay>,

    /// How long one run of iperf3 lasts
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,

    /// Congestion control of the TCP that is measured [default: this machine's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,

    /// Where bench.json and bench.svg go
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The program to measure [default: weave beside this program]
    #[arg(long, env = "WEAVE_BIN", value_name = "FILE")]
    weave: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Sends UDP packets for a while
    #[command(hide = true)]
    Blast { to: Ipv4Addr, seconds: f64 },
    /// Counts UDP packets
    #[command(hide = true)]
    Count { here: Ipv4Addr },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        Some(Part::Blast { to, seconds }) => group::blast(to, 1200, seconds),
        Some(Part::Count { here }) => group::count(here).and_then(|kpps| print(&kpps.to_string())),
        None => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    ready()?;
    let weave = weave(arguments.weave.as_deref())?;
    let out = arguments.out.clone().unwrap_or_else(|| target().join("bench"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;

    let (rivals, absent): (Vec<_>, Vec<_>) = rival::all().into_iter().partition(rival::Rival::installed);
    let absent: Vec<&str> = absent.iter().map(|rival| rival.plan.name.as_str()).collect();
    if !absent.is_empty() {
        say(&format!(
            "not installed, so not measured: {}; benches/rivals.sh installs what it can",
            absent.join(", ")
        ));
    }
    let names: Vec<(&str, &[&str])> =
        rivals.iter().map(|rival| (rival.plan.name.as_str(), rival.version)).collect();
    let machine = Machine::look(&weave, &names);
    let mut plans = variant::main_plans(&weave);
    plans.extend(rivals.into_iter().map(|rival| rival.plan));
    let plans: Vec<Plan> = plans.into_iter().filter(|plan| wanted(plan, arguments)).collect();
    ensure!(
        !plans.is_empty(),
        "no installed variant has one of these words in its name: {:?}",
        arguments.only
    );

    let settings = batch::Settings {
        runs: arguments.runs.unwrap_or(if arguments.quick { 2 } else { 6 }).max(1),
        load: load::Load { seconds: arguments.seconds, congestion: arguments.congestion.as_deref() },
        quick: arguments.quick,
        weave: &weave,
    };
    let congestion = arguments.congestion.as_ref().unwrap_or(&machine.congestion);
    print(&format!("{}, TCP {congestion}, {} runs\n", machine.line(), settings.runs))?;
    let mut batches: Vec<Batch> = Vec::new();
    for underlay in
        arguments.underlay.map_or_else(|| vec![Underlay::Offload, Underlay::Plain], |one| vec![one])
    {
        let batch = batch::measure(underlay, &plans, &settings)?;
        print(&table::underlay(&batch))?;
        batches.push(batch);
    }
    let goals = goals::judge(&batches);
    if !goals.is_empty() {
        print(&table::goals(&batches, &goals))?;
    }

    let seconds = start.elapsed().as_secs();
    let all = json!({
        "machine": machine,
        "congestion": arguments.congestion,
        "runs": settings.runs,
        "seconds_each": settings.load.seconds,
        "took_seconds": seconds,
        "underlays": batches,
        "goals": goals,
    });
    write(&out.join("bench.json"), &serde_json::to_string_pretty(&all)?)?;
    write(&out.join("bench.svg"), &plot::draw(&batches))?;
    say(&format!("took {} min {:02} s; raw values and plot: {}", seconds / 60, seconds % 60, out.display()));
    Ok(())
}

/// Says what is missing before anything is made.
fn ready() -> Result<()> {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    ensure!(root, "this needs root: hosts are namespaces of this machine");
    ensure!(Path::new("/dev/net/tun").exists(), "this needs /dev/net/tun: load the kernel's module tun");
    let needs =
        ["ip", "unshare", "nsenter", "ethtool", "iperf3", "tcpdump", "ping", "nft", "timeout", "setsid"];
    let missing: Vec<&str> = needs.into_iter().filter(|program| !hosts::installed(program)).collect();
    ensure!(missing.is_empty(), "{} missing: lab/prepare.sh installs what is needed", missing.join(", "));
    Ok(())
}

fn weave(given: Option<&Path>) -> Result<PathBuf> {
    let beside = || Ok::<_, io::Error>(env::current_exe()?.with_file_name("weave"));
    let path = given.map_or_else(beside, |path| Ok(path.to_owned()))?;
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(e) => bail!("{}: {e}: `make build` builds it, WEAVE_BIN names another", path.display()),
    }
}

/// The folder that cargo builds into: this program is in it, one below.
fn target() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

fn wanted(plan: &Plan, arguments: &Arguments) -> bool {
    if arguments.only.is_empty() {
        return !arguments.quick || plan.main();
    }
    let name = plan.name.to_lowercase();
    arguments.only.iter().any(|word| name.contains(&word.to_lowercase()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// To standard output: the tables.
fn print(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}

/// To standard error: how it goes on.
fn say(text: &str) {
    // Nobody to listen is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "compare: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let arguments = Arguments::parse_from([&["compare"], words].concat());
        let mut plans = variant::main_plans(Path::new("/weave"));
        plans.extend(rival::all().into_iter().map(|rival| rival.plan));
        plans.into_iter().filter(|plan| wanted(plan, &arguments)).map(|plan| plan.name).collect()
    }

    #[test]
    fn quick_leaves_rivals_out_and_only_asks_for_what_it_names() {
        assert_eq!(names(&[]).len(), 4 + rival::all().len());
        assert_eq!(names(&["--quick"]), ["no overlay", "kernel VXLAN", "weave udp", "weave tls"]);
        assert_eq!(names(&["--only", "UDP,tls"]), ["weave udp", "weave tls"]);
        assert_eq!(names(&["--quick", "--only", "vxlan,vpncloud"]), ["kernel VXLAN", "vpncloud"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_how_to_build() {
        let error = weave(Some(Path::new("/nowhere/weave"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/weave") && error.contains("make build"), "{error}");
    }
}
