//! What iperf3 reports (`--json`, seen with 3.12), and what ping prints.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A TCP run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tcp {
    /// Received, both directions together.
    pub gbps: f64,
    /// Received, both directions together.
    pub gigabytes: f64,
}

/// A UDP run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Udp {
    /// Sent, in thousands of packets a second.
    pub offered_kpps: f64,
    /// What the receiving program got, likewise.
    pub received_kpps: f64,
    /// The same, in packets.
    pub received: f64,
    /// Of what the sender has sent.
    pub loss_percent: f64,
}

/// Reads the report of a TCP run, of one direction or of both.
///
/// # Errors
/// It is no such report, or it tells of a failure.
pub fn tcp(report: &str) -> Result<Tcp> {
    let end = end(report)?;
    let mut total = Tcp { gbps: 0.0, gigabytes: 0.0 };
    for direction in ["sum_received", "sum_received_bidir_reverse"] {
        if direction == "sum_received" || end.get(direction).is_some() {
            total.gbps += number(&end, &[direction, "bits_per_second"])? / 1e9;
            total.gigabytes += number(&end, &[direction, "bytes"])? / 1e9;
        }
    }
    ensure!(total.gigabytes > 0.0, "iperf3 received nothing");
    Ok(total)
}

/// Reads the report of a UDP run.
///
/// # Errors
/// It is no such report, it tells of a failure, or the receiver's part is missing, as when the network was too full for
/// it: iperf3 then claims that nothing was lost.
pub fn udp(report: &str) -> Result<Udp> {
    let end = end(report)?;
    let there = number(&end, &["cpu_utilization_percent", "remote_total"])? > 0.0;
    ensure!(there, "the receiver's part is missing in the report of iperf3");
    let sent = number(&end, &["sum_sent", "packets"])?;
    let received =
        number(&end, &["sum_received", "packets"])? - number(&end, &["sum_received", "lost_packets"])?;
    ensure!(sent > 0.0 && received > 0.0, "iperf3 has sent {sent} packets and received {received}");
    // Over the sender's time: the receiver's goes on for as long as the control connection takes.
    let seconds = number(&end, &["sum_sent", "seconds"])?;
    Ok(Udp {
        offered_kpps: sent / seconds / 1e3,
        received_kpps: received / seconds / 1e3,
        received,
        loss_percent: ((1.0 - received / sent) * 100.0).max(0.0),
    })
}

fn end(report: &str) -> Result<Value> {
    let mut report: Value = serde_json::from_str(report).context("what iperf3 wrote is no report")?;
    if let Some(error) = report.get("error").and_then(Value::as_str) {
        bail!("iperf3: {error}");
    }
    Ok(report["end"].take())
}

fn number(value: &Value, path: &[&str]) -> Result<f64> {
    let found = path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_f64);
    found.with_context(|| format!("the report of iperf3 has no number {}", path.join(".")))
}

/// Reads the round trips, in us, that ping(8) printed.
///
/// # Errors
/// Fewer than nine of ten of the `sent` requests were answered.
pub fn round_trips(printed: &str, sent: usize) -> Result<Vec<f64>> {
    let times: Vec<f64> = printed
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("time=")?.parse().ok())
        .map(|milliseconds: f64| milliseconds * 1e3)
        .collect();
    ensure!(times.len() * 10 >= sent * 9, "only {} of {sent} echo requests were answered", times.len());
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_tcp_report_tells_what_was_received() {
        let report = r#"{"end": {"sum_sent": {"bytes": 2000, "bits_per_second": 9e9},
            "sum_received": {"bytes": 1000000000, "bits_per_second": 8e9}}}"#;
        assert_eq!(tcp(report).unwrap(), Tcp { gbps: 8.0, gigabytes: 1.0 });
    }

    #[test]
    fn both_directions_add_up() {
        let report = r#"{"end": {"sum_received": {"bytes": 1000000000, "bits_per_second": 8e9},
            "sum_received_bidir_reverse": {"bytes": 500000000, "bits_per_second": 4e9}}}"#;
        assert_eq!(tcp(report).unwrap(), Tcp { gbps: 12.0, gigabytes: 1.5 });
    }

    const UDP: &str = r#"{"end": {"sum_sent": {"packets": 57800, "seconds": 2.0},
        "sum_received": {"packets": 57800, "lost_packets": 11560, "seconds": 2.2},
        "cpu_utilization_percent": {"remote_total": REMOTE}}}"#;

    #[test]
    fn a_udp_report_tells_what_arrived_of_what_was_sent() {
        let run = udp(&UDP.replace("REMOTE", "20.5")).unwrap();
        assert!(
            near(run.offered_kpps, 28.9) && near(run.received_kpps, 23.12) && near(run.received, 46240.0)
        );
        assert!(near(run.loss_percent, 20.0));
    }

    #[test]
    fn a_udp_report_without_the_receivers_part_is_refused() {
        let error = udp(&UDP.replace("REMOTE", "0")).unwrap_err();
        assert!(error.to_string().contains("receiver's part is missing"), "{error}");
    }

    #[test]
    fn failures_are_told() {
        let error = tcp(r#"{"end": {}, "error": "unable to connect to server"}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect to server");
        assert!(tcp("").unwrap_err().to_string().contains("no report"));
        assert!(tcp(r#"{"end": {}}"#).unwrap_err().to_string().contains("sum_received.bits_per_second"));
        let nothing = r#"{"end": {"sum_received": {"bytes": 0, "bits_per_second": 0}}}"#;
        assert!(tcp(nothing).unwrap_err().to_string().contains("nothing"));
    }

    #[test]
    fn round_trips_are_read_in_microseconds() {
        let printed = "64 bytes from 10.9.0.1: icmp_seq=1 ttl=64 time=0.586 ms\n\
                       64 bytes from 10.9.0.1: icmp_seq=2 ttl=64 time=0.207 ms\n\n\
                       2 packets transmitted, 2 received, 0% packet loss, time 21ms";
        let times = round_trips(printed, 2).unwrap();
        assert!(times.len() == 2 && near(times[0], 586.0) && near(times[1], 207.0), "{times:?}");
        let error = round_trips(printed, 20).unwrap_err();
        assert_eq!(error.to_string(), "only 2 of 20 echo requests were answered");
    }
}
