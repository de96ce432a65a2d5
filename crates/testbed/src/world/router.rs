//! A router of weave on a host of a world.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::weave::list;
use crate::{Output, Process, Space, ask};

/// A running router. Killed on drop; what it made on its host goes with the host.
pub struct Router {
    program: String,
    folder: PathBuf,
    process: Process,
    name: String,
}

/// What carries frames to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Nothing yet.
    None,
    /// A third peer.
    Relay,
    /// The link to it.
    Tls,
    /// Records sent to it straight.
    Udp,
}

impl Way {
    /// As reports spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relay => "relay",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }
}

impl Router {
    /// Starts one in the network of `host`; [`ready`](Self::ready) waits until it serves.
    pub(super) fn start(program: &str, host: &Space, folder: PathBuf, arguments: &[&str]) -> Self {
        let (run, state) = (folder.join("run"), folder.join("state"));
        let (run, state) =
            (format!("--run-dir={}", run.display()), format!("--state-dir={}", state.display()));
        let words = [program, "launch", "--foreground", &run, &state, "--status-addr="];
        let process = host.start(&[&words, arguments].concat());
        Self { program: program.into(), folder, process, name: String::new() }
    }

    /// Waits until it serves.
    #[track_caller]
    pub(super) fn ready(&mut self) {
        let start = std::time::Instant::now();
        while !self.process.stdout().ends_with('\n') {
            let well = self.process.is_running() && start.elapsed() < Duration::from_secs(20);
            assert!(well, "the router does not serve: {}", self.process.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.name = self.process.stdout().trim().into();
    }

    /// Its peer name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a verb on its host.
    pub fn weave(&self, host: &Space, arguments: &[&str]) -> Output {
        let run = format!("--run-dir={}", self.folder.join("run").display());
        host.run(&[&[self.program.as_str(), &run], arguments].concat())
    }

    /// Its report.
    ///
    /// # Errors
    /// It does not answer.
    pub fn report(&self) -> Result<Value, String> {
        ask::report_of(&self.folder.join("run/weave.sock"))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// What carries frames to a peer, and why.
    pub fn way_to(&self, peer: &str) -> (Way, String) {
        self.report().map_or((Way::None, String::new()), |report| way_in(&report, peer))
    }
}

fn way_in(report: &Value, peer: &str) -> (Way, String) {
    let router = &report["Router"];
    let to_it = |one: &&Value| one["Peer"]["Name"] == peer && one["Transport"].is_string();
    let standing = list(&router["Connections"]).filter(|one| one["State"] == "established").find(to_it);
    let Some(found) = standing.or_else(|| list(&router["Routes"]).find(to_it)) else {
        return (Way::None, String::new());
    };
    let way = match found["Transport"].as_str() {
        Some("udp") => Way::Udp,
        Some("tls") => Way::Tls,
        Some("relay") => Way::Relay,
        _ => Way::None,
    };
    (way, found["Reason"].as_str().unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connection_is_the_way_before_a_route_and_only_when_it_carries() {
        let connection = |state: &str, transport: Value| json!({ "State": state, "Peer": { "Name": "b" }, "Transport": transport, "Reason": "c" });
        let route = json!({ "Peer": { "Name": "b" }, "Transport": "relay", "Reason": "r" });
        let report = |connections: Vec<Value>, routes: Vec<Value>| json!({ "Router": { "Connections": connections, "Routes": routes } });
        let way = |connections, routes| way_in(&report(connections, routes), "b");
        assert_eq!(way(vec![connection("established", json!("tls"))], vec![]), (Way::Tls, "c".into()));
        assert_eq!(
            way(vec![connection("pending", Value::Null)], vec![route.clone()]),
            (Way::Relay, "r".into())
        );
        assert_eq!(way(vec![], vec![json!({ "Peer": { "Name": "b" } })]), (Way::None, String::new()));
        assert_eq!(way_in(&report(vec![], vec![route]), "c").0, Way::None);
    }
}
