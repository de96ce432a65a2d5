//! What crosses a wire.

use std::thread;
use std::time::Duration;

use crate::{Host, Running, eventually};

/// A recording in progress.
pub struct Capture<'a> {
    tcpdump: Running<'a>,
}

impl<'a> Capture<'a> {
    pub(crate) fn start(host: &'a Host, interface: &str, filter: &str) -> Self {
        // To standard output, packet by packet: a file could be out of the reach of a confined tcpdump.
        let mut command =
            vec!["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-w", "-", "-B", "32768"];
        command.extend(filter.split_whitespace());
        let tcpdump = host.spawn(&command);
        eventually("tcpdump listens", Duration::from_secs(10), || {
            let said = tcpdump.stderr();
            if said.contains("listening on") { Ok(()) } else { Err(said) }
        });
        Self { tcpdump }
    }

    /// Ends the recording and gives the packets, from the Ethernet header on.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        thread::sleep(SETTLE);
        self.tcpdump.signal("INT");
        self.tcpdump.wait(Duration::from_secs(10));
        let file = std::fs::read(self.tcpdump.path("stdout")).unwrap_or_else(|e| panic!("recording: {e}"));
        packets(&file)
    }
}

/// What the kernel has still queued for tcpdump when it is told to end would be lost.
const SETTLE: Duration = Duration::from_millis(300);

/// Takes a recording apart (draft-ietf-opsawg-pcap: a header of 24 bytes, then for each packet a header of 16 with
/// its length at 8, in the machine's own byte order).
fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut packets = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(16) {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some((packet, next)) = body.split_at_checked(length) else { break };
        packets.push(packet.to_vec());
        rest = next;
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_comes_apart_into_its_packets_and_a_torn_end_is_left_out() {
        let mut file = vec![0; 24];
        for packet in [&b"one"[..], b"three"] {
            file.extend([0; 8]);
            file.extend((packet.len() as u32).to_ne_bytes());
            file.extend([0; 4]);
            file.extend(packet);
        }
        file.extend([0; 7]);
        assert_eq!(packets(&file), [b"one".to_vec(), b"three".to_vec()]);
    }
}
