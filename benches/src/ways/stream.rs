//! What one TCP stream gets from one network to another.

use std::time::Duration;

use benches::iperf;
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
    let report = client.run_within(within, &[&words, more].concat()).stdout;
    Some(iperf::tcp(&report).ok()?.gbps)
}
