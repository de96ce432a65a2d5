//! What was measured, as data: the table, the goals, the plot and `bench.json` are views of this.

use std::collections::BTreeMap;

use benches::stats::Summary;
use clap::ValueEnum;
use serde::Serialize;

/// What the wire between the hosts can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Underlay {
    /// Segments of up to 64 KiB cross it whole, as between the virtual machines of one hypervisor.
    Offload,
    /// Nothing longer than 1514 bytes crosses it, as on a cable, and no card joins what comes from it.
    Plain,
}

impl Underlay {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offload => "offload",
            Self::Plain => "plain",
        }
    }
}

/// What kind of network a variant is; in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Host to host over the underlay itself.
    NoOverlay,
    /// An overlay of the kernel, not encrypted.
    Kernel,
    Ours,
    /// Another program that carries Ethernet frames.
    RivalL2,
    /// Another program that carries IP packets: one hop less, no bridge, no container.
    RivalL3,
}

impl Kind {
    /// Whether goals speak of it.
    pub(crate) fn main(self) -> bool {
        matches!(self, Self::NoOverlay | Self::Kernel | Self::Ours)
    }
}

/// One column of the table or one input of a goal; the unit is part of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    Tcp1Gbps,
    Tcp4Gbps,
    /// Sum of both directions.
    TcpBothGbps,
    Udp1200Kpps,
    Udp64Kpps,
    /// Of what the sender, paced to 100 kpps, has offered.
    PacedLossPercent,
    PacedOfferedKpps,
    PingMedianUs,
    PingP99Us,
    /// During TCP with one stream.
    PingLoadMedianUs,
    PingLoadP99Us,
    /// User and system time of the daemons of both ends per GB received, TCP with one stream.
    DaemonsSecondsPerGb,
    /// All time in which a processor of this machine was not idle, likewise.
    MachineSecondsPerGb,
    /// User and system time of the daemons of both ends per packet received, UDP 1200 B.
    DaemonsUsPerPacket,
    /// Of one processor, used by the daemons of both ends together before the first load.
    IdlePercent,
    /// The larger of both ends.
    ResidentIdleMib,
    ResidentAfterMib,
    /// TCP with one stream while 0.1 % or 1 % of the underlay's packets are dropped.
    TcpLoss01Gbps,
    TcpLoss1Gbps,
    /// UDP 1200 B to one receiver and to a group, sent by the same program.
    UnicastKpps,
    MulticastKpps,
}

/// The values of one variant on one underlay.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) variant: String,
    pub(crate) kind: Kind,
    pub(crate) mtu: u32,
    /// Why it could not be measured at all.
    pub(crate) failure: Option<String>,
    /// In the order of the runs.
    pub(crate) samples: BTreeMap<Metric, Vec<f64>>,
    /// Single runs that gave no value.
    pub(crate) troubles: Vec<String>,
}

impl Row {
    pub(crate) fn new(variant: &str, kind: Kind, mtu: u32) -> Self {
        let (variant, samples, troubles) = (variant.into(), BTreeMap::new(), Vec::new());
        Self { variant, kind, mtu, failure: None, samples, troubles }
    }

    pub(crate) fn add(&mut self, metric: Metric, value: f64) {
        self.samples.entry(metric).or_default().push(value);
    }

    pub(crate) fn summary(&self, metric: Metric) -> Option<Summary> {
        Summary::of(self.samples.get(&metric)?)
    }

    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        Some(self.summary(metric)?.median)
    }
}

/// What crossed the underlay while a variant carried TCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WireCheck {
    pub(crate) variant: String,
    /// How many packets were looked at.
    pub(crate) packets: usize,
    /// Of them, longer than 1514 bytes.
    pub(crate) long: usize,
    /// In bytes, from the Ethernet header on.
    pub(crate) longest: u32,
}

/// The share of the underlay's packets that were dropped on purpose.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DropCheck {
    pub(crate) wanted_percent: f64,
    pub(crate) packets: u64,
    pub(crate) dropped: u64,
}

impl DropCheck {
    /// One for each wanted share, all runs together.
    pub(crate) fn summed(checks: &[Self]) -> Vec<Self> {
        let mut sums: Vec<Self> = Vec::new();
        for check in checks {
            match sums.iter_mut().find(|sum| sum.wanted_percent == check.wanted_percent) {
                Some(sum) => {
                    sum.packets += check.packets;
                    sum.dropped += check.dropped;
                }
                None => sums.push(check.clone()),
            }
        }
        sums
    }

    /// The share that was dropped.
    pub(crate) fn percent(&self) -> f64 {
        self.dropped as f64 / (self.packets as f64).max(1.0) * 100.0
    }
}

/// All that was measured on one underlay.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Batch {
    pub(crate) underlay: Underlay,
    pub(crate) wire: Vec<WireCheck>,
    pub(crate) drops: Vec<DropCheck>,
    pub(crate) rows: Vec<Row>,
    /// Share of the machine's time that its hypervisor gave to others meanwhile.
    pub(crate) steal_percent: f64,
}

impl Batch {
    /// Whether the underlay was what it is called. Without a look at the wire nothing is known, and so not.
    pub(crate) fn valid(&self) -> bool {
        match self.underlay {
            Underlay::Offload => true,
            Underlay::Plain => {
                !self.wire.is_empty() && self.wire.iter().all(|check| check.packets > 0 && check.long == 0)
            }
        }
    }

    pub(crate) fn row(&self, variant: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.variant == variant)
    }

    pub(crate) fn median(&self, variant: &str, metric: Metric) -> Option<f64> {
        self.row(variant)?.median(metric)
    }
}

/// In kpps: with less, the run that is paced to 100 kpps says nothing about loss at 100 kpps.
pub(crate) const ENOUGH_OFFERED: f64 = 95.0;

/// Names of the variants that goals refer to.
pub(crate) const NO_OVERLAY: &str = "no overlay";
pub(crate) const VXLAN: &str = "kernel VXLAN";
pub(crate) const UDP: &str = "weave udp";
pub(crate) const TLS: &str = "weave tls";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_underlay_is_valid_only_if_it_was_looked_at_and_no_packet_was_long() {
        let check = |packets, long| WireCheck { variant: UDP.into(), packets, long, longest: 1514 };
        let batch =
            |underlay, wire| Batch { underlay, wire, drops: vec![], rows: vec![], steal_percent: 0.0 };
        assert!(batch(Underlay::Plain, vec![check(900, 0), check(500, 0)]).valid());
        assert!(!batch(Underlay::Plain, vec![check(900, 0), check(500, 1)]).valid());
        assert!(!batch(Underlay::Plain, vec![check(900, 0), check(0, 0)]).valid());
        assert!(!batch(Underlay::Plain, vec![]).valid());
        assert!(batch(Underlay::Offload, vec![check(900, 800)]).valid());
    }
}
