//! The host's own firewall rules: the nftables tables `inet weave` and `netdev weave`, rebuilt as a whole whenever anything changes.
//!
//! One transaction removes the old tables and makes the new ones, so that no packet sees half of them, and nothing of
//! anyone else's is touched. A `drop` in a table of one's own is final, an `accept` is not: what other tables drop
//! stays dropped, which is what [`docker_forward`](crate::docker_forward) is about.
//!
//! `inet weave` is for what the host routes into the overlay or out of it (`routed.rs`), `netdev weave` keeps containers from the
//! router's ports (`ports.rs`).
//!
//! Address translation and the word `ct` make the kernel track every connection of the host, the router's own packets
//! included. So neither is there before an address is exposed.

mod bridges;
mod nft;
mod ports;
mod routed;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nftables::batch::Batch;
use nftables::schema::Nftables;
use nftables::types::NfFamily;

use self::nft::OurTable;
use crate::command::Program;
use crate::error::{HostError, Result};

pub use self::bridges::NewBridges;

const NFT: Program = Program { name: "nft", package: "nftables" };

/// The tables' name.
pub const TABLE: &str = "weave";

/// The bridges that Docker makes: the default one, Swarm's, and those of user-defined networks.
pub(crate) const DOCKER_BRIDGES: [&str; 2] = ["docker*", "br-*"];

/// What the rules are made from. Nothing else is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallState {
    /// The bridge.
    pub bridge: String,
    /// The host's addresses on the bridge, each with the length of its subnet's prefix.
    pub exposed: Vec<IpNetwork>,
    /// The port on which the router listens, TCP and UDP.
    pub router_port: u16,
    /// Where else it listens.
    pub further_ports: Vec<TcpPort>,
}

#[cfg(test)]
impl FirewallState {
    /// The state with these addresses and nothing unusual.
    pub(crate) fn exposing(exposed: &[&str]) -> Self {
        Self {
            bridge: "weave".to_owned(),
            exposed: exposed.iter().map(|address| address.parse().unwrap()).collect(),
            router_port: 6783,
            further_ports: Vec::new(),
        }
    }
}

/// A TCP port on which the router listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPort {
    /// On this address, or on all of one family if it is the unspecified one; on all of both if absent.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// Where the rules are that keep containers from the router's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRules {
    /// Where packets come in from containers' bridges, so that no others meet them.
    AtBridges,
    /// Where packets come in for the host: each packet between peers meets them too.
    AtInput {
        /// Why they are not at the bridges, in the words of `nft`.
        reason: String,
    },
}

/// Where packets for the router's ports are looked at.
#[derive(Clone, Copy)]
enum Look<'a> {
    /// Where they come in from these bridges.
    Ingress(&'a [String]),
    /// Among all that is for the host.
    Input,
}

/// The transaction that puts the rules in place of whatever the tables held.
fn rules(state: &FirewallState, look: Look<'_>) -> Nftables<'static> {
    let mut batch = Batch::new();
    let mut inet = OurTable::anew(&mut batch, NfFamily::INet);
    routed::postrouting(&mut inet, state);
    routed::forward(&mut inet, state);
    match look {
        Look::Ingress(bridges) => {
            ports::ingress(&mut OurTable::anew(&mut batch, NfFamily::NetDev), state, bridges);
        }
        Look::Input => ports::input(&mut inet, state),
    }
    batch.to_nftables()
}

/// Puts the rules in force.
///
/// # Errors
///
/// [`HostError::NoProgram`] without the program `nft`, [`HostError::Firewall`] when it fails. The old rules stay then.
pub async fn apply(state: &FirewallState) -> Result<PortRules> {
    const WHAT: &str = "set up the firewall";
    let mut refused = String::new();
    // A bridge that goes between the look and the transaction makes it fail once.
    for _ in 0..2 {
        let bridges = bridges::of_containers(&state.bridge).await?;
        match run(WHAT, &rules(state, Look::Ingress(&bridges))).await {
            Ok(()) => return Ok(PortRules::AtBridges),
            Err(HostError::Firewall { reason, .. }) => refused = reason,
            Err(other) => return Err(other),
        }
    }
    run(WHAT, &rules(state, Look::Input)).await?;
    Ok(PortRules::AtInput { reason: refused })
}

/// Removes the tables. That there is none is no error, nor is a host without nftables.
///
/// # Errors
///
/// As [`apply`].
pub async fn remove() -> Result<()> {
    // A kernel without the family `netdev` refuses even to remove nothing from it.
    for family in [NfFamily::INet, NfFamily::NetDev] {
        match listed(family, &[]).await {
            Ok(None) | Err(HostError::NoProgram { .. }) => continue,
            other => other?,
        };
        let mut batch = Batch::new();
        OurTable::remove(&mut batch, family);
        run("remove the firewall rules", &batch.to_nftables()).await?;
    }
    Ok(())
}

/// Whether the rules are there, for all bridges there are; someone else may have flushed them, or Docker have made a bridge.
///
/// # Errors
///
/// [`HostError::NoProgram`] without the program `nft`, and what netlink says.
pub async fn present(bridge: &str) -> Result<bool> {
    let drops = |text: Option<String>| text.is_some_and(|text| text.contains("drop"));
    if !drops(listed(NfFamily::INet, &["forward"]).await?) {
        return Ok(false);
    }
    let Some(text) = listed(NfFamily::NetDev, &[]).await? else {
        return Ok(drops(listed(NfFamily::INet, &[ports::INPUT]).await?));
    };
    // The kernel takes a chain away with its interface.
    let bridges = bridges::of_containers(bridge).await?;
    Ok(text.contains("drop") && bridges.iter().all(|bridge| text.contains(&format!("\"{bridge}\""))))
}

/// Our table of this family, or one chain of it, as `nft` lists it; `None` when there is none.
async fn listed(family: NfFamily, chain: &[&str]) -> Result<Option<String>> {
    let family = if family == NfFamily::NetDev { "netdev" } else { "inet" };
    let what = if chain.is_empty() { "table" } else { "chain" };
    let args = [&["list", what, family, TABLE], chain].concat();
    let output = NFT.output(&args, "").await?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

async fn run(what: &'static str, nftables: &Nftables<'_>) -> Result<()> {
    let json = serde_json::to_string(nftables).map_err(|error| HostError::Firewall {
        program: NFT.name,
        what,
        reason: error.to_string(),
    })?;
    NFT.run(what, &["-j", "-f", "-"], &json).await
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn containers_are_kept_from_all_ports_of_the_router_and_from_no_others() {
        let on = |ip: &str| TcpPort { ip: ip.parse().ok(), port: 443 };
        let further_ports = vec![on("*"), on("198.18.0.1"), on("fd00::1"), on("::")];
        let state = FirewallState { further_ports, ..FirewallState::exposing(&[]) };
        for (rules, times) in
            [(rules_of(&state, "ports"), 1), (rules_in(&rules(&state, Look::Input), "input"), 3)]
        {
            assert_eq!(rules.len(), times * 5);
            let count = |text: &str| rules.iter().filter(|rule| rule.contains(text)).count();
            assert_eq!(count(r#"{"drop":null}"#), times * 5);
            assert_eq!(count("443"), times * 4);
            assert_eq!((count("198.18.0.1"), count("fd00::1")), (times, times));
            assert_eq!(count(r#""field":"daddr""#), times * 2);
        }
    }

    fn ruleset(state: &FirewallState) -> Nftables<'static> {
        rules(state, Look::Ingress(&["docker0".to_owned(), "weave".to_owned()]))
    }

    fn commands(rules: &Nftables<'_>) -> Vec<Value> {
        serde_json::to_value(rules).unwrap()["nftables"].as_array().unwrap().clone()
    }

    fn rules_of(state: &FirewallState, chain: &str) -> Vec<String> {
        rules_in(&ruleset(state), chain)
    }

    fn rules_in(rules: &Nftables<'_>, chain: &str) -> Vec<String> {
        commands(rules)
            .iter()
            .filter(|command| command["add"]["rule"]["chain"] == chain)
            .map(|command| command["add"]["rule"]["expr"].to_string())
            .collect()
    }

    #[test]
    fn the_old_table_goes_and_the_new_one_comes_in_the_same_transaction() {
        let commands = commands(&ruleset(&FirewallState::exposing(&[])));
        for family in ["inet", "netdev"] {
            let mut of_it = commands.iter().filter_map(|command| {
                let (verb, what) = command.as_object()?.iter().next()?;
                let table =
                    what.get("table").filter(|table| table["family"] == family && table["name"] == "weave");
                table.map(|_| verb.as_str())
            });
            let verbs: Vec<_> = of_it.by_ref().collect();
            assert_eq!(verbs, ["add", "delete", "add"], "{family}");
        }
    }

    #[test]
    fn without_exposed_addresses_nothing_is_translated() {
        assert!(rules_of(&FirewallState::exposing(&[]), "postrouting").is_empty());
    }

    #[test]
    fn without_exposed_addresses_the_kernel_need_not_track_connections() {
        let text =
            |exposed: &[&str]| serde_json::to_string(&ruleset(&FirewallState::exposing(exposed))).unwrap();
        let tracks = |text: &str| text.contains(r#""ct""#) || text.contains(r#""type":"nat""#);
        assert!(!tracks(&text(&[])));
        assert!(tracks(&text(&["192.168.122.100/24"])));
    }

    #[test]
    fn each_exposed_subnet_is_translated_both_ways() {
        let rules =
            rules_of(&FirewallState::exposing(&["192.168.122.100/24", "fd00::100/64"]), "postrouting");
        assert_eq!(rules.len(), 4);
        assert!(rules[0].contains(r#"{"addr":"192.168.122.0","len":24}"#), "{}", rules[0]);
        assert!(rules[0].contains(r#"{"addr":"224.0.0.0","len":4}"#), "{}", rules[0]);
        assert!(rules[2].contains(r#"{"addr":"fd00::","len":64}"#), "{}", rules[2]);
        assert!(rules[2].contains(r#""protocol":"ip6""#), "{}", rules[2]);
        assert!(rules[2].contains(r#"{"addr":"ff00::","len":8}"#), "{}", rules[2]);
    }

    #[test]
    fn dockers_bridges_are_kept_out_whether_or_not_something_is_exposed() {
        for exposed in [&[][..], &["192.168.122.100/24"]] {
            let rules = rules_of(&FirewallState::exposing(exposed), "forward");
            let drops: Vec<_> = rules.iter().filter(|rule| rule.contains(r#"{"drop":null}"#)).collect();
            assert_eq!(drops.len(), DOCKER_BRIDGES.len());
            assert!(drops.iter().all(|rule| rule.contains(r#""right":"weave""#)));
        }
    }

    #[test]
    fn the_routers_port_is_closed_to_containers() {
        let closed = rules_of(&FirewallState::exposing(&[]), "ports");
        assert!(
            closed.iter().all(|rule| rule.contains("6783") && rule.contains("drop")) && closed.len() == 1
        );
        for bridge in ["docker0", "weave"] {
            assert_eq!(rules_of(&FirewallState::exposing(&[]), bridge), [r#"[{"jump":{"target":"ports"}}]"#]);
        }
        let closed = rules_in(&rules(&FirewallState::exposing(&[]), Look::Input), "input");
        assert!(
            closed.iter().all(|rule| rule.contains("6783") && rule.contains("drop")) && closed.len() == 3
        );
    }

    #[test]
    fn what_is_sent_to_nft_reads_back_as_the_same_rules() {
        let state = FirewallState::exposing(&["10.2.1.1/16"]);
        for rules in [ruleset(&state), rules(&state, Look::Input)] {
            let json = serde_json::to_string(&rules).unwrap();
            assert_eq!(serde_json::from_str::<Nftables<'_>>(&json).unwrap(), rules);
        }
    }
}
