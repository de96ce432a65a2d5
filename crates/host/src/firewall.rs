//! The host's own firewall rules: one nftables table, `inet weave`, rebuilt as a whole whenever anything changes.
//!
//! One transaction removes the old table and makes the new one, so that no packet sees half of it, and nothing of
//! anyone else's is touched. A `drop` in a table of one's own is final, an `accept` is not: what other tables drop
//! stays dropped, which is what [`docker_forward`](crate::docker_forward) is about.
//!
//! What the rules do:
//!
//! - *postrouting*: containers of an exposed subnet reach hosts beyond ours, and these reach them, by way of our
//!   address, since neither side has a route to the other. Multicast stays unchanged.
//! - *forward*: Docker's own networks do not reach the bridge. A container that is in two worlds must not get into
//!   another subnet of the overlay by way of the host.
//! - *input*: containers do not talk to the router's port. They could pose as a peer, or make the overlay its own
//!   underlay.
//!
//! Address translation and the word `ct` make the kernel track every connection of the host, the router's own packets
//! included. So neither is there before an address is exposed.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nftables::batch::Batch;
use nftables::expr::{
    CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, SetItem,
};
use nftables::schema::{Chain, NfListObject, Nftables, Rule, Table};
use nftables::stmt::{Match, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::command::Program;
use crate::error::{HostError, Result};

const NFT: Program = Program { name: "nft", package: "nftables" };

/// The table's name.
pub const TABLE: &str = "weave";

/// The bridges that Docker makes: the default one, Swarm's, and those of user-defined networks.
pub(crate) const DOCKER_BRIDGES: [&str; 2] = ["docker*", "br-*"];

/// Priorities of nftables' standard hooks (nft(8), "standard priority names").
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

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

/// A TCP port on which the router listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPort {
    /// On this address, or on all of one family if it is the unspecified one; on all of both if absent.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// The transaction that puts the rules in place of whatever the table held.
pub fn rules(state: &FirewallState) -> Nftables<'static> {
    let mut batch = removal();
    batch.add(NfListObject::Table(table()));
    postrouting(&mut batch, state);
    forward(&mut batch, state);
    input(&mut batch, state);
    batch.to_nftables()
}

/// Puts the rules in force.
///
/// # Errors
///
/// [`HostError::NoProgram`] without the program `nft`, [`HostError::Firewall`] when it fails. The old rules stay then.
pub async fn apply(state: &FirewallState) -> Result<()> {
    run("set up the firewall", &rules(state)).await
}

/// Removes the table. That there is none is no error, nor is a host without nftables.
///
/// # Errors
///
/// As [`apply`].
pub async fn remove() -> Result<()> {
    match run("remove the firewall rules", &removal().to_nftables()).await {
        Err(HostError::NoProgram { .. }) => Ok(()),
        other => other,
    }
}

/// Whether the rules are there; someone else may have flushed them.
///
/// # Errors
///
/// [`HostError::NoProgram`] without the program `nft`.
pub async fn present() -> Result<bool> {
    let output = NFT.output(&["list", "chain", "inet", TABLE, "forward"], "").await?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("drop"))
}

async fn run(what: &'static str, nftables: &Nftables<'_>) -> Result<()> {
    let json = serde_json::to_string(nftables).map_err(|error| HostError::Firewall {
        program: NFT.name,
        what,
        reason: error.to_string(),
    })?;
    NFT.run(what, &["-j", "-f", "-"], &json).await
}

/// Adding a table that exists is no error, deleting one that does not is: after both it is gone in any case.
fn removal() -> Batch<'static> {
    let mut batch = Batch::new();
    batch.add(NfListObject::Table(table()));
    batch.delete(NfListObject::Table(table()));
    batch
}

fn postrouting(batch: &mut Batch<'static>, state: &FirewallState) {
    if state.exposed.is_empty() {
        return;
    }
    let chain = "postrouting";
    base_chain(batch, chain, NfChainType::NAT, NfHook::Postrouting, SRCNAT);
    for subnet in &state.exposed {
        let (source, destination) = (address(subnet, "saddr"), address(subnet, "daddr"));
        // From the overlay into the world.
        add(
            batch,
            chain,
            vec![
                interface(MetaKey::Oifname, Operator::NEQ, &state.bridge),
                is(source.clone(), Operator::EQ, prefix(subnet)),
                is(destination.clone(), Operator::NEQ, prefix(subnet)),
                is(destination.clone(), Operator::NEQ, multicast(subnet)),
                Statement::Masquerade(None),
            ],
        );
        // From the world into the overlay. A packet without incoming interface is our own, or a frame on its way from
        // port to port that br_netfilter shows to this hook; both keep their source. (Linux 5.7 tells.)
        add(
            batch,
            chain,
            vec![
                interface(MetaKey::Oifname, Operator::EQ, &state.bridge),
                is(meta(MetaKey::Iif), Operator::NEQ, Expression::Number(0)),
                interface(MetaKey::Iifname, Operator::NEQ, &state.bridge),
                is(destination, Operator::EQ, prefix(subnet)),
                is(source, Operator::NEQ, prefix(subnet)),
                Statement::Masquerade(None),
            ],
        );
    }
}

fn forward(batch: &mut Batch<'static>, state: &FirewallState) {
    let chain = "forward";
    base_chain(batch, chain, NfChainType::Filter, NfHook::Forward, FILTER);
    // The host has no address among the containers before one is exposed, and nothing to answer Docker's for.
    if !state.exposed.is_empty() {
        let answers =
            Expression::List(["established", "related"].map(|state| Expression::String(state.into())).into());
        let state_of =
            Expression::Named(NamedExpression::CT(CT { key: "state".into(), family: None, dir: None }));
        add(batch, chain, vec![is(state_of, Operator::IN, answers), Statement::Accept(None)]);
    }
    for docker in DOCKER_BRIDGES {
        add(
            batch,
            chain,
            vec![
                interface(MetaKey::Iifname, Operator::EQ, docker),
                interface(MetaKey::Oifname, Operator::EQ, &state.bridge),
                Statement::Drop(None),
            ],
        );
    }
}

fn input(batch: &mut Batch<'static>, state: &FirewallState) {
    let chain = "input";
    base_chain(batch, chain, NfChainType::Filter, NfHook::Input, FILTER);
    for from in DOCKER_BRIDGES.into_iter().chain([state.bridge.as_str()]) {
        // Where the port stands is the same in both protocols (`th`, nft(8)). Other protocols have no such bytes.
        let transports = ["tcp", "udp"].map(|name| SetItem::Element(Expression::String(name.into())));
        add(
            batch,
            chain,
            vec![
                interface(MetaKey::Iifname, Operator::EQ, from),
                is(
                    meta(MetaKey::L4proto),
                    Operator::EQ,
                    Expression::Named(NamedExpression::Set(transports.into())),
                ),
                is(field("th", "dport"), Operator::EQ, Expression::Number(state.router_port.into())),
                Statement::Drop(None),
            ],
        );
        for further in &state.further_ports {
            // The same port of another address may be somebody else's, whom containers may talk to.
            let to = further.ip.filter(|ip| !ip.is_unspecified()).map(|ip| {
                let ip = ip.to_canonical();
                is(
                    address(&IpNetwork::from(ip), "daddr"),
                    Operator::EQ,
                    Expression::String(ip.to_string().into()),
                )
            });
            let port = is(field("tcp", "dport"), Operator::EQ, Expression::Number(further.port.into()));
            let mut statements = vec![interface(MetaKey::Iifname, Operator::EQ, from)];
            statements.extend(to);
            statements.extend([port, Statement::Drop(None)]);
            add(batch, chain, statements);
        }
    }
}

fn table() -> Table<'static> {
    Table { family: NfFamily::INet, name: TABLE.into(), handle: None }
}

fn base_chain(
    batch: &mut Batch<'static>,
    name: &'static str,
    kind: NfChainType,
    hook: NfHook,
    priority: i32,
) {
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
}

fn add(batch: &mut Batch<'static>, chain: &'static str, statements: Vec<Statement<'static>>) {
    batch.add(NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.into(),
        expr: statements.into(),
        ..Rule::default()
    }));
}

fn is(left: Expression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

fn interface(key: MetaKey, op: Operator, name: &str) -> Statement<'static> {
    is(meta(key), op, Expression::String(name.to_owned().into()))
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: protocol.into(),
        field: field.into(),
    })))
}

fn address(subnet: &IpNetwork, end: &'static str) -> Expression<'static> {
    field(if subnet.is_ipv4() { "ip" } else { "ip6" }, end)
}

fn prefix(subnet: &IpNetwork) -> Expression<'static> {
    prefix_of(subnet.network().to_string(), subnet.prefix())
}

/// RFC 5771 and RFC 4291 section 2.7.
fn multicast(subnet: &IpNetwork) -> Expression<'static> {
    if subnet.is_ipv4() { prefix_of("224.0.0.0".to_owned(), 4) } else { prefix_of("ff00::".to_owned(), 8) }
}

fn prefix_of(network: String, length: u8) -> Expression<'static> {
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(Expression::String(network.into())),
        len: length.into(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn state(exposed: &[&str]) -> FirewallState {
        FirewallState {
            bridge: "weave".to_owned(),
            exposed: exposed.iter().map(|address| address.parse().unwrap()).collect(),
            router_port: 6783,
            further_ports: Vec::new(),
        }
    }

    #[test]
    fn containers_are_kept_from_all_ports_of_the_router_and_from_no_others() {
        let on = |ip: &str| TcpPort { ip: ip.parse().ok(), port: 443 };
        let further_ports = vec![on("*"), on("198.18.0.1"), on("fd00::1"), on("::")];
        let rules = rules_of(&FirewallState { further_ports, ..state(&[]) }, "input");
        assert_eq!(rules.len(), 3 * 5);
        let count = |text: &str| rules.iter().filter(|rule| rule.contains(text)).count();
        assert_eq!(count(r#"{"drop":null}"#), 15);
        assert_eq!(count("443"), 12);
        assert_eq!((count("198.18.0.1"), count("fd00::1"), count("daddr")), (3, 3, 6));
    }

    fn commands(state: &FirewallState) -> Vec<Value> {
        serde_json::to_value(rules(state)).unwrap()["nftables"].as_array().unwrap().clone()
    }

    fn rules_of(state: &FirewallState, chain: &str) -> Vec<String> {
        commands(state)
            .iter()
            .filter(|command| command["add"]["rule"]["chain"] == chain)
            .map(|command| command["add"]["rule"]["expr"].to_string())
            .collect()
    }

    #[test]
    fn the_old_table_goes_and_the_new_one_comes_in_the_same_transaction() {
        let commands = commands(&state(&[]));
        assert_eq!(commands[0]["add"]["table"]["name"], "weave");
        assert_eq!(commands[1]["delete"]["table"]["name"], "weave");
        assert_eq!(commands[2]["add"]["table"]["family"], "inet");
    }

    #[test]
    fn without_exposed_addresses_nothing_is_translated() {
        assert!(rules_of(&state(&[]), "postrouting").is_empty());
    }

    #[test]
    fn without_exposed_addresses_the_kernel_need_not_track_connections() {
        let text = |exposed: &[&str]| serde_json::to_string(&rules(&state(exposed))).unwrap();
        let tracks = |text: &str| text.contains(r#""ct""#) || text.contains(r#""type":"nat""#);
        assert!(!tracks(&text(&[])));
        assert!(tracks(&text(&["192.168.122.100/24"])));
    }

    #[test]
    fn each_exposed_subnet_is_translated_both_ways() {
        let rules = rules_of(&state(&["192.168.122.100/24", "fd00::100/64"]), "postrouting");
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
            let rules = rules_of(&state(exposed), "forward");
            let drops: Vec<_> = rules.iter().filter(|rule| rule.contains(r#"{"drop":null}"#)).collect();
            assert_eq!(drops.len(), DOCKER_BRIDGES.len());
            assert!(drops.iter().all(|rule| rule.contains(r#""right":"weave""#)));
        }
    }

    #[test]
    fn the_routers_port_is_closed_to_containers() {
        let rules = rules_of(&state(&[]), "input");
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|rule| rule.contains("6783") && rule.contains("drop")));
    }

    #[test]
    fn what_is_sent_to_nft_reads_back_as_the_same_rules() {
        let rules = rules(&state(&["10.2.1.1/16"]));
        let json = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<Nftables<'_>>(&json).unwrap(), rules);
    }
}
