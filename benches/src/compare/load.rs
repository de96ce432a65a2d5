//! One run of one measurement through one variant.

use std::fs;
use std::io::Read;
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use benches::iperf;
use benches::stats::{median, percentile};

use crate::cost::Machine;
use crate::hosts::Hosts;
use crate::results::Metric;
use crate::variant::Variant;

/// What is measured, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    PingIdle,
    Tcp1,
    Udp1200,
    Tcp4,
    TcpBoth,
    Udp64,
    Paced,
    PingLoad,
}

impl Measure {
    pub(crate) const ALL: [Self; 8] = [
        Self::PingIdle,
        Self::Tcp1,
        Self::Udp1200,
        Self::Tcp4,
        Self::TcpBoth,
        Self::Udp64,
        Self::Paced,
        Self::PingLoad,
    ];

    /// Rivals have less time than the variants which goals speak of.
    pub(crate) fn for_rivals(self) -> bool {
        matches!(self, Self::PingIdle | Self::Tcp1 | Self::Udp1200)
    }
}

/// How iperf3 loads a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    /// Of one run.
    pub(crate) seconds: f64,
    /// Congestion control of the TCP that is measured; None for the machine's. That of a daemon's own TCP stays.
    pub(crate) congestion: Option<&'a str>,
}

/// What a run found.
pub(crate) type Found = Vec<(Metric, f64)>;

/// The paced run: 100 kpps. With iperf3's own interval of 1 ms each wake-up of the sender sends 100 packets at once.
const PACED: [&str; 6] = ["--bitrate", "960M", "--length", "1200", "--pacing-timer", "200"];

/// What the sockets of the paced run may hold, in bytes: the default, some 90 packets, loses up to 3 % by itself when
/// the receiver has to wait for a processor, and that would be told of every network alike. No more than this machine
/// allows: iperf3 gives up otherwise.
fn paced_buffer() -> u32 {
    let limit = |name: &str| -> Option<u32> {
        fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok()
    };
    let limits = ["rmem_max", "wmem_max"].into_iter().filter_map(limit);
    limits.min().unwrap_or(212_992).min(4 << 20)
}

/// How many echo requests there are, and how far apart.
const PINGS: usize = 100;

/// Longer than any run; one that takes it has failed.
const RUN_PATIENCE: Duration = Duration::from_secs(12);

/// Makes one run.
///
/// # Errors
/// Why there is no value. The receiving iperf3 may have to be started again.
pub(crate) fn run(hosts: &Hosts, variant: &Variant, measure: Measure, load: Load<'_>) -> Result<Found> {
    match measure {
        Measure::Tcp1 => tcp_with_cost(hosts, variant, load),
        Measure::Tcp4 => Ok(vec![(Metric::Tcp4Gbps, tcp(hosts, variant, load, &["--parallel", "4"])?)]),
        Measure::TcpBoth => Ok(vec![(Metric::TcpBothGbps, tcp(hosts, variant, load, &["--bidir"])?)]),
        Measure::Udp1200 => {
            let before = variant.daemons.seconds()?;
            let run = udp(hosts, variant, load, &["--bitrate", "0", "--length", "1200"])?;
            let used = variant.daemons.seconds()? - before;
            let mut found = vec![(Metric::Udp1200Kpps, run.received_kpps)];
            if !variant.daemons.is_empty() {
                found.push((Metric::DaemonsUsPerPacket, used * 1e6 / run.received));
            }
            Ok(found)
        }
        Measure::Udp64 => {
            let run = udp(hosts, variant, load, &["--bitrate", "0", "--length", "64"])?;
            Ok(vec![(Metric::Udp64Kpps, run.received_kpps)])
        }
        Measure::Paced => {
            let window = paced_buffer().to_string();
            let run = udp(hosts, variant, load, &[&PACED[..], &["--window", &window]].concat())?;
            let offered = (Metric::PacedOfferedKpps, run.offered_kpps);
            Ok(vec![(Metric::PacedLossPercent, run.loss_percent), offered])
        }
        Measure::PingIdle => {
            let times = ping(hosts, variant, "0.005")?;
            pings(&times, Metric::PingMedianUs, Metric::PingP99Us)
        }
        Measure::PingLoad => ping_under_load(hosts, variant, load),
    }
}

/// TCP with one stream, in Gb/s received.
pub(crate) fn tcp(hosts: &Hosts, variant: &Variant, load: Load<'_>, options: &[&str]) -> Result<f64> {
    Ok(iperf::tcp(&client(hosts, variant, load, options)?)?.gbps)
}

fn udp(hosts: &Hosts, variant: &Variant, load: Load<'_>, options: &[&str]) -> Result<iperf::Udp> {
    let load = Load { congestion: None, ..load };
    iperf::udp(&client(hosts, variant, load, &[&["--udp"], options].concat())?)
}

fn tcp_with_cost(hosts: &Hosts, variant: &Variant, load: Load<'_>) -> Result<Found> {
    let (daemons, machine) = (variant.daemons.seconds()?, Machine::now()?);
    let run = iperf::tcp(&client(hosts, variant, load, &[])?)?;
    let used = variant.daemons.seconds()? - daemons;
    let busy = Machine::now()?.busy - machine.busy;
    let mut found = vec![(Metric::Tcp1Gbps, run.gbps), (Metric::MachineSecondsPerGb, busy / run.gigabytes)];
    if !variant.daemons.is_empty() {
        found.push((Metric::DaemonsSecondsPerGb, used / run.gigabytes));
    }
    Ok(found)
}

fn ping_under_load(hosts: &Hosts, variant: &Variant, load: Load<'_>) -> Result<Found> {
    let words = client_words(variant, Load { seconds: 1.6, ..load }, &[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = hosts.start(&variant.client, RUN_PATIENCE, &words)?;
    thread::sleep(Duration::from_millis(300));
    let times = ping(hosts, variant, "0.01");
    let report = read_to_end(&mut running)?;
    // Without load these were no times under load.
    iperf::tcp(&report).context("the load beside the echo requests")?;
    pings(&times?, Metric::PingLoadMedianUs, Metric::PingLoadP99Us)
}

fn ping(hosts: &Hosts, variant: &Variant, interval: &str) -> Result<Vec<f64>> {
    let count = PINGS.to_string();
    let words = ["ping", "-n", "-i", interval, "-c", &count, "-W", "1", &variant.address];
    let printed = hosts.run(&variant.client, RUN_PATIENCE, &words)?;
    iperf::round_trips(&printed, PINGS)
}

fn pings(times: &[f64], of_median: Metric, of_p99: Metric) -> Result<Found> {
    let median = median(times).context("no echo request was answered")?;
    let p99 = percentile(times, 99).context("no echo request was answered")?;
    Ok(vec![(of_median, median), (of_p99, p99)])
}

/// The report of iperf3, also when it ended with an error: the report tells which.
fn client(hosts: &Hosts, variant: &Variant, load: Load<'_>, options: &[&str]) -> Result<String> {
    let words = client_words(variant, load, options);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    read_to_end(&mut hosts.start(&variant.client, RUN_PATIENCE, &words)?)
}

fn client_words(variant: &Variant, load: Load<'_>, options: &[&str]) -> Vec<String> {
    let time = load.seconds.to_string();
    let mut words =
        vec!["iperf3", "--client", &variant.address, "--connect-timeout", "3000", "--json", "--time", &time];
    words.extend(options);
    words.extend(load.congestion.iter().flat_map(|name| ["--congestion", name]));
    words.into_iter().map(str::to_owned).collect()
}

/// Waits for a command and gives its output.
pub(crate) fn read_to_end(child: &mut Child) -> Result<String> {
    let mut output = String::new();
    let mut stdout = child.stdout.take().context("its output was not asked for")?;
    stdout.read_to_string(&mut output).context("cannot read its output")?;
    let status = child.wait()?;
    ensure!(status.success() || !output.is_empty(), "it wrote nothing and ended with {status}");
    Ok(output)
}
