//! What hosts of a large lab know of each other beforehand.

use std::fs;

use crate::{Host, Lab};

impl Lab {
    /// Tells every host the hardware addresses that all others have on `device`; `address` gives their IP addresses.
    ///
    /// The kernel learns no more than 1024 neighbours (gc_thresh3, arp(7)), and counts those of all hosts of all labs
    /// together: more than 30 hosts that all talk to each other would need more.
    pub fn introduce(&self, device: &str, address: impl Fn(&Host) -> String) {
        let known: Vec<_> =
            self.hosts().iter().map(|host| (address(host), hardware_address(host, device))).collect();
        for (at, host) in self.hosts().iter().enumerate() {
            let others = known.iter().enumerate().filter(|(other, _)| *other != at);
            let lines = others
                .map(|(_, (ip, mac))| format!("neigh replace {ip} lladdr {mac} dev {device} nud permanent"));
            let lines: Vec<_> = lines.collect();
            host.sh(&format!("ip -batch - <<EOF\n{}\nEOF", lines.join("\n"))).ok();
        }
    }
}

fn hardware_address(host: &Host, device: &str) -> String {
    let path = host.path_of(&format!("sys/class/net/{device}/address"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().into()
}
