//! Packets that get lost on the way between hosts.

use crate::Lab;

/// A switch that loses packets; it stops to when this is dropped.
pub struct Loss<'a> {
    lab: &'a Lab,
}

impl Lab {
    /// Has the switch lose `per_mille` of a thousand IP packets that hosts send each other, each at random.
    ///
    /// What crosses the switch whole is lost whole: on [`Underlay::Offload`](crate::Underlay::Offload) that is up to
    /// 64 KiB.
    pub fn lose(&self, per_mille: u32) -> Loss<'_> {
        assert!(per_mille <= 1000, "{per_mille} of a thousand packets cannot be lost");
        let ports: Vec<_> = self.hosts().iter().map(|host| format!("port{}", host.number())).collect();
        // Where a packet comes in, before any host could merge it with others.
        let rules = format!(
            "table netdev {TABLE} {{
                counter crossed {{ }}
                counter lost {{ }}
                chain in {{
                    type filter hook ingress devices = {{ {} }} priority 0
                    meta protocol {{ ip, ip6 }} counter name crossed
                    meta protocol {{ ip, ip6 }} numgen random mod 1000 < {per_mille} counter name lost drop
                }}
            }}",
            ports.join(", ")
        );
        self.world().exec(&["nft", &rules]).ok();
        Loss { lab: self }
    }
}

impl Loss<'_> {
    /// How many packets came to the switch since.
    pub fn crossed(&self) -> u64 {
        self.counter("crossed")
    }

    /// How many of these it lost.
    pub fn lost(&self) -> u64 {
        self.counter("lost")
    }

    fn counter(&self, name: &str) -> u64 {
        let text = self.lab.world().exec(&["nft", "list", "counter", "netdev", TABLE, name]).ok();
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        let packets = words.next().and_then(|number| number.parse().ok());
        packets.unwrap_or_else(|| panic!("no number of packets in: {text}"))
    }
}

impl Drop for Loss<'_> {
    fn drop(&mut self) {
        self.lab.world().exec(&["nft", "delete", "table", "netdev", TABLE]);
    }
}

const TABLE: &str = "lose";
