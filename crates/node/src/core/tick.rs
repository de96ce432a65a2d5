//! What is looked at once a second.

use std::time::Instant;

use super::Core;

impl Core {
    pub(super) fn tick(&mut self, now: Instant) {
        let seconds = self.seconds(now);
        self.parts.forwarder.set_now(seconds);
        self.stale |= self.macs.expire(seconds);
        for (id, neighbour) in &mut self.neighbours {
            if neighbour.heard() {
                self.parts.mesh.handle_activity(now, *id);
            }
            if self.parts.udp.is_some() {
                neighbour.tick(now);
            }
        }
    }
}
