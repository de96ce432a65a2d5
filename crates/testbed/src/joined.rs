//! Hosts that are one network already, with a container each: where many tests begin.

use std::thread;

use crate::{Host, Lab};

impl Lab {
    /// Launches the router of every host, has all but the first connect to it, and starts a container `web` with a web
    /// server on each: at 10.9.0.K and fd09::K, see [`Host::overlay`] and [`Host::overlay6`]. Returns when frames go by
    /// `transport`, and host 1 and all others reach each other over both families.
    #[track_caller]
    pub fn joined_over(self, transport: &str) -> Self {
        let target = self.host(1).address();
        self.joined_at(&target, transport)
    }

    /// As [`joined_over`](Self::joined_over), with all that routers say to host 1 in IPv6.
    #[track_caller]
    pub fn joined_over_ipv6(self, transport: &str) -> Self {
        let target = format!("[{}]", self.host(1).address6());
        self.joined_at(&target, transport)
    }

    #[track_caller]
    fn joined_at(self, target: &str, transport: &str) -> Self {
        thread::scope(|scope| {
            for host in self.hosts() {
                scope.spawn(|| {
                    let target: &[&str] = if host.number() == 1 { &[] } else { &[target] };
                    host.launch(&[&["--transport", transport], target].concat());
                    let (address, address6) = (host.overlay() + "/24", host.overlay6() + "/64");
                    host.weave(&["run", &address, &address6, "--name", "web", "web:lab"]).ok();
                });
            }
        });
        for host in &self.hosts()[1..] {
            host.await_peers(self.hosts().len(), transport);
            host.await_ping("web", &self.host(1).overlay());
            // Also the other way: an IPv6 address works some time later than it is there (RFC 4862 section 5.4).
            host.await_ping("web", &self.host(1).overlay6());
            self.host(1).await_ping("web", &host.overlay6());
        }
        self
    }
}

impl Host {
    /// The address of the container `web` of a lab that was [joined](Lab::joined_over).
    pub fn overlay(&self) -> String {
        format!("10.9.0.{}", self.number())
    }

    /// Its IPv6 address.
    pub fn overlay6(&self) -> String {
        format!("fd09::{}", self.number())
    }
}
