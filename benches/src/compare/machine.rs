//! Where and with what the figures were made: nobody can judge them without.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use serde::Serialize;

use crate::hosts::search_path;

/// The machine and the programs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Of TCP where nothing else was asked for.
    pub(crate) congestion: String,
    /// Whether frames on a bridge also pass the rules for IP packets, which costs all variants with containers.
    pub(crate) bridge_calls_iptables: Option<bool>,
    /// Program and what it says about its version.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    /// Looks around. `rivals` are names and the commands that tell their versions.
    pub(crate) fn look(weave: &Path, rivals: &[(&str, &[&str])]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let weave = weave.display().to_string();
        let mut versions = BTreeMap::from([
            ("weave".to_owned(), version(&[&weave, "--version"])),
            ("source".to_owned(), source()),
            ("iperf3".to_owned(), version(&["iperf3", "--version"])),
        ]);
        versions.extend(rivals.iter().map(|(name, command)| ((*name).to_owned(), version(command))));
        Self {
            date: version(&["date", "-u", "+%Y-%m-%d %H:%M UTC"]),
            processor: value_of(&read("/proc/cpuinfo"), "model name"),
            processors: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: value_of(&read("/proc/meminfo"), "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            congestion: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().into(),
            bridge_calls_iptables: read("/proc/sys/net/bridge/bridge-nf-call-iptables")
                .trim()
                .parse::<u8>()
                .ok()
                .map(|on| on != 0),
            versions,
        }
    }

    /// One line above the tables.
    pub(crate) fn line(&self) -> String {
        let Self { processors, processor, kernel, date, .. } = self;
        format!("{processors} processors ({processor}), Linux {kernel}, {date}")
    }
}

/// The value of the first line `key : value`.
fn value_of(text: &str, key: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| name.trim() == key).map_or_else(String::new, |(_, value)| value.trim().into())
}

/// The first line that a command says, wherever it says it.
fn version(words: &[&str]) -> String {
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let Ok(output) = Command::new(program).args(arguments).env("PATH", search_path()).output() else {
        return "not installed".into();
    };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim().into()
}

/// The commit this was built from.
fn source() -> String {
    version(&["git", "-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "model\t\t: 17\nmodel name\t: A CPU: fast\nmodel name\t: second\n";
        assert_eq!(value_of(text, "model name"), "A CPU: fast");
        assert_eq!(value_of(text, "name"), "");
    }

    #[test]
    fn a_version_is_the_first_line_that_a_program_says() {
        assert_eq!(version(&["sh", "-c", "echo; echo v1 >&2"]), "v1");
        assert_eq!(version(&["no-program-is-called-so"]), "not installed");
    }
}
