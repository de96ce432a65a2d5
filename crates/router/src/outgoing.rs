//! [`Outgoing`]: frames on their way from the TAP.

use std::sync::Arc;

use arc_swap::Guard;
use packet::SuperFrame;
use transport::{Drop, Outbox};

use crate::forwarder::send_group;
use crate::sources::MAX_SEGMENTS;
use crate::{Decision, Fib, Forwarder, PeerEntry, Place, decide_local, fit};

/// A batch of frames on their way from the TAP. Dropping it sends what still waits.
pub struct Outgoing<'a> {
    forwarder: &'a Forwarder,
    fib: Guard<Arc<Fib>>,
    now: u32,
    outbox: &'a mut Outbox,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(
        forwarder: &'a Forwarder,
        fib: Guard<Arc<Fib>>,
        now: u32,
        outbox: &'a mut Outbox,
    ) -> Self {
        Self { forwarder, fib, now, outbox }
    }

    /// Forwards one frame.
    pub fn forward(&mut self, frame: &SuperFrame<'_>) {
        let (decision, learn) = decide_local(&self.fib, frame.frame(), self.now);
        self.forwarder.learn(learn, Place::Local);
        match decision {
            Decision::Unicast(peer) => {
                if let Some(peer) = self.fib.peers.get(peer) {
                    send(self.forwarder, self.outbox, peer, frame);
                }
            }
            Decision::Flood => self.flood(frame),
            Decision::Drop(reason) => self.forwarder.drops().add(reason, frame.segments() as u64),
            Decision::Deliver => {}
        }
    }

    /// Starts a frame on its way to everyone (P7.1).
    fn flood(&mut self, frame: &SuperFrame<'_>) {
        let mut tree = self.fib.own_tree().peekable();
        if tree.peek().is_none() {
            return;
        }
        // Nobody could tell so many numbers apart.
        if frame.segments() > MAX_SEGMENTS {
            return self.forwarder.drops().add(Drop::TooBig, frame.segments() as u64);
        }
        let group = self.forwarder.number(frame);
        tree.for_each(|(_, hop)| send_group(hop, &group, frame, self.outbox));
    }
}

impl std::ops::Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.outbox.flush();
    }
}

fn send(forwarder: &Forwarder, outbox: &mut Outbox, peer: &PeerEntry, frame: &SuperFrame<'_>) {
    match &peer.paths.primary {
        Some(path) if frame.longest_segment() <= path.max_frame() && !frame.may_be_syn() => {
            // The path has counted what it did not take.
            let _ = path.send(frame, outbox.batch(path));
        }
        _ => fit::send(forwarder, outbox, &peer.paths, frame),
    }
}
