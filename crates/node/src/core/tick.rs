//! What is looked at once a second.

use std::time::Instant;

use super::{Core, sleep};

impl Core {
    pub(super) fn tick(&mut self, now: Instant) {
        let seconds = self.seconds(now);
        self.parts.forwarder.set_now(seconds);
        self.parts.tap.tick(now);
        match self.parts.udp.as_mut().and_then(|udp| udp.tick(now)) {
            Some(true) => tracing::info!("the kernel may put records together again (UDP_GRO)"),
            Some(false) => {
                tracing::warn!("records that arrived together did not open: UDP_GRO is off for now")
            }
            None => {}
        }
        if let Some(slept) = self.sleep.look(now, sleep::uptime()) {
            tracing::info!(?slept, "this host slept: links and paths are asked anew");
            self.parts.mesh.ping_links(now);
            self.network_changed(now);
        }
        self.stale |= self.macs.expire(seconds);
        self.look_at_distants(now);
        // Frames that were counted since the last look came after it; when, nobody knows. To take them for later than they were would
        // keep a silent link for longer than it may be (P2.11).
        let before = std::mem::replace(&mut self.last_tick, now);
        for (id, neighbour) in &mut self.neighbours {
            if neighbour.heard(now) {
                self.parts.mesh.handle_activity(before, *id);
            }
            if self.parts.udp.is_some() {
                neighbour.tick(now);
                if let Some(side) = neighbour.udp_side() {
                    side.compare(now, self.parts.mesh.link_rtt(*id));
                }
            }
        }
    }
}
