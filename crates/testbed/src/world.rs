//! Two hosts behind NATs and firewalls, peers that everybody reaches, and a hop in between that can be made as bad as the
//! Internet; all in networks without names, so that nothing is left of it when the process ends.
//!
//! ```text
//!  a's container          b's container
//!   a (host, router)       b (host, router)      c, d (hosts, routers)    proxy
//!   a's gates              b's gates              |                        |
//!    |                      +----------+----------+------------------------+
//!   middle -------------------------- world (a bridge)
//! ```

mod gate;
mod middle;
mod parts;
mod pings;
mod router;
mod site;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::gate::{Nat, Together, Wall};
pub use self::middle::{Conditions, Middle, QUEUE};
use self::parts::LOGIN;
pub use self::pings::{Echo, Echoes, wall_clock};
pub use self::router::{Router, Way};
pub use self::site::{Gate, Site};
use crate::lab::in_path;
use crate::{Folder, Process, Space, eventually};

/// What a world is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What a and b are behind.
    pub gates: [Gate; 2],
    /// Both are behind one gate instead.
    pub together: Option<Together>,
    /// Everybody has only addresses of IPv6; for hosts without gates.
    pub ipv6: bool,
    /// Of all cables.
    pub mtu: u32,
    /// How many peers everybody reaches: c, or c and d.
    pub common: u8,
    /// A proxy in the world, and whether it wants a password.
    pub proxy: Option<bool>,
}

impl Plan {
    /// Both hosts behind these gates, and one common peer.
    pub fn of(a: impl Into<Gate>, b: impl Into<Gate>) -> Self {
        let gates = [a.into(), b.into()];
        Self { gates, together: None, ipv6: false, mtu: 1500, common: 1, proxy: None }
    }

    /// Where number `k` is in the world: a 1, b 2, c 3, d 4, the proxy 5. These addresses look public and are used nowhere
    /// but here: `miniupnpd` opens no port where its own address is one of those reserved for tests.
    fn address(&self, k: u8) -> String {
        if self.ipv6 { format!("2001:db8::{k}") } else { format!("11.0.0.{k}") }
    }

    const fn prefix(&self) -> u8 {
        if self.ipv6 { 64 } else { 24 }
    }

    fn network(&self) -> String {
        if self.ipv6 { "2001:db8::/64".into() } else { "11.0.0.0/24".into() }
    }
}

/// Nothing goes out but to the proxy.
pub const PROXY: Wall = Wall::Only("11.0.0.5", parts::PROXY_PORT);

/// The URL of the proxy, with user and password where it wants them.
pub fn proxy_url(login: bool) -> String {
    let login = if login { format!("{}:{}@", LOGIN.0, LOGIN.1.replace(' ', "%20")) } else { String::new() };
    format!("http://{login}11.0.0.5:{}", parts::PROXY_PORT)
}

/// Networks behind gates.
const LAN_PREFIX: &str = "192.168";

/// The world; it is gone when this is dropped.
pub struct World {
    // Fields are dropped in this order: programs before the networks they are in.
    /// a, b, c and maybe d.
    sites: Vec<Site>,
    middle: Middle,
    _proxy: Option<(Process, Space)>,
    _bridge: Space,
    _hop: Space,
    program: String,
    plan: Plan,
    folder: Arc<Folder>,
}

/// What every world needs, and a test may lack.
const TOOLS: [&str; 9] = ["ip", "nft", "ethtool", "nsenter", "setpriv", "setsid", "sysctl", "ping", "ss"];

impl World {
    /// Says why a world cannot be made here, if so. `tools` are programs needed beside those that every world needs.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn available(tools: &[&str]) -> Result<(), String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("networks of one's own need root".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("a router needs /dev/net/tun".into());
        }
        match TOOLS.iter().chain(tools).find(|tool| !in_path(tool)) {
            Some(tool) => Err(format!("{tool} is missing: lab/prepare.sh installs it")),
            None => Ok(()),
        }
    }

    /// Makes one; `program` is the `weave` that its hosts run.
    pub fn new(plan: Plan, program: &str) -> Self {
        let folder = Arc::new(Folder::new("weave-world"));
        let (hop, bridge) = (Space::new("middle", &folder), Space::new("world", &folder));
        bridge.sh("ip link add br0 type bridge; ip link set br0 up");
        hop.cable("r0", &bridge, "hop", plan.mtu);
        bridge.sh("ip link set hop master br0");
        whole_packets(&bridge, "hop", true);
        let into_world = |k: u8| {
            let bridge = &bridge;
            move |space: &Space, interface: &str| {
                bridge.cable(&format!("port{k}"), space, interface, plan.mtu);
                bridge.sh(&format!("ip link set port{k} master br0"));
            }
        };
        let into_hop = |space: &Space, interface: &str| {
            hop.cable("l0", space, interface, plan.mtu);
            whole_packets(space, interface, true);
        };
        let mut sites = match plan.together {
            Some(together) => behind_one(together, &plan, &folder, into_hop),
            None => vec![
                Site::behind(plan.gates[0], 1, &plan, &folder, into_hop),
                Site::behind(plan.gates[1], 2, &plan, &folder, into_world(2)),
            ],
        };
        for (k, name) in (3..).zip(["c", "d"]).take(plan.common.into()) {
            let site = Site::bare(name, k, plan.address(k), &folder);
            into_world(k)(&site.host, "eth0");
            site.host.sh(&format!("ip addr add {}/{} dev eth0 nodad", site.address, plan.prefix()));
            sites.push(site);
        }
        let proxy = plan.proxy.map(|login| {
            let host = Space::new("proxy", &folder);
            into_world(5)(&host, "eth0");
            host.sh(&format!("ip addr add {}/24 dev eth0", plan.address(5)));
            (parts::proxy(&host, login, &folder), host)
        });
        for end in ["l0", "r0"] {
            // Nobody lives there: what the kernel would say of its own would be carried like anything else.
            hop.sh(&format!("sysctl -qw net.ipv6.conf.{end}.disable_ipv6=1; ip link set {end} arp off"));
            whole_packets(&hop, end, false);
        }
        let middle = Middle::between(&hop, ["l0", "r0"]);
        let program = program.into();
        Self { sites, middle, _proxy: proxy, _bridge: bridge, _hop: hop, program, plan, folder }
    }

    /// Host a, behind the middle.
    pub fn a(&self) -> &Site {
        &self.sites[0]
    }

    /// Host b.
    pub fn b(&self) -> &Site {
        &self.sites[1]
    }

    /// A common peer: 0 is c, 1 is d.
    pub fn common(&self, k: usize) -> &Site {
        &self.sites[2 + k]
    }

    /// All hosts: a, b, c and maybe d.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The same, to break them.
    pub fn sites_mut(&mut self) -> &mut [Site] {
        &mut self.sites
    }

    /// The hop that all packets of host a pass.
    pub const fn middle(&self) -> &Middle {
        &self.middle
    }

    /// Has the walls of both gates stand from now on.
    pub fn raise_walls(&self) {
        for site in &self.sites {
            if let Some(wall) = site.wall {
                site.gates[0].sh(&format!("nft '{}'", wall.rules()));
            }
        }
    }

    /// Launches a router on every host; `arguments` for host k of [`sites`](Self::sites). Each host then has a container, and
    /// containers know each other's hardware address: how long a kernel waits until it asks again is not judged here.
    #[track_caller]
    pub fn launch(&mut self, arguments: impl Fn(usize) -> Vec<String>) {
        for (k, site) in self.sites.iter_mut().enumerate() {
            let folder = self.folder.path().join(site.host.to_string());
            let name = format!("--nickname={}", site.host);
            let given = arguments(k);
            let mut words = vec![name.as_str()];
            words.extend(given.iter().map(String::as_str));
            site.router = Some(Router::start(&self.program, &site.host, folder, &words));
        }
        let numbers: Vec<u8> = self.sites.iter().map(|site| site.number).collect();
        for site in &mut self.sites {
            if let Some(router) = &mut site.router {
                router.ready();
            }
            site.attach(&numbers);
        }
    }

    /// Has a host connect to a peer; `to` is an address with or without a port.
    #[track_caller]
    pub fn connect(&self, k: usize, to: &str) {
        let site = &self.sites[k];
        site.router().weave(&site.host, &["connect", to]).ok();
    }

    /// How a peer is named to `weave connect`.
    pub fn target(&self, k: usize, port: Option<u16>) -> String {
        let address = &self.sites[k].address;
        let address = if self.plan.ipv6 { format!("[{address}]") } else { address.clone() };
        port.map_or_else(|| address.clone(), |port| format!("{address}:{port}"))
    }

    /// Waits until frames get to a peer, which they do by way of whatever.
    #[track_caller]
    pub fn await_way(&self, from: usize, to: usize, within: Duration) {
        let [from, to] = [from, to].map(|k| &self.sites[k]);
        eventually(&format!("{} has a way to {}", from.host, to.host), within, || {
            match from.router().way_to(to.router().name()) {
                (Way::None, _) => Err(from.router().log()),
                _ => Ok(()),
            }
        });
    }
}

impl Site {
    /// Puts the container on the bridge, with an address that all others know.
    fn attach(&self, everybody: &[u8]) {
        let (host, container) = (&self.host, &self.container);
        let mtu = host.sh("ip -o link show weave");
        let mtu = mtu.split_once(" mtu ").and_then(|(_, rest)| rest.split(' ').next());
        let mtu = mtu.and_then(|mtu| mtu.parse().ok()).unwrap_or_else(|| panic!("no MTU of weave on {host}"));
        host.cable("vcontainer", container, "eth0", mtu);
        host.sh("ip link set vcontainer master weave");
        let mac = |k: u8| format!("02:00:00:00:00:{k:02x}");
        container.sh(&format!(
            "ip link set eth0 address {}; ip addr add {}/24 dev eth0",
            mac(self.number),
            self.overlay
        ));
        for k in everybody.iter().filter(|k| **k != self.number) {
            container.sh(&format!("ip neigh add 10.32.0.{k} lladdr {} dev eth0 nud permanent", mac(*k)));
        }
    }
}

/// Makes both hosts and their one gate.
fn behind_one(
    together: Together,
    plan: &Plan,
    folder: &Arc<Folder>,
    connect: impl Fn(&Space, &str),
) -> Vec<Site> {
    let gate = Space::new("the gate", folder);
    let outer = plan.address(1);
    connect(&gate, "wan");
    gate.sh(&format!("sysctl -qw net.ipv4.ip_forward=1; ip addr add {outer}/24 dev wan"));
    let mut sites = [("a", 1), ("b", 2)].map(|(name, k)| Site::bare(name, k, outer.clone(), folder));
    let mut hosts = Vec::new();
    if together == Together::OneLan {
        gate.sh(&format!(
            "ip link add lan type bridge; ip addr add {LAN_PREFIX}.1.1/24 dev lan; ip link set lan up"
        ));
    }
    for (k, site) in (1..).zip(&sites) {
        gate.cable(&format!("lan{k}"), &site.host, "eth0", plan.mtu);
        let (own, router) = if together == Together::OneLan {
            gate.sh(&format!("ip link set lan{k} master lan"));
            (format!("{LAN_PREFIX}.1.{}", k + 1), format!("{LAN_PREFIX}.1.1"))
        } else {
            gate.sh(&format!("ip addr add {LAN_PREFIX}.{k}.1/24 dev lan{k}"));
            (format!("{LAN_PREFIX}.{k}.2"), format!("{LAN_PREFIX}.{k}.1"))
        };
        site.host.sh(&format!("ip addr add {own}/24 dev eth0; ip route add default via {router}"));
        hosts.push(own);
    }
    gate.sh(&format!("nft '{}'", together.rules(&outer, [&hosts[0], &hosts[1]])));
    sites[0].gates.push(gate);
    sites.into()
}

/// Has an interface send nothing that is longer than its MTU or lacks its checksum: what takes it up behind the cable is a
/// program. `merge` is whether it puts together what arrives, as network cards do.
fn whole_packets(space: &Space, interface: &str, merge: bool) {
    let merge = if merge { "on" } else { "off" };
    let off = "tx off sg off tso off gso off tx-udp-segmentation off";
    space.sh(&format!("ethtool -K {interface} {off} gro {merge} >/dev/null"));
    if merge == "on" {
        // The hop hands over packets one by one: none would be put together with the next without waiting for it a little.
        let wait = "mount -t sysfs sysfs /sys; echo 50000 >/sys/class/net/\"$0\"/gro_flush_timeout";
        space.run(&["unshare", "--mount", "sh", "-ec", wait, interface]).ok();
    }
}
