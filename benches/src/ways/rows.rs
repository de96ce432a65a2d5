//! The rows of the table: what two hosts are behind, and how frames between them ought to travel.

use std::time::Duration;

use testbed::world::{Conditions, Gate, Nat, PROXY, Plan, Together, Wall, Way, proxy_url};

/// One row.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) conditions: Conditions,
    /// What the routers are launched with: a, b, and the common peers.
    pub(crate) arguments: [Vec<String>; 3],
    /// The port of the common peer that is connected to, if it is not the usual one.
    pub(crate) port: Option<u16>,
    pub(crate) expected: Way,
    /// How long finding it may take.
    pub(crate) within: Duration,
}

/// The goal for the final way; and where ports are guessed: what is seen of the NATs is stated after 10 s, and one try takes 15 s.
const WITHIN: Duration = Duration::from_secs(5);
const WITHIN_GUESSED: Duration = Duration::from_secs(30);

/// Kinds of NAT, every pair of which is a row.
const NATS: [(Nat, &str); 5] = [
    (Nat::None, "none"),
    (Nat::FullCone, "full cone"),
    (Nat::Masquerade, "masquerade"),
    (Nat::Double, "double"),
    (Nat::Symmetric, "symmetric"),
];

/// All rows, in the order of the table.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = pairs();
    rows.extend(one_gate());
    rows.push(Row::of("mapping router, symmetric", Plan::of(Nat::Mapping, Nat::Symmetric), Way::Udp));
    rows.push(guessed());
    rows.extend(walls());
    rows.extend(narrow());
    rows
}

fn pairs() -> Vec<Row> {
    let mut rows = Vec::new();
    for (k, (a, name)) in NATS.into_iter().enumerate() {
        for (b, other) in &NATS[k..] {
            rows.push(Row::of(&format!("{name}, {other}"), Plan::of(a, *b), between(a, *b)));
        }
    }
    rows
}

/// Direct, but where one end's port cannot be known to the other and the other lets in only whom it wrote to.
fn between(a: Nat, b: Nat) -> Way {
    let strict = |nat| matches!(nat, Nat::Masquerade | Nat::Double | Nat::Symmetric);
    let unknown = |nat| nat == Nat::Symmetric;
    if unknown(a) && strict(b) || unknown(b) && strict(a) { Way::Relay } else { Way::Udp }
}

fn one_gate() -> Vec<Row> {
    let plan = Plan::of(Nat::Masquerade, Nat::Masquerade);
    let row =
        |together, name: &str, expected| Row::of(name, Plan { together: Some(together), ..plan }, expected);
    let mut hairpin = row(Together::Hairpin, "one NAT, two networks, hairpin", Way::Udp);
    hairpin.arguments[1] = words(&["--port=6784"]);
    // Else the port of b would be meant.
    hairpin.port = Some(6783);
    vec![
        row(Together::OneLan, "one NAT, one network", Way::Udp),
        row(Together::Apart, "one NAT, two networks", Way::Relay),
        hairpin,
    ]
}

/// What would be relayed, with ports guessed. It takes two peers that see a NAT to know it.
fn guessed() -> Row {
    let plan = Plan { common: 2, ..Plan::of(Nat::Masquerade, Nat::Symmetric) };
    let mut row = Row::of("masquerade, symmetric, --guess-ports", plan, Way::Udp);
    for arguments in &mut row.arguments[..2] {
        *arguments = words(&["--guess-ports"]);
    }
    row.within = WITHIN_GUESSED;
    row
}

fn walls() -> Vec<Row> {
    let both = |wall: Wall| Plan::of(wall, wall);
    let natted = |wall: Wall| {
        let gate = Gate { nat: Nat::Masquerade, wall: Some(wall) };
        Plan::of(gate, gate)
    };
    let one = |wall: Wall| Plan::of(wall, Nat::None);
    let mut rows = vec![
        Row::of("UDP dropped", one(Wall::UdpDropped), Way::Tls),
        Row::of("UDP dropped, UDP dropped", both(Wall::UdpDropped), Way::Tls),
        Row::of("UDP rejected", one(Wall::UdpRejected), Way::Tls),
        Row::of("UDP rejected, UDP rejected", both(Wall::UdpRejected), Way::Tls),
        Row::of("UDP dropped and masquerade, the same", natted(Wall::UdpDropped), Way::Tls),
        Row::of("nothing comes in, the same", both(Wall::NothingIn), Way::Udp),
    ];
    let listen = words(&["--listen=0.0.0.0:443"]);
    for (name, peer_too) in [("only TCP 443 goes out", false), ("only TCP 443 goes out, peer on 443", true)] {
        let mut row = Row::of(name, one(Wall::OnlyTcp443), if peer_too { Way::Tls } else { Way::Relay });
        row.arguments[2].clone_from(&listen);
        if peer_too {
            row.arguments[1].clone_from(&listen);
        }
        row.port = Some(443);
        rows.push(row);
    }
    for (name, login, peer_too) in [
        ("only through squid", false, false),
        ("only through squid with password", true, false),
        ("only through squid with password, peer on 443", true, true),
    ] {
        let plan = Plan { proxy: Some(login), ..one(PROXY) };
        let mut row = Row::of(name, plan, if peer_too { Way::Tls } else { Way::Relay });
        row.arguments[0] = vec![format!("--http-proxy={}", proxy_url(login))];
        row.arguments[2].clone_from(&listen);
        if peer_too {
            row.arguments[1].clone_from(&listen);
        }
        row.port = Some(443);
        rows.push(row);
    }
    rows
}

fn narrow() -> Vec<Row> {
    let plan = Plan::of(Nat::None, Nat::None);
    let ipv6 = Row::of("IPv6 only", Plan { ipv6: true, ..plan }, Way::Udp);
    let cut = Conditions { mtu: Some(1280), ..Conditions::default() };
    let mut silent = Row::of("MTU 1280, ICMP dropped", plan, Way::Udp);
    silent.conditions = cut;
    let mut told = Row::of("MTU 1280, ICMP passes", plan, Way::Udp);
    told.conditions = Conditions { too_big_told: true, ..cut };
    let mut jumbo = Row::of("MTU 9000", Plan { mtu: 9000, ..plan }, Way::Udp);
    for arguments in &mut jumbo.arguments {
        *arguments = words(&["--mtu=8917"]);
    }
    vec![ipv6, silent, told, jumbo]
}

impl Row {
    fn of(name: &str, plan: Plan, expected: Way) -> Self {
        let (name, conditions, arguments) = (name.into(), Conditions::default(), Default::default());
        Self { name, plan, conditions, arguments, port: None, expected, within: WITHIN }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).into()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_of_nats_is_there_once_and_only_symmetric_ones_need_a_relay() {
        let pairs = pairs();
        assert_eq!(pairs.len(), 15);
        let relayed: Vec<_> = pairs.iter().filter(|row| row.expected == Way::Relay).collect();
        assert_eq!(relayed.len(), 3);
        assert!(relayed.iter().all(|row| row.name.contains("symmetric")));
        let open = pairs.iter().find(|row| row.name == "full cone, symmetric").unwrap();
        assert_eq!(open.expected, Way::Udp);
    }

    #[test]
    fn names_of_rows_are_different() {
        let rows = all();
        let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
        assert_eq!(names.len(), rows.len());
    }
}
