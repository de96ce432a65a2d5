//! What the rules are put together from: a transaction for one table, and the expressions of libnftables-json(5).

use std::borrow::Cow;

use ipnetwork::IpNetwork;
use nftables::batch::Batch;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix};
use nftables::schema::{Chain, NfListObject, Rule, Table};
use nftables::stmt::{Match, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use super::TABLE;

/// Priorities of nftables' standard hooks (nft(8), "standard priority names").
pub(super) const FILTER: i32 = 0;
pub(super) const SRCNAT: i32 = 100;

/// Where the kernel shows packets to a chain.
pub(super) struct Hook {
    pub(super) kind: NfChainType,
    pub(super) at: NfHook,
    pub(super) priority: i32,
    /// The one interface whose packets are shown, where packets come in.
    pub(super) device: Option<String>,
}

/// Our table of one family, within a transaction.
pub(super) struct OurTable<'a> {
    batch: &'a mut Batch<'static>,
    family: NfFamily,
}

impl<'a> OurTable<'a> {
    /// Removes what the table held, and makes it anew.
    pub(super) fn anew(batch: &'a mut Batch<'static>, family: NfFamily) -> Self {
        Self::remove(batch, family);
        batch.add(NfListObject::Table(table(family)));
        Self { batch, family }
    }

    /// Adding a table that exists is no error, deleting one that does not is: after both it is gone in any case.
    pub(super) fn remove(batch: &mut Batch<'static>, family: NfFamily) {
        batch.add(NfListObject::Table(table(family)));
        batch.delete(NfListObject::Table(table(family)));
    }

    /// A chain that packets meet at `hook`, or that others jump to.
    pub(super) fn chain(&mut self, name: String, hook: Option<Hook>) {
        let mut chain =
            Chain { family: self.family, table: TABLE.into(), name: name.into(), ..Chain::default() };
        if let Some(hook) = hook {
            chain._type = Some(hook.kind);
            chain.hook = Some(hook.at);
            chain.prio = Some(hook.priority);
            chain.dev = hook.device.map(Into::into);
            chain.policy = Some(NfChainPolicy::Accept);
        }
        self.batch.add(NfListObject::Chain(chain));
    }

    pub(super) fn rule(&mut self, chain: &str, statements: Vec<Statement<'static>>) {
        self.batch.add(NfListObject::Rule(Rule {
            family: self.family,
            table: TABLE.into(),
            chain: chain.to_owned().into(),
            expr: statements.into(),
            ..Rule::default()
        }));
    }
}

const fn table(family: NfFamily) -> Table<'static> {
    Table { family, name: Cow::Borrowed(TABLE), handle: None }
}

pub(super) fn is(left: Expression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

pub(super) fn interface(key: MetaKey, op: Operator, name: &str) -> Statement<'static> {
    is(meta(key), op, Expression::String(name.to_owned().into()))
}

pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: protocol.into(),
        field: field.into(),
    })))
}

pub(super) fn address(subnet: &IpNetwork, end: &'static str) -> Expression<'static> {
    field(if subnet.is_ipv4() { "ip" } else { "ip6" }, end)
}

pub(super) fn prefix(subnet: &IpNetwork) -> Expression<'static> {
    prefix_of(subnet.network().to_string(), subnet.prefix())
}

/// RFC 5771 and RFC 4291 section 2.7.
pub(super) fn multicast(subnet: &IpNetwork) -> Expression<'static> {
    if subnet.is_ipv4() { prefix_of("224.0.0.0".to_owned(), 4) } else { prefix_of("ff00::".to_owned(), 8) }
}

pub(super) fn prefix_of(network: String, length: u8) -> Expression<'static> {
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(Expression::String(network.into())),
        len: length.into(),
    }))
}
