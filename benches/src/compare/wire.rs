//! Whether an underlay is what it is called: what tcpdump sees on the switch while a variant carries TCP.

use std::io::Read;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::hosts::{Hosts, Place};
use crate::load::{self, Load};
use crate::results::WireCheck;
use crate::variant::Variant;

/// The longest packet of a cable: 1500 bytes behind an Ethernet header.
const LONGEST: u32 = 1514;

/// How many packets are looked at.
const PACKETS: &str = "20000";

/// Looks at the sender's port of the switch while one TCP stream runs.
///
/// # Errors
/// tcpdump or iperf3 failed.
pub(crate) fn check(hosts: &Hosts, variant: &Variant, load: Load<'_>) -> Result<WireCheck> {
    let port = format!("port{}", variant.pair[1]);
    let words = ["tcpdump", "-i", &port, "-n", "-s", "64", "-B", "32768", "-c", PACKETS, "-w", "-"];
    // It ends after so many packets or so many seconds, whatever comes first.
    let mut tcpdump = hosts.start(&Place::host(0), Duration::from_secs_f64(1.8), &words)?;
    let mut stdout = tcpdump.stdout.take().context("tcpdump has no output")?;
    // Read at once: tcpdump would wait when the pipe is full.
    let reader = thread::spawn(move || {
        let mut recording = Vec::new();
        stdout.read_to_end(&mut recording).map(|_| recording)
    });
    thread::sleep(Duration::from_millis(500));
    let load = load::tcp(hosts, variant, Load { seconds: 1.0, ..load }, &[]);
    let recording = reader.join().ok().context("the reader of tcpdump's output ended")??;
    tcpdump.wait()?;
    load?;
    let lengths = lengths(&recording);
    Ok(WireCheck {
        variant: variant.name.clone(),
        packets: lengths.len(),
        long: lengths.iter().filter(|&&length| length > LONGEST).count(),
        longest: lengths.iter().copied().max().unwrap_or(0),
    })
}

/// The lengths packets had on the wire (draft-ietf-opsawg-pcap: a header of 24 bytes; for each packet a header of 16
/// with the stored length at 8 and the original one at 12, in the machine's own byte order).
fn lengths(recording: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let mut rest = recording.get(24..).unwrap_or_default();
    let mut lengths = Vec::new();
    while let (Some(stored), Some(original)) = (word(rest, 8), word(rest, 12)) {
        let Some(next) = rest.get(16 + stored as usize..) else { break };
        lengths.push(original);
        rest = next;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_on_the_wire_and_a_torn_end_is_left_out() {
        let mut recording = vec![0; 24];
        for (stored, original) in [(64_u32, 1514_u32), (60, 60), (64, 64458)] {
            recording.extend([0; 8]);
            recording.extend(stored.to_ne_bytes());
            recording.extend(original.to_ne_bytes());
            recording.extend(vec![7; stored as usize]);
        }
        assert_eq!(lengths(&recording), [1514, 60, 64458]);
        recording.pop();
        assert_eq!(lengths(&recording), [1514, 60]);
        assert_eq!(lengths(&[]), [0; 0]);
    }
}
