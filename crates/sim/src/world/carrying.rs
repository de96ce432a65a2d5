//! Connections that stand: what is sent comes out at the other end, in order, late, and once.

use rand::RngExt;
use wire::{Message, Refuse};

use super::{Conn, End, Event, Input, Parcel, World};

impl World {
    /// Sends something to one end of a connection.
    pub(super) fn transmit(&mut self, conn: u32, end: u8, parcel: Parcel) {
        let Some(c) = self.conns[conn as usize].as_deref() else { return };
        let (from, to) = (c.ends[usize::from(1 - end)].peer as usize, c.ends[usize::from(end)].peer as usize);
        let mut at = self.now;
        if let Parcel::Message(bytes) = &parcel {
            self.peers[from].sent.count(bytes);
            at = self.line(from, bytes.len());
        }
        if self.is_silent(from, to) {
            if let Some(end) = self.end_mut(conn, end) {
                end.held.push(parcel);
            }
            return;
        }
        at += self.trip(from, to);
        self.deliver_at(at, conn, end, parcel);
    }

    fn deliver_at(&mut self, at: u64, conn: u32, end: u8, parcel: Parcel) {
        let Some(e) = self.end_mut(conn, end) else { return };
        let at = at.max(e.not_before);
        e.not_before = at;
        self.queue.push(at, Event::Arrival { conn, end, parcel });
    }

    /// What was held back on the way between these two arrives after all.
    pub(super) fn release(&mut self, from: usize, to: usize) {
        if self.is_silent(from, to) {
            return;
        }
        for conn in self.peers[to].conns.clone() {
            for end in 0..2 {
                let held = match self.conns[conn as usize].as_deref_mut() {
                    Some(c)
                        if c.ends[usize::from(end)].peer as usize == to
                            && c.ends[usize::from(1 - end)].peer as usize == from =>
                    {
                        std::mem::take(&mut c.ends[usize::from(end)].held)
                    }
                    _ => continue,
                };
                let at = self.now + self.trip(from, to);
                held.into_iter().for_each(|parcel| self.deliver_at(at, conn, end, parcel));
            }
        }
    }

    /// Something comes out of a connection.
    pub(super) fn arrive(&mut self, conn: u32, end: u8, parcel: Parcel) {
        let Some(e) = self.end(conn, end) else { return };
        let peer = e.peer as usize;
        if e.run != self.peers[peer].run {
            // The router it was meant for is gone. If its host is up, that says so.
            let over = matches!(parcel, Parcel::Closed);
            if self.peers[peer].powered && !over {
                self.transmit(conn, 1 - end, Parcel::Closed);
            }
            return;
        }
        if !e.open {
            return;
        }
        let input = match parcel {
            Parcel::Hello(up) => Input::LinkUp { conn, end, up },
            Parcel::Message(bytes) => Input::Message { conn, end, bytes },
            Parcel::Closed => Input::LinkDown { conn, end },
        };
        self.hand(peer, input);
    }

    /// A router takes note of something.
    pub(super) fn take(&mut self, peer: usize, input: Input) {
        match input {
            Input::DialFailed { dial, reason, code } => {
                self.tell(peer, |mesh, now| mesh.handle_dial_failed(now, dial, reason.into(), code));
            }
            Input::LinkUp { conn, end, up } => self.come_up(peer, conn, end, up),
            Input::Message { conn, end, bytes } => {
                let link = super::link_id(conn, end);
                if self.end(conn, end).is_some_and(|e| e.up) {
                    // The length comes first; the rest is what a reader hands on.
                    if let Some(message) = bytes.get(4..).and_then(|b| Message::decode(b).ok()) {
                        self.tell(peer, |mesh, now| mesh.handle_message(now, link, message));
                    } else {
                        unreachable!("seed {}: {peer} was sent {bytes:02x?}", self.seed);
                    }
                }
            }
            Input::LinkDown { conn, end } => {
                let was_up =
                    self.end_mut(conn, end).is_some_and(|e| std::mem::replace(&mut e.open, false) && e.up);
                self.note(|| format!("{peer} hears that {conn} is closed"));
                if was_up {
                    self.link_events += 1;
                    self.with_data(peer, crate::data::Data::touch);
                    let link = super::link_id(conn, end);
                    self.tell(peer, |mesh, now| mesh.handle_link_down(now, link, "closed by the other end"));
                }
                self.bury(conn);
            }
        }
    }

    fn come_up(&mut self, peer: usize, conn: u32, end: u8, up: Box<mesh::LinkUp>) {
        let Some(e) = self.end_mut(conn, end) else { return };
        if !e.open {
            return;
        }
        e.up = true;
        self.link_events += 1;
        self.with_data(peer, crate::data::Data::touch);
        self.note(|| format!("{peer} has link {conn} to {}", up.nickname));
        let link = super::link_id(conn, end);
        if let Some(Err(refuse)) = self.tell(peer, |mesh, now| mesh.handle_link_up(now, link, *up)) {
            self.note(|| format!("{peer} refuses {conn}: {refuse}"));
            if let Some(e) = self.end_mut(conn, end) {
                e.up = false;
            }
            self.close(conn, end, Some(refuse));
        }
    }

    /// One end closes.
    pub(super) fn close(&mut self, conn: u32, end: u8, refuse: Option<Refuse>) {
        let Some(e) = self.end_mut(conn, end) else { return };
        if !std::mem::replace(&mut e.open, false) {
            return;
        }
        if let Some(refuse) = refuse {
            self.transmit(conn, 1 - end, Parcel::Message(Message::Refuse(refuse).encode()));
        }
        self.transmit(conn, 1 - end, Parcel::Closed);
        self.bury(conn);
    }

    /// Forgets a connection that is closed at both ends, or whose ends are gone.
    pub(super) fn bury(&mut self, conn: u32) {
        let over = |end: &End| !end.open || self.peers[end.peer as usize].run != end.run;
        let Some(c) = self.conns[conn as usize].as_deref() else { return };
        if c.ends.iter().all(over) {
            for peer in [c.ends[0].peer, c.ends[1].peer] {
                self.peers[peer as usize].conns.retain(|&one| one != conn);
            }
            self.conns[conn as usize] = None;
        }
    }

    /// When so many bytes have left a peer, after all that it sends already.
    pub(super) fn line(&mut self, from: usize, bytes: usize) -> u64 {
        let time = bytes as u64 * 8 * 1_000_000_000 / self.conditions.bandwidth.max(1);
        let sender = &mut self.peers[from];
        sender.line_free = sender.line_free.max(self.now) + time;
        sender.line_free
    }

    /// Time for one way, at random.
    pub(super) fn trip(&mut self, from: usize, to: usize) -> u64 {
        let jitter = self.conditions.jitter.as_nanos() as u64;
        self.distance(from, to) + if jitter == 0 { 0 } else { self.rng.random_range(0..jitter) }
    }

    /// Time for one way without jitter, in nanoseconds.
    pub(crate) fn distance(&self, from: usize, to: usize) -> u64 {
        let ((a, b), (c, d)) = (self.peers[from].place, self.peers[to].place);
        let share = (((a - c) * (a - c) + (b - d) * (b - d)) / 2.0).sqrt();
        let spread = self.conditions.spread.as_nanos() as f64;
        self.conditions.latency.as_nanos() as u64 + (share * spread) as u64
    }

    pub(super) fn is_silent(&self, from: usize, to: usize) -> bool {
        let split = self.faults.split && self.peers[from].side != self.peers[to].side;
        split || self.faults.silent.contains(&(from, to))
    }

    pub(super) fn end(&self, conn: u32, end: u8) -> Option<&End> {
        self.conn(conn).map(|c| &c.ends[usize::from(end)])
    }

    pub(super) fn conn(&self, conn: u32) -> Option<&Conn> {
        self.conns.get(conn as usize)?.as_deref()
    }

    /// The connections that both ends' routers hold for their link: pairs of numbers, the dialler first.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (usize, usize)> {
        self.conns.iter().enumerate().filter_map(|(conn, c)| {
            let [a, b] = &c.as_deref()?.ends;
            let (dialler, acceptor) = (a.peer as usize, b.peer as usize);
            let holds = |end: &End, number, other: usize| {
                let mesh = self.peers[end.peer as usize].mesh.as_deref().filter(|_| self.is_up(end))?;
                (mesh.link_of(self.peers[other].name()) == Some(super::link_id(conn as u32, number)))
                    .then_some(())
            };
            holds(a, 0, acceptor).and(holds(b, 1, dialler)).map(|()| (dialler, acceptor))
        })
    }

    /// Whether this link of a peer is one of its connections that are up.
    pub(crate) fn holds_up(&self, peer: usize, link: mesh::LinkId) -> bool {
        let (conn, end) = super::ends_of(link);
        self.end(conn, end).is_some_and(|e| e.peer as usize == peer && self.is_up(e))
    }

    pub(super) fn is_up(&self, end: &End) -> bool {
        end.open && end.up && end.run == self.peers[end.peer as usize].run
    }

    fn end_mut(&mut self, conn: u32, end: u8) -> Option<&mut End> {
        self.conns.get_mut(conn as usize)?.as_deref_mut().map(|c| &mut c.ends[usize::from(end)])
    }
}
