//! Frames: from bridges to data paths, between peers, and to bridges again.
//!
//! They take the latency of the link and are lost and overtaken as datagrams are. What a link does not carry at that moment
//! is lost: nothing is sent again.

use mesh::LinkId;
use packet::{Mac, SuperFrame, VnetHdr};
use rand::RngExt;

use super::{Event, SECOND, World, ends_of};
use crate::data::{Carried, Data};
use crate::host::{Host, HostConfig};
use crate::ledger::{self, Ledger};

/// A frame on a link.
pub(super) struct Travelling {
    conn: u32,
    end: u8,
    carried: Carried,
}

impl World {
    /// Lets a frame with a number of its own come out of a peer's bridge; gives the number. It is from [`World::mac`].
    pub fn send_frame(&mut self, from: usize, dst: Mac) -> u64 {
        let (number, frame) = self.ledger.make(dst, Self::mac(from));
        self.note(|| format!("frame {number} from the bridge of {from} to {dst}"));
        self.forward(from, &frame);
        number
    }

    /// The address that frames of a peer's bridge come from.
    pub const fn mac(peer: usize) -> Mac {
        Mac([2, 0xbb, 0, 0, 0, peer as u8])
    }

    /// Frames, and records with one, that went over links so far.
    pub const fn frames_carried(&self) -> u64 {
        self.ledger.carried()
    }

    /// Peers whose bridge got the frame of this number.
    pub fn got(&self, number: u64) -> Vec<usize> {
        self.ledger.got(number)
    }

    /// What was carried that must not be: the first of it.
    pub fn violation(&self) -> Option<&str> {
        self.ledger.violation()
    }

    /// Keeps count from here on only.
    pub fn forget_frames(&mut self) {
        self.ledger = Ledger::following(&self.ledger);
    }

    /// Addresses, sessions and trees that a peer's data path knows.
    pub fn data_sizes(&self, peer: usize) -> Option<[usize; 3]> {
        self.peers[peer].data.as_deref().map(Data::sizes)
    }

    /// Adds a host with a network stack of its own to the bridge of a peer; gives its number.
    pub fn add_host(&mut self, peer: usize, config: &HostConfig) -> usize {
        self.hosts.push(Host::new(peer, config, self.now));
        self.hosts.len() - 1
    }

    /// Does something with a host, and lets it send what follows.
    pub fn with_host<R>(&mut self, host: usize, f: impl FnOnce(&mut Host) -> R) -> R {
        let result = f(&mut self.hosts[host]);
        self.poll_host(host);
        result
    }

    /// A host's stack gets a processor.
    pub(super) fn poll_host(&mut self, host: usize) {
        let sent = self.hosts[host].poll(self.now);
        let peer = self.hosts[host].peer();
        for frame in sent {
            self.give_hosts(peer, &frame, Some(host));
            self.forward(peer, &frame);
        }
        if let Some(at) = self.hosts[host].poll_next(self.now) {
            self.queue.push(at.max(self.now + 1), Event::Host(host as u32));
        }
    }

    /// A frame comes out of a peer's bridge.
    fn forward(&mut self, peer: usize, frame: &[u8]) {
        if let Ok(frame) = SuperFrame::checked(VnetHdr::default(), frame) {
            self.with_data(peer, |data| data.forward(&frame));
            self.carry_out(peer);
        }
    }

    /// A frame goes to the hosts of a peer's bridge.
    fn give_hosts(&mut self, peer: usize, frame: &[u8], except: Option<usize>) {
        for number in 0..self.hosts.len() {
            let host = &mut self.hosts[number];
            if host.peer() == peer && Some(number) != except && host.receive(frame) {
                self.queue.push(self.now + 1, Event::Host(number as u32));
            }
        }
    }

    pub(super) fn with_data(&mut self, peer: usize, f: impl FnOnce(&mut Data)) {
        if let Some(data) = self.peers[peer].data.as_deref_mut() {
            f(data);
        }
    }

    /// Takes what a data path put out where it goes; `false` if there was nothing.
    pub(super) fn carry_frames(&mut self, peer: usize) -> bool {
        let now = self.instant();
        let p = &mut self.peers[peer];
        let (Some(mesh), Some(data)) = (&mut p.mesh, &mut p.data) else { return false };
        let (sent, bridged) = data.take(mesh, now);
        let some = !sent.is_empty() || !bridged.is_empty();
        sent.into_iter().for_each(|(link, carried)| self.send_on(peer, link, carried));
        for frame in bridged {
            self.ledger.bridged(peer, &frame);
            self.give_hosts(peer, &frame, None);
        }
        some
    }

    fn send_on(&mut self, from: usize, link: LinkId, carried: Carried) {
        let (conn, end) = ends_of(link);
        let Some(to) = self.end(conn, 1 - end).map(|e| e.peer as usize) else { return };
        self.note(|| format!("{from} sends {} to {to}", ledger::describe(&carried)));
        self.ledger.sent(from, to, &carried);
        let lost = self.rng.random_range(0..1_000_000) < self.conditions.frame_loss;
        if lost || self.is_silent(from, to) || !self.end(conn, end).is_some_and(|e| e.open) {
            return;
        }
        let at = self.line(from, carried.len()) + self.trip(from, to);
        self.queue.push(at, Event::Frame(Box::new(Travelling { conn, end: 1 - end, carried })));
    }

    pub(super) fn frame_arrives(&mut self, Travelling { conn, end, carried }: Travelling) {
        let (Some(e), Some(other)) = (self.end(conn, end), self.end(conn, 1 - end)) else { return };
        let (peer, from) = (e.peer as usize, self.peers[other.peer as usize].name());
        let holds = self.peers[peer]
            .mesh
            .as_deref()
            .is_some_and(|m| m.link_of(from) == Some(super::link_id(conn, end)));
        if holds && self.is_up(e) {
            self.with_data(peer, |data| data.arrive(from, carried));
            self.carry_out(peer);
        }
    }

    pub(super) fn tick(&mut self, peer: usize, run: u32) {
        let now = self.instant();
        let p = &mut self.peers[peer];
        if p.run != run {
            return;
        }
        if let (Some(mesh), Some(data)) = (&mut p.mesh, &mut p.data) {
            data.tick(mesh, now);
        }
        self.queue.push(self.now + SECOND, Event::Tick { peer: peer as u32, run });
        self.carry_out(peer);
    }
}
