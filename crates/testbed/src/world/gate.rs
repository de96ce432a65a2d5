//! What stands between a host and the world: NATs and firewalls, as rules of nftables.

/// What a gate does to addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Nothing: the host is in the world with an address of its own.
    None,
    /// Linux `masquerade`: one outer port for all destinations, and only whom the host wrote to gets in.
    Masquerade,
    /// Another outer port, drawn at random, for each destination.
    Symmetric,
    /// As `Masquerade`, with the outer UDP port of the router open to everybody.
    FullCone,
    /// Two of `Masquerade`, one behind the other.
    Double,
    /// As `Masquerade`, by a router that opens ports when it is asked (PCP, NAT-PMP, UPnP): `miniupnpd`.
    Mapping,
}

/// What a gate does not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// UDP gets lost.
    UdpDropped,
    /// UDP is refused by ICMP.
    UdpRejected,
    /// Nothing goes out but TCP to port 443, nothing comes in but its answers.
    OnlyTcp443,
    /// Nothing goes out but TCP to this port of this address, nothing comes in but its answers.
    Only(&'static str, u16),
    /// Nothing comes in but answers to what went out.
    NothingIn,
}

/// The ports of routers on both sides, and that of iperf3, which is led through where there is no overlay to compare with.
pub(super) const PORT: u16 = 6783;
pub(super) const IPERF: u16 = 5201;

impl Nat {
    /// The rules of a gate whose interfaces are `wan` and `lan`; `host` is the address that is led to.
    pub(super) fn rules(self, host: &str) -> String {
        let masquerade = if self == Self::Symmetric { "masquerade fully-random" } else { "masquerade" };
        let cone = match self {
            Self::FullCone => format!("iifname wan udp dport {PORT} dnat to {host}"),
            _ => String::new(),
        };
        let mapping = match self {
            Self::Mapping => MAPPING,
            _ => "",
        };
        // Without the rule for input the gate would answer to what comes too early, and take the tuple that the host
        // needs when it writes there itself.
        format!(
            "table ip gate {{
                chain input {{
                    type filter hook input priority filter
                    iifname wan ct state new drop
                }}
                chain forward {{
                    type filter hook forward priority filter
                    ct status dnat accept
                    iifname wan ct state new drop
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    iifname wan tcp dport {IPERF} dnat to {host}
                    {cone}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname wan {masquerade}
                }}
            }}
            {mapping}"
        )
    }
}

/// Where `miniupnpd` puts what it opens.
const MAPPING: &str = "table inet opened {
    chain miniupnpd { }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
    chain forward {
        type filter hook forward priority filter + 1
        jump miniupnpd
    }
    chain prerouting {
        type nat hook prerouting priority dstnat - 1
        jump prerouting_miniupnpd
    }
    chain postrouting {
        type nat hook postrouting priority srcnat - 1
        jump postrouting_miniupnpd
    }
}";

impl Wall {
    /// The rules of a gate whose interfaces are `wan` and `lan`.
    pub(super) fn rules(self) -> String {
        let out =
            |what: &str| format!("ct state established,related accept\niifname lan {what} accept\ndrop");
        let rules = match self {
            Self::UdpDropped => "meta l4proto udp drop".to_owned(),
            Self::UdpRejected => "meta l4proto udp reject".to_owned(),
            Self::OnlyTcp443 => out("tcp dport 443"),
            Self::Only(address, port) => out(&format!("ip daddr {address} tcp dport {port}")),
            Self::NothingIn => "iifname wan ct state new drop".to_owned(),
        };
        format!(
            "table inet wall {{
                chain forward {{
                    type filter hook forward priority filter
                    {rules}
                }}
            }}"
        )
    }
}

/// The one gate of two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Both are in one network behind it.
    OneLan,
    /// Each in a network of its own, and the gate carries nothing between these.
    Apart,
    /// Likewise, but what one sends to the other's outer port is led there (RFC 4787 section 6).
    Hairpin,
}

impl Together {
    /// The rules of the gate, with the hosts on `lan1` and `lan2`; `outer` is its address in the world.
    pub(super) fn rules(self, outer: &str, hosts: [&str; 2]) -> String {
        let [first, second] = hosts;
        let apart = match self {
            Self::OneLan => "",
            Self::Apart | Self::Hairpin => "iifname lan* oifname lan* drop",
        };
        let (dnat, snat) = match self {
            Self::OneLan | Self::Apart => (String::new(), String::new()),
            Self::Hairpin => (
                format!(
                    "ip daddr {outer} udp dport {PORT} dnat to {first}
                    ip daddr {outer} udp dport {} dnat to {second}:{}",
                    PORT + 1,
                    PORT + 1
                ),
                format!("iifname lan* oifname lan* ct status dnat snat to {outer}"),
            ),
        };
        format!(
            "table ip gate {{
                chain input {{
                    type filter hook input priority filter
                    iifname wan ct state new drop
                }}
                chain forward {{
                    type filter hook forward priority filter
                    ct status dnat accept
                    iifname wan ct state new drop
                    {apart}
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    ip daddr {outer} tcp dport {IPERF} dnat to {second}
                    {dnat}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    {snat}
                    iifname lan* oifname lan* ct status dnat masquerade
                    oifname wan masquerade
                }}
            }}"
        )
    }
}
