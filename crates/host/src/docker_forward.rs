//! Letting packets for the bridge through Docker's firewall.
//!
//! Everything else of ours is in an nftables table of our own. That cannot help here: Docker sets the policy of the
//! iptables chain FORWARD to DROP, a packet has to be accepted by *every* table that looks at it, and with the
//! module br_netfilter even frames that only cross our bridge are shown to FORWARD. The one place where Docker's
//! verdict can be forestalled is that chain. So there is one chain of ours in the table `filter`, and one jump to
//! it at the top of FORWARD.
//!
//! The chain only accepts or returns. What has to be dropped is dropped by [`firewall`](crate::firewall), which an
//! accept here does not override. It is replaced in one step by `iptables-restore --noflush`; the jump is looked
//! for before it is made. With `-w`, all calls wait their turn for the lock that Docker takes as well.
//!
//! A host without the program `iptables` has no such policy, and gets no chain.

use std::fmt::Write;

use ipnetwork::IpNetwork;

use crate::command::Program;
use crate::error::{HostError, Result};
use crate::firewall::{DOCKER_BRIDGES, FirewallState};
use crate::sysctl;

/// The chain's name.
pub const CHAIN: &str = "WEAVE";

/// How long to wait for the lock of iptables, in seconds. Docker holds it for some hundred milliseconds at a time while
/// it starts many containers.
const WAIT: &str = "10";

/// The programs of one IP version.
struct Family {
    tables: Program,
    restore: Program,
    v4: bool,
}

const FAMILIES: [Family; 2] = [
    Family {
        tables: Program { name: "iptables", package: "iptables" },
        restore: Program { name: "iptables-restore", package: "iptables" },
        v4: true,
    },
    Family {
        tables: Program { name: "ip6tables", package: "iptables" },
        restore: Program { name: "ip6tables-restore", package: "iptables" },
        v4: false,
    },
];

/// Puts the chain and the jump to it in place.
///
/// # Errors
///
/// [`HostError::Firewall`] when iptables is there and fails.
pub async fn ensure(state: &FirewallState) -> Result<()> {
    for family in families() {
        let text = chain_text(state, family.v4);
        let restore = family.restore.run("set up the chain WEAVE", &["-w", WAIT, "--noflush"], &text).await;
        if let Err(HostError::NoProgram { program, .. }) = restore {
            tracing::debug!(program, "not installed, so there is no policy to get around");
            continue;
        }
        restore?;
        if !family.jumps().await? {
            let insert = ["-w", WAIT, "-I", "FORWARD", "1", "-j", CHAIN];
            family.tables.run("insert the jump to the chain WEAVE", &insert, "").await?;
        }
    }
    Ok(())
}

/// Whether the chain and the jump are there; someone else may have flushed them. True where [`ensure`] has nothing to
/// do.
///
/// # Errors
///
/// When the programs cannot be run.
pub async fn present(bridge: &str) -> Result<bool> {
    for family in families() {
        let within = ["-w", WAIT, "-C", CHAIN, "-i", bridge, "-o", bridge, "-j", "ACCEPT"];
        let found = match family.tables.output(&within, "").await {
            Err(HostError::NoProgram { .. }) => continue,
            other => other?.status.success(),
        };
        if !found || !family.jumps().await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the jump and the chain. That there is none is no error.
///
/// # Errors
///
/// [`HostError::Firewall`] when iptables is there and fails.
pub async fn remove() -> Result<()> {
    for family in families() {
        let exists = match family.tables.output(&["-w", WAIT, "-n", "-L", CHAIN], "").await {
            Err(HostError::NoProgram { .. }) => continue,
            other => other?.status.success(),
        };
        if !exists {
            continue;
        }
        while family.jumps().await? {
            let delete = ["-w", WAIT, "-D", "FORWARD", "-j", CHAIN];
            family.tables.run("delete the jump to the chain WEAVE", &delete, "").await?;
        }
        family.tables.run("empty the chain WEAVE", &["-w", WAIT, "-F", CHAIN], "").await?;
        family.tables.run("delete the chain WEAVE", &["-w", WAIT, "-X", CHAIN], "").await?;
    }
    Ok(())
}

impl Family {
    async fn jumps(&self) -> Result<bool> {
        let output = self.tables.output(&["-w", WAIT, "-C", "FORWARD", "-j", CHAIN], "").await?;
        Ok(output.status.success())
    }
}

/// The families that the kernel speaks: without IPv6, `ip6tables` may be installed and fail.
fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().filter(|family| family.v4 || sysctl::exists("net/ipv6"))
}

/// The chain as `iptables-restore` reads it. Naming the chain makes it, or empties it.
fn chain_text(state: &FirewallState, v4: bool) -> String {
    let bridge = &state.bridge;
    let mut text = format!("*filter\n:{CHAIN} - [0:0]\n");
    let mut rule = |rule: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "-A {CHAIN} {rule}");
    };
    rule(format!("-i {bridge} -o {bridge} -j ACCEPT"));
    if !state.exposed.is_empty() {
        // As in `firewall`: only then is there something to answer, and a reason to have connections tracked.
        rule(format!("-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
    }
    for docker in DOCKER_BRIDGES {
        // iptables spells a wildcard with a plus sign.
        rule(format!("-i {} -o {bridge} -j RETURN", docker.replace('*', "+")));
    }
    rule(format!("-i {bridge} -j ACCEPT"));
    for subnet in state.exposed.iter().filter(|subnet| subnet.is_ipv4() == v4) {
        rule(format!("-o {bridge} -d {} -j ACCEPT", subnet_of(subnet)));
    }
    text.push_str("COMMIT\n");
    text
}

fn subnet_of(address: &IpNetwork) -> String {
    format!("{}/{}", address.network(), address.prefix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_replaced_as_a_whole() {
        assert_eq!(
            chain_text(&FirewallState::exposing(&["192.168.122.100/24", "fd00::1/64"]), true),
            "*filter\n\
             :WEAVE - [0:0]\n\
             -A WEAVE -i weave -o weave -j ACCEPT\n\
             -A WEAVE -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A WEAVE -i docker+ -o weave -j RETURN\n\
             -A WEAVE -i br-+ -o weave -j RETURN\n\
             -A WEAVE -i weave -j ACCEPT\n\
             -A WEAVE -o weave -d 192.168.122.0/24 -j ACCEPT\n\
             COMMIT\n"
        );
    }

    #[test]
    fn without_exposed_addresses_the_kernel_need_not_track_connections() {
        assert!(!chain_text(&FirewallState::exposing(&[]), true).contains("conntrack"));
    }

    #[test]
    fn each_ip_version_gets_its_own_subnets() {
        let text = chain_text(&FirewallState::exposing(&["192.168.122.100/24", "fd00::1/64"]), false);
        assert!(text.contains("-d fd00::/64 "), "{text}");
        assert!(!text.contains("192.168.122"), "{text}");
    }
}
