//! A host behind its gates, with a container.

use std::sync::Arc;

use super::gate::{Nat, Wall};
use super::router::Router;
use super::{LAN_PREFIX, Plan};
use crate::{Folder, Process, Space};

/// One host: its networks, its router once launched, its container.
pub struct Site {
    /// The host's own network.
    pub host: Space,
    /// What stands before it, the one at the world first.
    pub gates: Vec<Space>,
    /// The network of its container.
    pub container: Space,
    /// Its address as the world sees it.
    pub address: String,
    /// The address of its container.
    pub overlay: String,
    pub(super) number: u8,
    pub(super) router: Option<Router>,
    pub(super) wall: Option<Wall>,
    /// A daemon of its gate.
    pub(super) opener: Option<Process>,
}

/// How a site is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// What it does to addresses and ports.
    pub nat: Nat,
    /// What it does not let through, once [`World::raise_walls`](super::World::raise_walls) was called.
    pub wall: Option<Wall>,
}

impl From<Nat> for Gate {
    fn from(nat: Nat) -> Self {
        Self { nat, wall: None }
    }
}

impl From<Wall> for Gate {
    fn from(wall: Wall) -> Self {
        Self { nat: Nat::None, wall: Some(wall) }
    }
}

impl Site {
    pub(super) fn bare(name: &str, number: u8, address: String, folder: &Arc<Folder>) -> Self {
        Self {
            host: Space::new(name, folder),
            gates: vec![],
            container: Space::new(&format!("{name}'s container"), folder),
            address,
            overlay: format!("10.32.0.{number}"),
            number,
            router: None,
            wall: None,
            opener: None,
        }
    }

    /// Makes the host and its gates. `connect` lays the cable from an interface into the world.
    pub(super) fn behind(
        gate: Gate,
        number: u8,
        plan: &Plan,
        folder: &Arc<Folder>,
        connect: impl Fn(&Space, &str),
    ) -> Self {
        let address = plan.address(number);
        let name = if number == 1 { "a" } else { "b" };
        let mut site = Self::bare(name, number, address.clone(), folder);
        site.wall = gate.wall;
        let prefix = plan.prefix();
        match gate.nat {
            Nat::None if gate.wall.is_none() => {
                connect(&site.host, "eth0");
                site.host.sh(&format!("ip addr add {address}/{prefix} dev eth0 nodad"));
            }
            Nat::None => {
                site.add_gate(folder, &connect);
                site.proxied(plan);
            }
            Nat::Double => {
                site.add_gate(folder, &connect);
                let (outer, inner) = (format!("10.{number}.0.1"), format!("10.{number}.0.2"));
                site.gates[0].sh(&format!("ip addr add {address}/{prefix} dev wan"));
                let second = Space::new(&format!("{name}'s inner gate"), folder);
                site.gates[0].cable("lan", &second, "wan", plan.mtu);
                second.cable("lan", &site.host, "eth0", plan.mtu);
                site.gates[0].sh(&format!("ip addr add {outer}/24 dev lan"));
                second.sh(&format!("ip addr add {inner}/24 dev wan; ip route add default via {outer}"));
                site.gates.push(second);
                site.masquerade(0, Nat::Masquerade, &inner);
                site.lan(1);
                site.masquerade(1, Nat::Masquerade, &site.lan_address());
            }
            nat => {
                site.add_gate(folder, &connect);
                site.gates[0].cable("lan", &site.host, "eth0", plan.mtu);
                site.gates[0].sh(&format!("ip addr add {address}/{prefix} dev wan"));
                site.lan(0);
                site.masquerade(0, nat, &site.lan_address());
                if nat == Nat::Mapping {
                    site.opener = Some(super::parts::opener(&site.gates[0], folder));
                }
            }
        }
        site
    }

    /// Its router.
    #[track_caller]
    pub fn router(&self) -> &Router {
        self.router.as_ref().unwrap_or_else(|| panic!("no router was launched on {}", self.host))
    }

    /// Ends its router as the kernel's out-of-memory killer would.
    pub fn kill_router(&mut self) {
        self.router = None;
    }

    fn add_gate(&mut self, folder: &Arc<Folder>, connect: &impl Fn(&Space, &str)) {
        let gate = Space::new(&format!("{}'s gate", self.host), folder);
        connect(&gate, "wan");
        gate.sh("sysctl -qw net.ipv4.ip_forward=1");
        self.gates.push(gate);
    }

    /// Gives the host its network behind gate `k`.
    fn lan(&self, k: usize) {
        let network = format!("{LAN_PREFIX}.{}", self.number);
        self.gates[k].sh(&format!("sysctl -qw net.ipv4.ip_forward=1; ip addr add {network}.1/24 dev lan"));
        self.host.sh(&format!("ip addr add {network}.2/24 dev eth0; ip route add default via {network}.1"));
    }

    fn masquerade(&self, k: usize, nat: Nat, host: &str) {
        self.gates[k].sh(&format!("nft '{}'", nat.rules(host)));
    }

    fn lan_address(&self) -> String {
        format!("{LAN_PREFIX}.{}.2", self.number)
    }

    /// The host keeps its address in the world: the gate answers for it there, and for the world here.
    fn proxied(&self, plan: &Plan) {
        let (address, prefix) = (&self.address, plan.prefix());
        self.gates[0].cable("lan", &self.host, "eth0", plan.mtu);
        // With an address of its own, since nobody answers to who asks from none, for somebody else.
        self.gates[0].sh(&format!(
            "for end in wan lan; do
                sysctl -qw net.ipv4.conf.$end.proxy_arp=1 net.ipv4.neigh.$end.proxy_delay=0
                ip addr add 11.0.0.{}/32 dev $end
            done
            ip route add {} dev wan
            ip route add {address}/32 dev lan",
            100 + self.number,
            plan.network()
        ));
        self.host.sh(&format!("ip addr add {address}/{prefix} dev eth0"));
    }
}
