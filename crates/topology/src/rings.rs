//! Whom a peer of a large mesh keeps links to (P8.3).
//!
//! Each ring is an order of all peers that nobody chooses and everybody knows: by a hash of ring and name. So both ends
//! of a link agree about it without a word, and one peer more or less changes the links of its ten neighbours only.

use aws_lc_rs::digest;
use wire::PeerName;

use crate::reach::Reached;

/// How many rings there are: two links on each make at most ten.
pub const RINGS: usize = 5;
/// Up to this many peers, oneself included, everyone keeps a link to everyone.
pub const EVERYONE: usize = 32;

/// Hashed before the number of the ring and the name (P8.3).
const CONTEXT: &[u8] = b"weave ring";

/// All peers within reach, in the order of each ring.
#[derive(Debug, Clone, Default)]
pub struct Rings {
    /// By name.
    members: Vec<Member>,
    /// On each ring the numbers of its members as they follow each other.
    order: [Vec<u16>; RINGS],
    /// And where on the ring each number is.
    place: [Vec<u16>; RINGS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    name: PeerName,
    hashes: [u64; RINGS],
}

impl Rings {
    /// Takes who is within reach now. Only who is new is hashed.
    pub fn update(&mut self, members: &Reached) {
        let new = members.as_slice();
        if new.iter().eq(self.members.iter().map(|m| &m.name)) {
            return;
        }
        let mut old = self.members.iter().enumerate().peekable();
        // For each old number the new one.
        let mut moved = vec![None; self.members.len()];
        let mut fresh = Vec::new();
        let mut merged = Vec::with_capacity(new.len());
        for (number, &name) in (0..u16::MAX).zip(new) {
            while old.next_if(|(_, m)| m.name < name).is_some() {}
            merged.push(match old.next_if(|(_, m)| m.name == name) {
                Some((was, member)) => {
                    moved[was] = Some(number);
                    *member
                }
                None => {
                    fresh.push(number);
                    Member::new(name)
                }
            });
        }
        self.members = merged;
        for (ring, (order, place)) in self.order.iter_mut().zip(&mut self.place).enumerate() {
            let stay = order.iter().filter_map(|&was| moved.get(usize::from(was)).copied().flatten());
            *order = stay.chain(fresh.iter().copied()).collect();
            // Who stayed is in order already, which a stable sort makes use of.
            order.sort_by_key(|&n| (self.members[usize::from(n)].hashes[ring], n));
            place.clear();
            place.resize(order.len(), 0);
            for (at, &n) in (0..).zip(order.iter()) {
                place[usize::from(n)] = at;
            }
        }
    }

    /// How many peers they hold.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether they hold nobody.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The next and the previous of `me` on the first `rings` rings, by name. On the way those that are `passed` over are
    /// left out, and the one behind counts.
    pub fn wanted(&self, me: PeerName, rings: usize, passed: impl Fn(PeerName) -> bool) -> Vec<PeerName> {
        let Some(me) = self.number(me) else { return Vec::new() };
        let mut wanted = Vec::with_capacity(2 * RINGS);
        for ring in 0..rings.min(RINGS) {
            for onward in [true, false] {
                let mut way = self.from(me, ring, onward).map(|n| self.members[usize::from(n)].name);
                wanted.extend(way.find(|&name| !passed(name)));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Everyone that `me` reaches over such links between neighbours on a ring as are there, says `linked`. Whatever
    /// becomes of all other links, these stay within reach.
    pub fn reached(&self, me: PeerName, linked: impl Fn(PeerName, PeerName) -> bool) -> Reached {
        let Some(me) = self.number(me) else { return Reached::default() };
        let mut seen = vec![false; self.members.len()];
        seen[usize::from(me)] = true;
        let mut edge = vec![me];
        while let Some(at) = edge.pop() {
            for ring in 0..RINGS {
                for onward in [true, false] {
                    if let Some(to) = self.from(at, ring, onward).next()
                        && !seen[usize::from(to)]
                        && linked(self.members[usize::from(at)].name, self.members[usize::from(to)].name)
                    {
                        seen[usize::from(to)] = true;
                        edge.push(to);
                    }
                }
            }
        }
        self.members.iter().zip(seen).filter(|(_, seen)| *seen).map(|(m, _)| m.name).collect()
    }

    /// Those behind `from` on a ring, one way or the other, once around without itself.
    fn from(&self, from: u16, ring: usize, onward: bool) -> impl Iterator<Item = u16> {
        let (order, len) = (&self.order[ring], self.members.len());
        let at = usize::from(self.place[ring][usize::from(from)]);
        (1..len).map(move |n| order[(if onward { at + n } else { at + len - n }) % len])
    }

    fn number(&self, name: PeerName) -> Option<u16> {
        let at = self.members.binary_search_by_key(&name, |m| m.name).ok()?;
        u16::try_from(at).ok()
    }
}

impl Member {
    fn new(name: PeerName) -> Self {
        let hash = |ring: usize| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(CONTEXT);
            context.update(&[ring as u8]);
            context.update(&name.bytes());
            let mut first = [0; 8];
            first.copy_from_slice(&context.finish().as_ref()[..8]);
            u64::from_be_bytes(first)
        };
        Self { name, hashes: std::array::from_fn(hash) }
    }
}

#[cfg(test)]
mod tests;
