//! What else the paths beside a link need of it.

use std::time::{Duration, Instant};

use crate::Mesh;
use crate::mesh::LinkId;

impl Mesh {
    /// The smoothed round-trip time of a link, once it was measured.
    pub fn link_rtt(&self, link: LinkId) -> Option<Duration> {
        self.links.get(link)?.rtt()
    }

    /// This host slept, or something else says that links may be dead: each is asked at once, and silence ends it as ever (P2.11).
    pub fn ping_links(&mut self, now: Instant) {
        self.links.ping_all(now);
    }
}
