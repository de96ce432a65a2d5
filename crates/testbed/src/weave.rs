//! What tests of `weave` do on a host again and again.

use std::time::Duration;

use serde_json::Value;

use crate::{Host, eventually};

/// How long trouble may take to show. Two hosts with one identity are not told from a restart at once.
const TROUBLE: Duration = Duration::from_secs(45);

/// How long peers may take to find each other and to settle on a path: a dial that comes too early is repeated after
/// some seconds.
const JOINING: Duration = Duration::from_secs(20);

impl Host {
    /// Launches the router; gives the peer name.
    #[track_caller]
    pub fn launch(&self, args: &[&str]) -> String {
        self.weave(&[&["launch"], args].concat()).ok()
    }

    /// Ends the router as the kernel's out-of-memory killer would.
    #[track_caller]
    pub fn kill_router(&self) {
        self.sh("pid=$(cat /run/weave/weave.pid); kill -KILL $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done")
            .ok();
    }

    /// Starts a container that does nothing, with an address on the network; gives its id.
    #[track_caller]
    pub fn run_shell(&self, name: &str, address: &str) -> String {
        self.weave(&["run", address, "-ti", "--name", name, "busybox:lab", "/bin/sh"]).ok()
    }

    /// Starts a container with a web server, with an address on the network; gives its id.
    #[track_caller]
    pub fn run_web(&self, name: &str, address: &str) -> String {
        self.weave(&["run", address, "--name", name, "web:lab"]).ok()
    }

    /// What the router tells about itself.
    #[track_caller]
    pub fn report(&self) -> Value {
        let text = self.weave(&["report"]).ok();
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("`weave report` on {self} is no JSON: {e}: {text}"))
    }

    /// Waits until this router knows `n` peers, itself included, and carries frames to every other one by `transport`.
    #[track_caller]
    pub fn await_peers(&self, n: usize, transport: &str) {
        eventually(&format!("{self} has {n} peers over {transport}"), JOINING, || {
            let router = &self.report()["Router"];
            let peers = list(&router["Peers"]).count();
            let carrying = list(&router["Connections"])
                .filter(|one| one["State"] == "established" && one["Transport"] == transport)
                .count();
            if peers == n && carrying == n - 1 {
                Ok(())
            } else {
                Err(format!("it has {peers}; connections: {:#}", router["Connections"]))
            }
        });
    }

    /// Waits until a container reaches an address.
    #[track_caller]
    pub fn await_ping(&self, container: &str, to: &str) {
        eventually(&format!("{container} on {self} reaches {to}"), JOINING, || {
            let ping = self.inside(container, &["ping", "-c", "1", "-W", "1", to]);
            if ping.code == 0 { Ok(()) } else { Err(ping.to_string()) }
        });
    }

    /// Waits until the router tells an operator about trouble in words that contain one of `words`: as the error of a
    /// connection or a target, or as a warning.
    #[track_caller]
    pub fn await_trouble(&self, words: &str) {
        eventually(&format!("{self} tells about \"{words}\""), TROUBLE, || {
            let router = &self.report()["Router"];
            let errors = list(&router["Connections"]).map(|one| &one["Error"]);
            let last_errors = list(&router["Targets"]).map(|one| &one["LastError"]);
            let told: Vec<_> = errors
                .chain(last_errors)
                .chain(list(&router["Warnings"]))
                .filter_map(Value::as_str)
                .map(str::to_lowercase)
                .collect();
            if told.iter().any(|text| text.contains(words)) {
                Ok(())
            } else {
                Err(format!("it tells {told:?}"))
            }
        });
    }
}

/// The elements of a list; none if it is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
