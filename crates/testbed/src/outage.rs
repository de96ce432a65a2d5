//! How long nothing gets through.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Host, Running, eventually};

/// Between two echo requests.
const INTERVAL: Duration = Duration::from_millis(20);

/// Echo requests that a container sends every 20 ms.
pub struct Pings<'a> {
    ping: Running<'a>,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The longest time in which an answer was due and none came.
    pub longest: Duration,
    /// How many requests were sent.
    pub sent: usize,
    /// How many of them were never answered.
    pub lost: usize,
    /// How many answers came more than once.
    pub twice: usize,
}

impl Host {
    /// Has a container of this host send echo requests to an address until it is told to stop. Returns when the first
    /// answers have come.
    pub fn keep_pinging(&self, container: &str, to: &str) -> Pings<'_> {
        // Of the host and not of the image: that one tells when each answer came.
        let interval = INTERVAL.as_secs_f64().to_string();
        let words = self.within_network_of(container, &["ping", "-n", "-D", "-i", &interval, to]);
        let ping = self.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>());
        eventually("pings are answered", Duration::from_secs(10), || {
            let answers = answers(&ping.stdout());
            if answers.len() > 10 { Ok(()) } else { Err(ping.stdout()) }
        });
        Pings { ping }
    }

    /// Has a container keep the hardware address it knows for an IPv4 address. Without that its kernel forgets it while
    /// nothing gets through, and asks again only every second: that would be measured, and not how long nothing got through.
    pub fn keep_neighbour(&self, container: &str, address: &str) {
        let run = |words: &[&str]| {
            let words = self.within_network_of(container, words);
            self.exec(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok()
        };
        let known = run(&["ip", "neigh", "show", address, "dev", "ethwe"]);
        let mac = known.split_once("lladdr ").and_then(|(_, rest)| rest.split_whitespace().next());
        let mac = mac.unwrap_or_else(|| panic!("{container} on {self} does not know {address}: {known}"));
        run(&["ip", "neigh", "replace", address, "lladdr", mac, "dev", "ethwe", "nud", "permanent"]);
    }

    /// The command that runs `words` on this host, but in the network of a container.
    pub fn within_network_of(&self, container: &str, words: &[&str]) -> Vec<String> {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]).ok();
        let net = format!("--net=/proc/{pid}/ns/net");
        ["nsenter", &net].iter().chain(words).map(|word| (*word).to_owned()).collect()
    }
}

impl Pings<'_> {
    /// How long the last answer was ago.
    pub fn silent_for(&self) -> Duration {
        let last = answers(&self.ping.stdout()).last().map_or(0.0, |answer| answer.at);
        Duration::from_secs_f64((now() - last).max(0.0))
    }

    /// Ends them and tells what became of them. Those on their way are waited for.
    #[track_caller]
    pub fn stop(mut self) -> Outage {
        let end = now();
        self.ping.signal("INT");
        let printed = self.ping.wait(Duration::from_secs(10)).stdout;
        judge(&printed, end)
    }
}

/// An answer as ping(8) tells of it.
pub(crate) struct Answer {
    /// In seconds since 1970.
    pub(crate) at: f64,
    pub(crate) number: u64,
    /// In seconds.
    pub(crate) round_trip: f64,
}

pub(crate) fn answers(printed: &str) -> Vec<Answer> {
    let answer = |line: &str| {
        let (at, rest) = line.strip_prefix('[')?.split_once(']')?;
        let number = rest.split_once("icmp_seq=")?.1.split_whitespace().next()?;
        // Other lines with a number are those of trouble, which have no time of the round trip.
        let time: f64 = rest.split_once(" time=")?.1.split_whitespace().next()?.parse().ok()?;
        Some(Answer { at: at.parse().ok()?, number: number.parse().ok()?, round_trip: time / 1e3 })
    };
    printed.lines().filter_map(answer).collect()
}

fn judge(printed: &str, end: f64) -> Outage {
    let all = answers(printed);
    let mut numbers: Vec<_> = all.iter().map(|answer| answer.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut words = printed.rsplit_once(" packets transmitted").map_or("", |(before, _)| before).rsplit('\n');
    let sent = words.next().and_then(|count| count.trim().parse().ok());
    let sent: usize = sent.unwrap_or_else(|| panic!("no summary of ping in: {printed}"));
    let times: Vec<_> = all.iter().map(|answer| answer.at).chain([end]).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    Outage {
        longest: Duration::from_secs_f64(longest).saturating_sub(INTERVAL),
        sent,
        lost: sent - numbers.len(),
        twice: all.len() - numbers.len(),
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "PING 10.9.0.1 (10.9.0.1) 56(84) bytes of data.
[100.000000] 64 bytes from 10.9.0.1: icmp_seq=1 ttl=64 time=0.5 ms
[100.020000] 64 bytes from 10.9.0.1: icmp_seq=2 ttl=64 time=0.5 ms
[100.021000] 64 bytes from 10.9.0.1: icmp_seq=2 ttl=64 time=1.5 ms (DUP!)
[100.800000] From 10.9.0.3 icmp_seq=9 Destination Host Unreachable
[101.041000] 64 bytes from 10.9.0.1: icmp_seq=53 ttl=64 time=0.5 ms

--- 10.9.0.1 ping statistics ---
53 packets transmitted, 3 received, +1 duplicates, 94% packet loss, time 1040ms
";

    #[test]
    fn the_longest_silence_the_lost_and_the_doubled_are_found() {
        let outage = judge(PRINTED, 101.05);
        assert_eq!(outage, Outage { longest: Duration::from_millis(1000), sent: 53, lost: 50, twice: 1 });
    }

    #[test]
    fn a_silence_that_lasts_to_the_end_counts() {
        assert_eq!(judge(PRINTED, 104.061).longest, Duration::from_millis(3000));
    }
}
