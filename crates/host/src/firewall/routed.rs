//! Packets that the host routes into the overlay or out of it.

use nftables::expr::{CT, Expression, MetaKey, NamedExpression};
use nftables::stmt::{Operator, Statement};
use nftables::types::{NfChainType, NfHook};

use super::nft::{FILTER, Hook, OurTable, SRCNAT, address, interface, is, meta, multicast, prefix};
use super::{DOCKER_BRIDGES, FirewallState};

/// Containers of an exposed subnet reach hosts beyond ours, and these reach them, by way of our address, since neither side has
/// a route to the other. Multicast stays unchanged.
pub(super) fn postrouting(table: &mut OurTable<'_>, state: &FirewallState) {
    if state.exposed.is_empty() {
        return;
    }
    let chain = "postrouting";
    let hook = Hook { kind: NfChainType::NAT, at: NfHook::Postrouting, priority: SRCNAT, device: None };
    table.chain(chain.to_owned(), Some(hook));
    for subnet in &state.exposed {
        let (source, destination) = (address(subnet, "saddr"), address(subnet, "daddr"));
        // From the overlay into the world.
        table.rule(
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
        table.rule(
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

/// Docker's own networks do not reach the bridge. A container that is in two worlds must not get into another subnet of the overlay
/// by way of the host.
pub(super) fn forward(table: &mut OurTable<'_>, state: &FirewallState) {
    let chain = "forward";
    let hook = Hook { kind: NfChainType::Filter, at: NfHook::Forward, priority: FILTER, device: None };
    table.chain(chain.to_owned(), Some(hook));
    // The host has no address among the containers before one is exposed, and nothing to answer Docker's for.
    if !state.exposed.is_empty() {
        let answers =
            Expression::List(["established", "related"].map(|state| Expression::String(state.into())).into());
        let state_of =
            Expression::Named(NamedExpression::CT(CT { key: "state".into(), family: None, dir: None }));
        table.rule(chain, vec![is(state_of, Operator::IN, answers), Statement::Accept(None)]);
    }
    for docker in DOCKER_BRIDGES {
        table.rule(
            chain,
            vec![
                interface(MetaKey::Iifname, Operator::EQ, docker),
                interface(MetaKey::Oifname, Operator::EQ, &state.bridge),
                Statement::Drop(None),
            ],
        );
    }
}
