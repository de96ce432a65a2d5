//! Dropping a share of the underlay's packets at random, where each host receives them.

use anyhow::{Context, Result};

use crate::hosts::{Hosts, PATIENCE, Place};
use crate::results::DropCheck;

/// In force until it is dropped.
pub(crate) struct Drops<'a> {
    hosts: &'a Hosts,
    pair: [usize; 2],
    per_mille: u32,
}

impl<'a> Drops<'a> {
    /// Drops `per_mille` of 1000 packets that come to either of two hosts. ARP stays: a lost answer costs a second and
    /// says nothing about an overlay.
    ///
    /// # Errors
    /// nft is not there, or cannot do this with this kernel.
    pub(crate) fn at(hosts: &'a Hosts, pair: [usize; 2], per_mille: u32) -> Result<Self> {
        let drops = Self { hosts, pair, per_mille };
        for k in pair {
            let rules = format!(
                "nft -f - <<-EOF
                table netdev lossy {{
                  chain in {{
                    type filter hook ingress device \"eth0\" priority 0;
                    ether type arp accept
                    counter
                    numgen random mod 1000 < {per_mille} counter drop
                  }}
                }}\nEOF"
            );
            hosts.shell(k, &rules).context("cannot drop packets at random")?;
        }
        Ok(drops)
    }

    /// What came and what was dropped so far.
    pub(crate) fn check(&self) -> Result<DropCheck> {
        let mut check =
            DropCheck { wanted_percent: f64::from(self.per_mille) / 10.0, packets: 0, dropped: 0 };
        for k in self.pair {
            let listed =
                self.hosts.run(&Place::host(k), PATIENCE, &["nft", "list", "table", "netdev", "lossy"])?;
            let [packets, dropped] = counted(&listed).with_context(|| format!("no counters in {listed}"))?;
            check.packets += packets;
            check.dropped += dropped;
        }
        Ok(check)
    }
}

impl Drop for Drops<'_> {
    fn drop(&mut self) {
        for k in self.pair {
            // A host that is gone drops nothing.
            let _ = self.hosts.run(&Place::host(k), PATIENCE, &["nft", "delete", "table", "netdev", "lossy"]);
        }
    }
}

/// The packets of the two counters.
fn counted(listed: &str) -> Option<[u64; 2]> {
    let mut words = listed.split_whitespace();
    let mut next = || {
        words.find(|&word| word == "packets")?;
        words.next()?.parse().ok()
    };
    Some([next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counters_are_read() {
        let listed = "table netdev lossy {\n chain in {\n  type filter hook ingress device \"eth0\" priority 0; \
                      policy accept;\n  counter packets 2000 bytes 168000\n  numgen random mod 1000 < 10 counter \
                      packets 21 bytes 1764 drop\n }\n}";
        assert_eq!(counted(listed), Some([2000, 21]));
        assert_eq!(counted("counter packets 7 bytes 8"), None);
    }
}
