//! Prometheus metrics. `docs/metrics.md` lists them.
//!
//! The registry is made anew for each scrape from one report: the data path counts in plain integers of its own, and a peer that
//! is gone leaves nothing behind.

use std::collections::BTreeMap;

use api::{ConnectionState, Report};
use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::containers::HOST_ID;
use crate::core::{CoreReport, PathReport};

const DIRECTIONS: [&str; 2] = ["in", "out"];

/// The scrape.
pub(crate) fn render(report: &Report, core: &CoreReport) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        connections(report);
        core.paths.iter().for_each(path);
        for (reason, n) in &core.drops {
            counter!("weave_drops_total", "reason" => reason.clone()).absolute(*n);
        }
        gauge!("weave_peers").set(core.peers.len() as f64);
        gauge!("weave_mac_entries").set(core.macs.len() as f64);
        let containers = report.attachments.iter().filter(|entry| entry.id != HOST_ID).count();
        gauge!("weave_attachments").set(containers as f64);
        let offloads = &report.router.offloads;
        for (kind, on) in [
            ("tap_tcp", offloads.tso),
            ("tap_udp", offloads.uso),
            ("udp_segment", offloads.segmentation),
            ("udp_gro", offloads.coalescing),
        ] {
            gauge!("weave_offload", "kind" => kind).set(f64::from(u8::from(on)));
        }
        gauge!("weave_build_info", "version" => report.version.clone()).set(1.0);
        mesh(core);
    });
    handle.render()
}

/// The original's gauge and counter, with the labels that still mean something.
fn connections(report: &Report) {
    let mut by_label = BTreeMap::<_, u64>::new();
    for connection in &report.router.connections {
        let transport = connection.transport.map(|t| t.to_string()).unwrap_or_else(|| "unknown".into());
        *by_label.entry((connection.state, transport)).or_default() += 1;
    }
    for state in [
        ConnectionState::Established,
        ConnectionState::Pending,
        ConnectionState::Failed,
        ConnectionState::Retrying,
    ] {
        if !by_label.keys().any(|(s, _)| *s == state) {
            by_label.insert((state, "unknown".into()), 0);
        }
    }
    for ((state, transport), n) in by_label {
        gauge!("weave_connections", "state" => state.to_string(), "type" => transport, "encryption" => "yes")
            .set(n as f64);
    }
}

fn path(path: &PathReport) {
    let labels = || {
        [
            ("peer", path.peer.clone()),
            ("nickname", path.nickname.clone()),
            ("transport", path.kind.name().to_owned()),
        ]
    };
    let with = |key: &'static str, value: &'static str| {
        let mut all = labels().to_vec();
        all.push((key, value.to_owned()));
        all
    };
    for (i, direction) in DIRECTIONS.into_iter().enumerate() {
        counter!("weave_peer_frames_total", &with("direction", direction)).absolute(path.frames[i]);
        counter!("weave_peer_bytes_total", &with("direction", direction)).absolute(path.bytes[i]);
    }
    for (reason, n) in &path.drops {
        counter!("weave_peer_drops_total", &with("reason", reason)).absolute(*n);
    }
    gauge!("weave_peer_path", &labels()).set(f64::from(u8::from(path.chosen)));
    gauge!("weave_peer_mtu_bytes", &labels()).set(f64::from(path.mtu));
    let peer = [("peer", path.peer.clone()), ("nickname", path.nickname.clone())];
    if let Some(trains) = path.trains {
        gauge!("weave_path_trains", &peer).set(f64::from(u8::from(trains)));
    }
    for (reason, n) in &path.trains_off {
        let mut labels = peer.to_vec();
        labels.push(("reason", (*reason).to_owned()));
        counter!("weave_path_trains_switched_off_total", &labels).absolute(*n);
    }
    if let Some(doubts) = path.doubts {
        counter!("weave_path_doubts_total", &peer).absolute(doubts);
    }
    if let Some(rtt) = path.rtt {
        gauge!("weave_peer_rtt_seconds", &labels()).set(rtt.as_secs_f64());
    }
}

fn mesh(core: &CoreReport) {
    let c = core.counters;
    counter!("weave_connection_terminations_total").absolute(c.links_down);
    for (outcome, n) in [
        ("new", c.facts_new),
        ("stale", c.facts_stale),
        ("malformed", c.facts_malformed),
        ("oversized", c.facts_oversized),
        ("forged", c.facts_forged),
        ("collision", c.facts_collision),
        ("copied", c.facts_copied),
        ("full", c.facts_full),
        ("removed", c.facts_removed),
    ] {
        counter!("weave_facts_total", "outcome" => outcome).absolute(n);
    }
    counter!("weave_dials_total").absolute(c.dials);
    counter!("weave_gossip_messages_total").absolute(c.gossip_messages);
    counter!("weave_gossip_bytes_total").absolute(c.gossip_bytes);
    for (outcome, n) in [
        ("sent", c.parcels_sent),
        ("relayed", c.parcels_relayed),
        ("unrouted", c.parcels_unrouted),
        ("looped", c.parcels_looped),
    ] {
        counter!("weave_parcels_total", "outcome" => outcome).absolute(n);
    }
    for (outcome, n) in [
        ("taken", c.shares_taken),
        ("unknown", c.shares_unknown),
        ("malformed", c.shares_malformed),
        ("stale", c.shares_stale),
        ("limited", c.shares_limited),
        ("forged", c.shares_forged),
        ("crossed", c.shares_crossed),
    ] {
        counter!("weave_session_offers_total", "outcome" => outcome).absolute(n);
    }
    let guesses = core.guesses;
    for (outcome, n) in [("found", guesses.found), ("failed", guesses.failed), ("refused", guesses.refused)] {
        counter!("weave_port_guesses_total", "outcome" => outcome).absolute(n);
    }
    for ((from, to, reason), n) in &core.changes {
        counter!("weave_path_changes_total", "from" => *from, "to" => *to, "reason" => *reason).absolute(*n);
    }
    for (action, n) in core.acted {
        counter!("weave_too_long_total", "action" => action).absolute(n);
    }
    let t = core.tables;
    for (table, entries) in [
        ("peers", t.peers),
        ("facts", t.facts),
        ("links", t.links),
        ("reached", t.reached),
        ("routes", t.routes),
        ("trees", t.trees),
        ("targets", t.targets),
        ("dialable", t.dialable),
        ("wanted", t.wanted),
        ("to_announce", t.to_announce),
        ("missing", t.missing),
        ("sessions", core.sessions),
    ] {
        gauge!("weave_table_entries", "table" => table).set(entries as f64);
    }
    gauge!("weave_facts_bytes").set(t.fact_bytes as f64);
}
