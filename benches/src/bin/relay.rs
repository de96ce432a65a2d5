//! What it costs to have no link: one TCP stream between containers whose hosts have a link, beside one between
//! containers whose hosts only have links to a third host, all on this machine.
//!
//! Both networks are up all the time and measured in turns, so that a slow minute hits both.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use benches::iperf;
use benches::stats::median;
use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use testbed::{Lab, Running, Underlay, Wires, eventually};

/// Measures what a relay costs, between hosts on this machine
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
struct Arguments {
    /// How often each measurement is made
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// How frames travel
    #[arg(long, value_delimiter = ',', default_values = ["udp", "tls"], value_parser = ["udp", "tls"])]
    transport: Vec<String>,

    /// How long one run of iperf3 lasts
    #[arg(long, default_value_t = 2)]
    seconds: u32,

    /// Where relay.json goes
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The program to measure [default: weave beside this program]
    #[arg(long, env = "WEAVE_BIN", value_name = "FILE")]
    weave: Option<PathBuf>,
}

/// Hosts with a link between them, the one that serves first.
const DIRECT: [usize; 2] = [1, 2];
/// Hosts that both have a link to `RELAY` only.
const RELAYED: [usize; 2] = [3, 5];
const RELAY: usize = 4;
const WIRES: [(usize, usize); 3] = [(1, 2), (3, 4), (4, 5)];

/// How much of the direct throughput a relay has to leave, over UDP.
const GOAL: f64 = 0.45;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Err(reason) = Lab::available() {
        bail!("{reason}");
    }
    let program = env::current_exe().context("where this program is")?;
    let weave = arguments.weave.clone().unwrap_or_else(|| program.with_file_name("weave"));
    ensure!(weave.is_file(), "{}: no such file: `make build` builds it", weave.display());
    let weave = weave.to_str().context("the program's path is no text")?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        program.ancestors().nth(2).map_or_else(|| PathBuf::from("target"), PathBuf::from).join("bench")
    });
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;

    let mut rows = Vec::new();
    for transport in &arguments.transport {
        rows.push(measure(weave, transport, arguments)?);
    }
    write!(io::stdout(), "{}", table(&rows)).context("cannot write to standard output")?;
    let path = out.join("relay.json");
    let json = serde_json::to_string_pretty(&rows)?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("raw values: {}", path.display()));
    Ok(())
}

/// What was found over one transport, run by run.
#[derive(Debug, Serialize)]
struct Row {
    transport: String,
    direct_gbps: Vec<f64>,
    relayed_gbps: Vec<f64>,
    direct_ping_us: Vec<f64>,
    relayed_ping_us: Vec<f64>,
}

fn measure(weave: &str, transport: &str, arguments: &Arguments) -> Result<Row> {
    say(&format!("{transport}: making hosts"));
    let lab = Lab::up(5, Underlay::Offload).with_weave(weave);
    let wires = lab.wired(&WIRES);
    lab.launch_all(&["--transport", transport], |k| match k {
        2 => vec![1],
        3 | 5 => vec![RELAY],
        _ => vec![],
    });
    let _servers: Vec<_> = [DIRECT, RELAYED].iter().map(|pair| serve(&lab, *pair)).collect();
    let empty = Vec::new;
    let mut row = Row {
        transport: transport.into(),
        direct_gbps: empty(),
        relayed_gbps: empty(),
        direct_ping_us: empty(),
        relayed_ping_us: empty(),
    };
    for round in 1..=arguments.runs {
        say(&format!("{transport}: round {round} of {}", arguments.runs));
        row.direct_ping_us.push(ping(&lab, DIRECT)?);
        row.relayed_ping_us.push(ping(&lab, RELAYED)?);
        // Who comes first takes turns too.
        let mut pairs = [DIRECT, RELAYED];
        if round % 2 == 0 {
            pairs.reverse();
        }
        for pair in pairs {
            let gbps = tcp(&lab, &wires, pair, arguments.seconds)?;
            carried_by(&lab, pair, transport)?;
            if pair == DIRECT { &mut row.direct_gbps } else { &mut row.relayed_gbps }.push(gbps);
        }
    }
    Ok(row)
}

/// Puts a container on both hosts, waits until they reach each other, and has the first one serve.
fn serve(lab: &Lab, pair: [usize; 2]) -> Running<'_> {
    for host in pair.map(|k| lab.host(k)) {
        let script = format!(
            "set -e
            ip netns add box
            ip link add vbox type veth peer name eth0 netns box
            mtu=$(cat /sys/class/net/weave/mtu)
            ip link set vbox mtu $mtu master weave up
            ip -n box link set lo up
            ip -n box link set eth0 mtu $mtu up
            ip -n box addr add {}/24 dev eth0",
            host.overlay()
        );
        host.sh(&script).ok();
    }
    let [server, client] = pair.map(|k| lab.host(k));
    eventually("the containers reach each other", Duration::from_secs(30), || {
        let ping = client.exec(&in_box(&["ping", "-c", "1", "-W", "1", &server.overlay()]));
        if ping.code == 0 { Ok(()) } else { Err(ping.to_string()) }
    });
    let running = server.spawn(&in_box(&["iperf3", "--server", "--forceflush"]));
    eventually("iperf3 serves", Duration::from_secs(10), || {
        let said = running.stdout();
        if said.contains("listening") { Ok(()) } else { Err(said) }
    });
    running
}

/// One TCP stream from the second of two hosts to the first, in Gb/s received.
fn tcp(lab: &Lab, wires: &Wires<'_>, pair: [usize; 2], seconds: u32) -> Result<f64> {
    let [server, client] = pair.map(|k| lab.host(k));
    let [first, last] = if pair == DIRECT { [pair[1], pair[0]] } else { [RELAY, pair[0]] };
    let before = wires.crossed(first, last);
    let time = seconds.to_string();
    let address = server.overlay();
    let words = ["iperf3", "--client", &address, "--connect-timeout", "3000", "--json", "--time", &time];
    let report = client.exec(&in_box(&words));
    let run = iperf::tcp(&report.stdout).with_context(|| report.to_string())?;
    let (arrived, crossed) = (run.gigabytes, (wires.crossed(first, last) - before) as f64 / 1e9);
    ensure!(crossed > arrived, "{arrived} GB arrived, but only {crossed} crossed the wire to {server}");
    Ok(run.gbps)
}

/// The median round trip between two idle containers, in us.
fn ping(lab: &Lab, pair: [usize; 2]) -> Result<f64> {
    let [server, client] = pair.map(|k| lab.host(k));
    let words = ["ping", "-n", "-i", "0.005", "-c", "100", "-W", "1", &server.overlay()];
    let printed = client.exec(&in_box(&words)).stdout;
    median(&iperf::round_trips(&printed, 100)?).context("no echo request was answered")
}

/// What travelled some other way is no figure of this transport.
fn carried_by(lab: &Lab, pair: [usize; 2], transport: &str) -> Result<()> {
    for host in pair.map(|k| lab.host(k)) {
        let report = host.ask().map_err(anyhow::Error::msg)?;
        let connections = report["Router"]["Connections"].as_array().into_iter().flatten();
        let established = connections.filter(|one| one["State"] == "established");
        let by: Vec<&Value> = established.map(|one| &one["Transport"]).collect();
        ensure!(by == [transport], "{host} has connections over {by:?}, not one over {transport}");
    }
    Ok(())
}

fn in_box<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["ip", "netns", "exec", "box"], words].concat()
}

fn table(rows: &[Row]) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let runs = rows.first().map_or(0, |row| row.direct_gbps.len());
    let mut text = format!("{processors} processors, {runs} runs, medians\n\n");
    text += "                        direct   one relay   ratio\n";
    for row in rows {
        let transport = &row.transport;
        let ratio = ratio(&row.relayed_gbps, &row.direct_gbps);
        let goal = match (transport.as_str(), ratio >= GOAL) {
            ("udp", true) => format!("  goal {GOAL}: reached"),
            ("udp", false) => format!("  goal {GOAL}: missed"),
            _ => String::new(),
        };
        let [direct, relayed] = [&row.direct_gbps, &row.relayed_gbps].map(|values| middle(values));
        text += &format!("{transport}, one stream, Gb/s {direct:>8.2} {relayed:>11.2} {ratio:>7.2}{goal}\n");
        let [direct, relayed] = [&row.direct_ping_us, &row.relayed_ping_us].map(|values| middle(values));
        let ratio = relayed / direct;
        text += &format!("{transport}, round trip, us  {direct:>8.0} {relayed:>11.0} {ratio:>7.2}\n");
    }
    text
}

/// The median of what each round makes of the two.
fn ratio(relayed: &[f64], direct: &[f64]) -> f64 {
    middle(&relayed.iter().zip(direct).map(|(relayed, direct)| relayed / direct).collect::<Vec<_>>())
}

/// Not a number of an empty slice.
fn middle(values: &[f64]) -> f64 {
    median(values).unwrap_or(f64::NAN)
}

fn say(text: &str) {
    // Nobody to listen is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "relay: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(direct: &[f64], relayed: &[f64]) -> Row {
        Row {
            transport: "udp".into(),
            direct_gbps: direct.into(),
            relayed_gbps: relayed.into(),
            direct_ping_us: vec![200.0],
            relayed_ping_us: vec![300.0],
        }
    }

    #[test]
    fn each_round_is_compared_with_itself() {
        // A machine that halved its speed after the first round changes nothing.
        assert!((ratio(&[2.0, 1.0, 1.0], &[4.0, 2.0, 2.0]) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_table_tells_whether_the_goal_was_reached() {
        assert!(table(&[row(&[4.0], &[2.0])]).contains("0.50  goal 0.45: reached"));
        assert!(table(&[row(&[4.0], &[1.0])]).contains("0.25  goal 0.45: missed"));
    }
}
