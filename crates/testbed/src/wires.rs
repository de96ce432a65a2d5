//! Which hosts can talk to which: a network in which not everyone reaches everyone, and that breaks.

use crate::{Host, Lab};

/// How a wire is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ends are told: TCP connections are reset at once, and whatever else is sent is refused by ICMP.
    Reset,
    /// What is sent gets lost, and nobody is told.
    Silent,
    /// Only what the first host sends to the second still arrives.
    OneWay,
    /// Only TCP gets lost.
    Tcp,
}

/// What becomes of the packets of one host to another.
#[derive(Debug, Clone, Copy)]
enum Passage {
    Open,
    Refused,
    Lost,
    NoTcp,
}

/// The wires between the hosts of a lab: only who has one to another can talk to it. All can again when this is dropped.
pub struct Wires<'a> {
    lab: &'a Lab,
}

impl Lab {
    /// Leaves wires between these pairs of hosts only. What others send each other gets lost, over IPv4 and over IPv6.
    /// The rest of the world is within reach of all as before.
    pub fn wired(&self, pairs: &[(usize, usize)]) -> Wires<'_> {
        for (a, b) in pairs {
            assert!(a != b, "a wire needs two ends, not {a} twice");
            self.host(*a);
            self.host(*b);
        }
        let wired = |(from, to)| pairs.iter().any(|(a, b)| (*a, *b) == (from, to) || (*b, *a) == (from, to));
        let mut rules = format!("table netdev {TABLE} {{\n");
        let (mut to4, mut to6) = (Vec::new(), Vec::new());
        for (from, to) in self.ordered_pairs() {
            let passage = if wired((from, to)) { Passage::Open } else { Passage::Lost };
            let name = name(from, to);
            rules.push_str(&format!("counter {name} {{ }}\nchain {name} {{\n{}}}\n", passage.rules(&name)));
            let (from, to) = (self.host(from), self.host(to));
            to4.push(format!("{} . {} : jump {name}", from.address(), to.address()));
            to6.push(format!("{} . {} : jump {name}", from.address6(), to.address6()));
        }
        let ports: Vec<_> = self.hosts().iter().map(|host| format!("port{}", host.number())).collect();
        // Where a packet comes in to the switch. Neighbours find each other's hardware address all the same: what is
        // broken is not this cable but the way behind it.
        let input = format!(
            "chain in {{
                type filter hook ingress devices = {{ {} }} priority 0
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                ip saddr . ip daddr vmap {{ {} }}
                ip6 saddr . ip6 daddr vmap {{ {} }}
            }}\n",
            ports.join(", "),
            to4.join(", "),
            to6.join(", ")
        );
        rules.push_str(&input);
        rules.push('}');
        self.world().exec(&["nft", &rules]).ok();
        Wires { lab: self }
    }

    fn ordered_pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let n = self.hosts().len();
        (1..=n).flat_map(move |from| (1..=n).filter(move |to| *to != from).map(move |to| (from, to)))
    }
}

impl Wires<'_> {
    /// Breaks the wire between two hosts.
    pub fn cut(&self, a: usize, b: usize, how: Cut) {
        let (there, back) = match how {
            Cut::Reset => (Passage::Refused, Passage::Refused),
            Cut::Silent => (Passage::Lost, Passage::Lost),
            Cut::OneWay => (Passage::Open, Passage::Lost),
            Cut::Tcp => (Passage::NoTcp, Passage::NoTcp),
        };
        self.set(a, b, there, back);
        if how == Cut::Reset {
            // The rules would reset a connection only when it is used next.
            let (a, b) = (self.lab.host(a), self.lab.host(b));
            for to in [b.address(), format!("[{}]", b.address6())] {
                a.exec(&["ss", "-tK", "dst", &to]).ok();
            }
        }
    }

    /// Makes the wire between two hosts whole; it need not have been there before.
    pub fn mend(&self, a: usize, b: usize) {
        self.set(a, b, Passage::Open, Passage::Open);
    }

    /// How many bytes of packets have crossed the wire in this direction.
    pub fn crossed(&self, from: usize, to: usize) -> u64 {
        let text = self.switch().exec(&["nft", "list", "counter", "netdev", TABLE, &name(from, to)]).ok();
        let mut words = text.split_whitespace().skip_while(|word| *word != "bytes").skip(1);
        let bytes = words.next().and_then(|number| number.parse().ok());
        bytes.unwrap_or_else(|| panic!("no number of bytes in: {text}"))
    }

    /// Both directions in one transaction: no packet sees the half of it.
    fn set(&self, a: usize, b: usize, there: Passage, back: Passage) {
        let mut rules = String::new();
        for (from, to, passage) in [(a, b, there), (b, a, back)] {
            let name = name(self.lab.host(from).number(), self.lab.host(to).number());
            let body = passage.rules(&name);
            rules.push_str(&format!("flush chain netdev {TABLE} {name}\n"));
            rules.push_str(&format!("table netdev {TABLE} {{\nchain {name} {{\n{body}}}\n}}\n"));
        }
        self.switch().exec(&["nft", &rules]).ok();
    }

    fn switch(&self) -> &Host {
        self.lab.world()
    }
}

impl Drop for Wires<'_> {
    fn drop(&mut self) {
        self.switch().exec(&["nft", "delete", "table", "netdev", TABLE]);
    }
}

impl Passage {
    /// The rules for a packet that goes this way; what passes is counted.
    fn rules(self, counter: &str) -> String {
        match self {
            Self::Open => format!("counter name {counter}\n"),
            Self::Lost => "drop\n".into(),
            Self::NoTcp => format!("meta l4proto tcp drop\ncounter name {counter}\n"),
            // A reset that comes from an end itself is let through: the other one is to hear of it.
            Self::Refused => "tcp flags rst accept\n\
                              meta l4proto tcp reject with tcp reset\n\
                              reject with icmpx port-unreachable\n"
                .into(),
        }
    }
}

fn name(from: usize, to: usize) -> String {
    format!("from{from}to{to}")
}

const TABLE: &str = "wires";
