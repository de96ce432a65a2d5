//! Keeping containers from the router's ports. They could pose as a peer, or make the overlay its own underlay.
//!
//! Whatever hangs at the hook *input* of `inet` is shown every packet that the host receives, each datagram of the underlay included:
//! three rules there cost 4 to 6 % of what TCP gets on a cable without offloads (docs/experiments.md). So the rules hang where packets
//! come in from containers' bridges, and from nowhere else (hook *ingress* of `netdev`, since Linux 4.2). They are for packets
//! whose destination is the host; what it only routes to the same port of somebody else passes.
//!
//! A chain at an interface needs that interface, so there is one for each bridge there is, and another when Docker makes another
//! ([`NewBridges`](super::NewBridges)). Where the kernel lacks what this takes the rules are at *input* after all.

use ipnetwork::IpNetwork;
use nftables::expr::{Expression, Fib, FibFlag, FibResult, MetaKey, NamedExpression, SetItem};
use nftables::stmt::{JumpTarget, Operator, Statement};
use nftables::types::{NfChainType, NfHook};

use super::nft::{FILTER, Hook, OurTable, address, field, interface, is, meta};
use super::{DOCKER_BRIDGES, FirewallState};

/// The chain at the hook of the same name.
pub(super) const INPUT: &str = "input";
/// The chain that those of all bridges jump to.
const PORTS: &str = "ports";

/// Closes the ports where packets come in from these bridges.
pub(super) fn ingress(table: &mut OurTable<'_>, state: &FirewallState, bridges: &[String]) {
    table.chain(PORTS.to_owned(), None);
    let to_the_host = is(
        Expression::Named(NamedExpression::Fib(Fib {
            result: FibResult::Type,
            flags: [FibFlag::Daddr].into(),
        })),
        // Broadcast and multicast reach the host as well.
        Operator::NEQ,
        Expression::String("unicast".into()),
    );
    for mut port in ports(state) {
        port.extend([to_the_host.clone(), Statement::Drop(None)]);
        table.rule(PORTS, port);
    }
    for bridge in bridges {
        let device = Some(bridge.clone());
        let hook = Hook { kind: NfChainType::Filter, at: NfHook::Ingress, priority: FILTER, device };
        table.chain(bridge.clone(), Some(hook));
        table.rule(bridge, vec![Statement::Jump(JumpTarget { target: PORTS.into() })]);
    }
}

/// Closes the ports for whatever came by a container's bridge, among all that is for the host.
pub(super) fn input(table: &mut OurTable<'_>, state: &FirewallState) {
    let hook = Hook { kind: NfChainType::Filter, at: NfHook::Input, priority: FILTER, device: None };
    table.chain(INPUT.to_owned(), Some(hook));
    for from in DOCKER_BRIDGES.into_iter().chain([state.bridge.as_str()]) {
        for port in ports(state) {
            let mut statements = vec![interface(MetaKey::Iifname, Operator::EQ, from)];
            statements.extend(port);
            statements.push(Statement::Drop(None));
            table.rule(INPUT, statements);
        }
    }
}

/// What is in a packet for each port of the router.
fn ports(state: &FirewallState) -> Vec<Vec<Statement<'static>>> {
    // Where the port stands is the same in both protocols (`th`, nft(8)). Other protocols have no such bytes.
    let transports = ["tcp", "udp"].map(|name| SetItem::Element(Expression::String(name.into())));
    let transport = Expression::Named(NamedExpression::Set(transports.into()));
    let mut ports = vec![vec![
        is(meta(MetaKey::L4proto), Operator::EQ, transport),
        is(field("th", "dport"), Operator::EQ, Expression::Number(state.router_port.into())),
    ]];
    for further in &state.further_ports {
        // The same port of another address may be somebody else's, whom containers may talk to.
        let to = further.ip.filter(|ip| !ip.is_unspecified()).map(|ip| {
            let ip = ip.to_canonical();
            let address = address(&IpNetwork::from(ip), "daddr");
            is(address, Operator::EQ, Expression::String(ip.to_string().into()))
        });
        let port = is(field("tcp", "dport"), Operator::EQ, Expression::Number(further.port.into()));
        ports.push(to.into_iter().chain([port]).collect());
    }
    ports
}
