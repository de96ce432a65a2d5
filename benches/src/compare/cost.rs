//! Processor time and memory, as the kernel accounts for them (proc(5)).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::hosts::{Hosts, PATIENCE, Place};

/// Times in /proc are in hundredths of a second on every machine (USER_HZ).
const TICKS: f64 = 100.0;

/// The processes that are the overlay, at both ends; by the numbers of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Daemons {
    processes: Vec<u32>,
}

impl Daemons {
    /// Finds the one process called `name` of each of these hosts; none at all when there is no name.
    ///
    /// # Errors
    /// A host has no such process, or several.
    pub(crate) fn find(hosts: &Hosts, pair: [usize; 2], name: Option<&str>) -> Result<Self> {
        let mut processes = Vec::new();
        for k in pair {
            let Some(name) = name else { break };
            let namespace = hosts.run(&Place::host(k), PATIENCE, &["readlink", "/proc/self/ns/pid"])?;
            let found = called(name, namespace.trim());
            ensure!(found.len() == 1, "host {k} has {} processes called {name}, not one", found.len());
            processes.extend(found);
        }
        Ok(Self { processes })
    }

    /// Whether there are none: nothing but the kernel carries the packets.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// User and system time so far, all threads of all of them, in seconds.
    pub(crate) fn seconds(&self) -> Result<f64> {
        self.processes.iter().map(|&process| process_seconds(process)).sum()
    }

    /// Ends them: one that disturbs others.
    pub(crate) fn kill(&self) {
        for process in &self.processes {
            // One that is gone already disturbs nobody.
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
        }
    }

    /// Resident memory of the largest, in MiB; None when there is no process.
    pub(crate) fn resident_mib(&self) -> Result<Option<f64>> {
        let each: Vec<f64> =
            self.processes.iter().map(|&process| resident(process)).collect::<Result<_>>()?;
        Ok(each.into_iter().reduce(f64::max))
    }
}

fn called(name: &str, namespace: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|process: &u32| {
            let folder = Path::new("/proc").join(process.to_string());
            let here = fs::read_link(folder.join("ns/pid")).is_ok_and(|link| link == Path::new(namespace));
            here && fs::read(folder.join("cmdline")).is_ok_and(|words| program(&words) == name)
        })
        .collect()
}

/// The program's name as it was called. What the kernel shows otherwise is that of the file, such as `exe`.
fn program(words: &[u8]) -> String {
    let called = words.split(|&byte| byte == 0).next().unwrap_or_default();
    let called = String::from_utf8_lossy(called);
    called.rsplit('/').next().unwrap_or_default().to_owned()
}

fn process_seconds(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path}: the daemon has ended"))?;
    seconds_in_stat(&stat).with_context(|| format!("{path}: no times in {stat:?}"))
}

/// utime and stime, which count also threads that have ended. The name, in parentheses, may hold anything.
fn seconds_in_stat(stat: &str) -> Option<f64> {
    let mut after_name = stat.rsplit_once(") ")?.1.split_whitespace().skip(11);
    let user: f64 = after_name.next()?.parse().ok()?;
    let system: f64 = after_name.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn resident(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path}: the daemon has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<f64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? / 1024.0)
}

/// What all processors of the machine did since it started, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    /// For processes and interrupts.
    pub(crate) busy: f64,
    /// Wanted, but the hypervisor ran something else.
    pub(crate) stolen: f64,
    /// All of it.
    pub(crate) all: f64,
}

impl Machine {
    pub(crate) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Self::parse(&stat).with_context(|| format!("/proc/stat: no times in {:?}", stat.lines().next()))
    }

    /// The line `cpu`: user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Option<Vec<f64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        let times = times?;
        let sum = |indices: &[usize]| -> Option<f64> {
            indices.iter().map(|&index| times.get(index).map(|ticks| ticks / TICKS)).sum()
        };
        Some(Self { busy: sum(&[0, 1, 2, 5, 6])?, stolen: sum(&[7])?, all: sum(&[0, 1, 2, 3, 4, 5, 6, 7])? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_times() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 150 9 9 20 0";
        assert_eq!(seconds_in_stat(stat), Some(4.0));
        assert_eq!(seconds_in_stat("42 (x) S 1"), None);
    }

    #[test]
    fn a_program_is_known_by_the_name_it_was_called_with() {
        assert_eq!(program(b"/usr/sbin/tincd\0-D\0"), "tincd");
        assert_eq!(program(b"weave\0launch\0"), "weave");
        assert_eq!(program(b""), "");
    }

    #[test]
    fn the_machines_idle_waiting_and_stolen_time_is_not_busy() {
        let machine = Machine::parse("cpu  100 200 300 4000 500 600 700 800 50 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(machine, Machine { busy: 19.0, stolen: 8.0, all: 72.0 });
        assert_eq!(Machine::parse("intr 1 2 3"), None);
    }

    #[test]
    fn this_very_process_has_used_time_and_memory() {
        let me = Daemons { processes: vec![std::process::id()] };
        let mut sum = 0_u64;
        while me.seconds().unwrap() == 0.0 {
            sum = std::hint::black_box((0..1_000_000).sum::<u64>() ^ sum);
        }
        assert!(me.resident_mib().unwrap().unwrap() > 1.0);
    }

    #[test]
    fn a_daemon_that_has_ended_is_an_error() {
        let gone = Daemons { processes: vec![u32::MAX] };
        assert!(gone.seconds().unwrap_err().to_string().contains("has ended"));
        assert!(Daemons { processes: vec![] }.resident_mib().unwrap().is_none());
    }
}
