//! What can go wrong.

use super::{Parcel, World};
use crate::conditions::Conditions;

impl World {
    /// Ends a router. Its kernel closes its connections.
    pub fn kill(&mut self, peer: usize) {
        self.note(|| format!("{peer} is killed"));
        let conns = std::mem::take(&mut self.peers[peer].conns);
        for &conn in &conns {
            for end in 0..2 {
                if self.end(conn, end).is_some_and(|e| e.peer as usize == peer && e.open) {
                    self.transmit(conn, 1 - end, Parcel::Closed);
                }
            }
        }
        self.stop(peer, conns);
    }

    /// Cuts a host's power: nobody is told, until somebody sends to it after it is back.
    pub fn power_off(&mut self, peer: usize) {
        self.note(|| format!("{peer} loses power"));
        let conns = std::mem::take(&mut self.peers[peer].conns);
        self.stop(peer, conns);
        self.peers[peer].powered = false;
    }

    fn stop(&mut self, peer: usize, conns: Vec<u32>) {
        self.link_events += 1;
        let p = &mut self.peers[peer];
        p.mesh = None;
        p.data = None;
        p.run += 1;
        p.wake_at = crate::peer::NEVER;
        p.conns = conns.clone();
        if let Some(starved) = &mut p.starved {
            starved.inbox.clear();
        }
        conns.into_iter().for_each(|conn| self.bury(conn));
    }

    /// A middlebox forgets the connection between two peers and tells both; `false` if there is none.
    pub fn reset(&mut self, a: usize, b: usize) -> bool {
        let between = |&&conn: &&u32| {
            self.conn(conn)
                .is_some_and(|c| c.ends.iter().all(|e| [a, b].contains(&(e.peer as usize)) && e.open))
        };
        let conns: Vec<_> = self.peers[a].conns.iter().filter(between).copied().collect();
        for &conn in &conns {
            self.note(|| format!("the connection {conn} of {a} and {b} is reset"));
            for end in 0..2 {
                self.transmit(conn, end, Parcel::Closed);
            }
        }
        !conns.is_empty()
    }

    /// From now on nothing gets from one to the other, and nobody is told.
    pub fn silence(&mut self, from: usize, to: usize) {
        self.note(|| format!("nothing passes from {from} to {to}"));
        self.faults.silent.insert((from, to));
    }

    /// What was sent meanwhile arrives, if somebody still wants it.
    pub fn unsilence(&mut self, from: usize, to: usize) {
        if self.faults.silent.remove(&(from, to)) {
            self.note(|| format!("things pass from {from} to {to} again"));
            self.release(from, to);
        }
    }

    /// From now on one cannot dial the other. Connections stay.
    pub fn block(&mut self, from: usize, to: usize) {
        self.note(|| format!("{from} cannot dial {to}"));
        self.faults.blocked.insert((from, to));
    }

    /// It can again.
    pub fn unblock(&mut self, from: usize, to: usize) {
        self.faults.blocked.remove(&(from, to));
    }

    /// Whether one could dial the other, as far as the network below is concerned.
    pub fn can_dial(&self, from: usize, to: usize) -> bool {
        let pass = |a, b| !self.faults.blocked.contains(&(a, b)) && !self.is_silent(a, b);
        // What is blocked is the call alone; its answer comes back on the connection.
        pass(from, to) && !self.is_silent(to, from) && self.peers[to].listens && self.peers[to].is_alive()
    }

    /// Splits the network: those for whom `side` says so on one side, the others on the other.
    pub fn split(&mut self, side: impl Fn(usize) -> bool) {
        self.note(|| "the network is split".into());
        for (number, peer) in self.peers.iter_mut().enumerate() {
            peer.side = side(number);
        }
        self.faults.split = true;
    }

    /// Both halves can talk again.
    pub fn merge(&mut self) {
        if !std::mem::replace(&mut self.faults.split, false) {
            return;
        }
        self.note(|| "the network is whole".into());
        for from in 0..self.peers.len() {
            for to in 0..self.peers.len() {
                if self.peers[from].side != self.peers[to].side {
                    self.release(from, to);
                }
            }
        }
    }

    /// Ends all faults of the network below. What does not run still does not.
    pub fn heal(&mut self) {
        self.merge();
        for (from, to) in std::mem::take(&mut self.faults.silent) {
            self.release(from, to);
        }
        for peer in 0..self.peers.len() {
            self.feed(peer);
        }
    }

    /// Changes what the network below is like.
    pub const fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.conditions
    }
}
