//! What one TCP stream gets from one network to another.

use std::time::Duration;

use serde_json::Value;
use testbed::Space;

/// Gb/s received by `server`, where the client knows it by `address`. Nothing where the stream got nowhere.
pub(crate) fn tcp(server: &Space, client: &Space, address: &str, seconds: u32) -> Option<f64> {
    run(server, client, address, seconds, &[])
}

/// The same, with a congestion control that the kernel has.
pub(crate) fn controlled(
    server: &Space,
    client: &Space,
    address: &str,
    seconds: u32,
    congestion: &str,
) -> Option<f64> {
    run(server, client, address, seconds, &["--congestion", congestion])
}

fn run(server: &Space, client: &Space, address: &str, seconds: u32, more: &[&str]) -> Option<f64> {
    let serving = server.start(&["iperf3", "--server", "--one-off", "--forceflush"]);
    serving.await_words("listening", Duration::from_secs(5));
    let time = seconds.to_string();
    let words = ["iperf3", "--client", address, "--connect-timeout", "3000", "--json", "--time", &time];
    let within = Duration::from_secs(u64::from(seconds) + 7);
    received(&client.run_within(within, &[&words, more].concat()).stdout)
}

/// Gb/s in a report of iperf3.
fn received(report: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(report).ok()?;
    report["end"]["sum_received"]["bits_per_second"].as_f64().map(|bits| bits / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_read_and_a_stream_that_failed_has_none() {
        let gbps = received(r#"{"end": {"sum_received": {"bits_per_second": 8e9}}}"#).unwrap();
        assert!((gbps - 8.0).abs() < 1e-9);
        assert_eq!(received(r#"{"end": {}, "error": "unable to connect"}"#), None);
        assert_eq!(received(""), None);
    }
}
