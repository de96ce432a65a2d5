//! The networks that are compared, each between two hosts of its own choice, and how they are set up.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cost::Daemons;
use crate::hosts::{Hosts, PATIENCE, Place};
use crate::results::{Kind, NO_OVERLAY, TLS, UDP, VXLAN};
use crate::rival;

/// Hosts without weave, so that no rule of its weighs on others; and two for each transport, as a host runs one router.
pub(crate) const BARE: [usize; 2] = [1, 2];
const OVER_UDP: [usize; 2] = [3, 4];
const OVER_TLS: [usize; 2] = [5, 6];
/// How many hosts there must be.
pub(crate) const HOSTS: usize = 6;

/// A network between two places that is up and measured.
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The hosts; traffic goes from the second to the first.
    pub(crate) pair: [usize; 2],
    pub(crate) server: Place,
    pub(crate) client: Place,
    /// Of the server.
    pub(crate) address: String,
    pub(crate) mtu: u32,
    pub(crate) daemons: Daemons,
}

impl Variant {
    /// All measurements are made of the main ones, only some of the others, for want of time.
    pub(crate) fn main(&self) -> bool {
        self.kind.main()
    }

    /// Whether frames still travel as the name says.
    ///
    /// # Errors
    /// They do not, and how they travel.
    pub(crate) fn still_itself(&self, hosts: &Hosts, weave: &Path) -> Result<()> {
        if self.kind != Kind::Ours {
            return Ok(());
        }
        let weave = weave.display().to_string();
        let status = hosts.run(&Place::host(self.pair[1]), PATIENCE, &[&weave, "status", "connections"])?;
        let wanted = if self.name == UDP { "udp" } else { "tls" };
        ensure!(carried_by(&status, wanted), "no connection over {wanted}: {}", status.trim());
        Ok(())
    }

    /// Has iperf3 serve at the receiving end; a new one if `anew`, as after a run that failed half way. In the network
    /// of a host one serves all who receive there.
    pub(crate) fn serve(&self, hosts: &Hosts, anew: bool) -> Result<()> {
        let name = self.server.namespace.as_deref().unwrap_or("host");
        let script = format!("F=/run/iperf3-{name} ANEW={}\n{SERVE}", u8::from(anew));
        hosts.run(&self.server, PATIENCE, &["sh", "-c", &script]).map(drop)
    }
}

/// The old one has to be gone before the new one can listen, and the new one has to listen before a client comes. The
/// port of iperf3, 5201, is 1451 to the kernel, which writes 0A for a socket that listens.
const SERVE: &str = r#"
pid=$(tr -d '\0' 2>/dev/null <$F)
if [ -n "$pid" ] && kill -0 $pid 2>/dev/null; then
  if [ $ANEW = 0 ]; then exit; fi
  kill -KILL $pid
  while kill -0 $pid 2>/dev/null; do sleep 0.02; done
fi
iperf3 --server --daemon --pidfile $F
for try in $(seq 100); do
  if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':1451 .* 0A '; then exit; fi
  sleep 0.02
done
echo "iperf3 does not listen" >&2
exit 1
"#;

/// What a variant is before it is up.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) pair: [usize; 2],
    /// How the process at each end is called.
    pub(crate) daemon: Option<&'static str>,
    /// Bytes; None where the router tells.
    pub(crate) mtu: Option<u32>,
    /// Prepares what both ends need, on the first host.
    pub(crate) prepare: String,
    /// Sets up one end. `K` is this host, `O` the other, `D` the common folder.
    pub(crate) start: String,
    /// The network namespace at each end, which `start` makes; None if traffic starts on the host itself.
    pub(crate) namespace: Option<String>,
    /// Addresses begin with this and end with the host's number.
    pub(crate) network: String,
}

/// The four that always run.
pub(crate) fn main_plans(weave: &Path) -> Vec<Plan> {
    let none = Plan {
        name: NO_OVERLAY.into(),
        kind: Kind::NoOverlay,
        pair: BARE,
        daemon: None,
        mtu: Some(1500),
        prepare: String::new(),
        start: String::new(),
        namespace: None,
        network: "198.18.0".into(),
    };
    let vxlan = Plan {
        name: VXLAN.into(),
        kind: Kind::Kernel,
        mtu: Some(1450),
        start: "ip link add bridge type bridge
            ip link set bridge up
            ip link add vx7 type vxlan id 7 dstport 4789 local 198.18.0.$K remote 198.18.0.$O dev eth0
            ip link set vx7 mtu 1450 master bridge up
            container vxlan bridge 1450 10.8.0.$K"
            .into(),
        namespace: Some("vxlan".into()),
        network: "10.8.0".into(),
        ..none_like(BARE)
    };
    let ours = |name: &str, pair, transport: &str| Plan {
        name: name.into(),
        kind: Kind::Ours,
        daemon: Some("weave"),
        mtu: None,
        start: format!(
            "{} launch --transport {transport}
            container weave weave $(cat /sys/class/net/weave/mtu) 10.9.0.$K",
            weave.display()
        ),
        namespace: Some("weave".into()),
        network: "10.9.0".into(),
        ..none_like(pair)
    };
    vec![none, vxlan, ours(UDP, OVER_UDP, "udp"), ours(TLS, OVER_TLS, "tls")]
}

/// For `..`: what most plans do not need.
pub(crate) fn none_like(pair: [usize; 2]) -> Plan {
    Plan {
        name: String::new(),
        kind: Kind::RivalL2,
        pair,
        daemon: None,
        mtu: None,
        prepare: String::new(),
        start: String::new(),
        namespace: None,
        network: String::new(),
    }
}

impl Plan {
    /// See [`Variant::main`].
    pub(crate) fn main(&self) -> bool {
        self.kind.main()
    }

    /// Sets both ends up and waits until they reach each other.
    ///
    /// # Errors
    /// What failed, and what was said.
    pub(crate) fn set_up(&self, hosts: &Hosts, weave: &Path) -> Result<Variant> {
        let [server, client] = self.pair;
        let folder = hosts.folder().join(self.name.replace(' ', "-"));
        let mut mtu = String::new();
        for (part, k, other) in
            [(&self.prepare, server, client), (&self.start, server, client), (&self.start, client, server)]
        {
            let set = format!("K={k} O={other} D={}\nmkdir -p $D\n", folder.display());
            mtu = hosts.shell(k, &format!("set -e\n{set}{}{part}\n{SHOW_MTU}", rival::HELPERS))?;
        }
        let place =
            |k| self.namespace.as_ref().map_or_else(|| Place::host(k), |name| Place::namespace(k, name));
        let mut variant = Variant {
            name: self.name.clone(),
            kind: self.kind,
            pair: self.pair,
            server: place(server),
            client: place(client),
            address: format!("{}.{server}", self.network),
            mtu: self
                .mtu
                .or_else(|| mtu.lines().last()?.trim().parse().ok())
                .context("the MTU is not known")?,
            daemons: Daemons::find(hosts, self.pair, self.daemon)?,
        };
        if self.kind == Kind::Ours {
            connect(hosts, weave, &variant)?;
        }
        answers(hosts, &variant)?;
        variant.daemons = Daemons::find(hosts, self.pair, self.daemon)?;
        variant.serve(hosts, false)?;
        Ok(variant)
    }
}

/// What `weave` has set.
const SHOW_MTU: &str = "if [ -e /sys/class/net/weave/mtu ]; then cat /sys/class/net/weave/mtu; fi\n";

/// Connects the routers and makes sure that frames go where the name of the variant says.
fn connect(hosts: &Hosts, weave: &Path, variant: &Variant) -> Result<()> {
    let [server, client] = variant.pair;
    let words = [&weave.display().to_string(), "connect", &format!("198.18.0.{server}")];
    hosts.run(&Place::host(client), PATIENCE, &words)?;
    eventually(Duration::from_secs(20), || variant.still_itself(hosts, weave))
}

/// Whether there is one connection, established and encrypted, and its frames travel by this transport.
fn carried_by(status: &str, transport: &str) -> bool {
    let lines: Vec<&str> = status.lines().filter(|line| !line.trim().is_empty()).collect();
    let [line] = lines.as_slice() else { return false };
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words.as_slice(), [_, _, "established", "encrypted", by, ..] if *by == transport)
}

fn answers(hosts: &Hosts, variant: &Variant) -> Result<()> {
    let ping = ["ping", "-n", "-c", "1", "-W", "1", &variant.address];
    let tried = eventually(Duration::from_secs(15), || hosts.run(&variant.client, PATIENCE, &ping).map(drop));
    tried.with_context(|| format!("no answer from {} through it", variant.address))
}

fn eventually(within: Duration, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < within => thread::sleep(Duration::from_millis(200)),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_established_connection_over_the_right_transport_counts() {
        let tls =
            "-> 198.18.0.1:6783       established encrypted   tls    82:f2:50:29:c1:16(host1) mtu=1376\n";
        assert!(carried_by(tls, "tls"));
        assert!(!carried_by(tls, "udp"));
        assert!(!carried_by(&tls.replace("established", "pending"), "tls"));
        assert!(!carried_by(&tls.replace("encrypted", "unencrypted"), "tls"));
        assert!(!carried_by(&tls.repeat(2), "tls"));
        assert!(!carried_by("", "tls"));
    }
}
