//! What was carried where: nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use packet::Mac;
use wire::PeerName;

use crate::data::Carried;

/// Ethertype of numbered frames: for local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const HEADER: usize = 14;
const FRAME: usize = 60;

/// Everything that went over a link or into a bridge.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last: u64,
    /// Frames for everyone by source, run and number, and who sent them to whom.
    groups: BTreeSet<(PeerName, u64, u64, usize, usize)>,
    /// Records of sessions between peers that are not neighbours, by their first bytes, and who sent them.
    records: BTreeSet<([u8; 13], usize)>,
    /// Numbered frames, and the bridges they reached.
    bridged: BTreeMap<u64, Vec<usize>>,
    carried: u64,
    violation: Option<String>,
}

impl Ledger {
    /// An empty one that goes on with the numbers of another.
    pub(crate) fn following(other: &Self) -> Self {
        let (last, carried) = (other.last, other.carried);
        Self { last, carried, violation: other.violation.clone(), ..Self::default() }
    }

    /// A frame with the next number in it.
    pub(crate) fn make(&mut self, dst: Mac, src: Mac) -> (u64, Vec<u8>) {
        self.last += 1;
        let mut frame = [&dst.bytes()[..], &src.bytes(), &ETHERTYPE, &self.last.to_be_bytes()].concat();
        frame.resize(FRAME, 0);
        (self.last, frame)
    }

    /// Something goes from one peer to another.
    pub(crate) fn sent(&mut self, from: usize, to: usize, carried: &Carried) {
        self.carried += 1;
        let first_time = match carried {
            Carried::Frame(_) => true,
            Carried::Group(group, _) => {
                self.groups.insert((group.source, group.run, group.sequence, from, to))
            }
            Carried::Relayed(_, record) => {
                record.first_chunk().is_some_and(|&first| self.records.insert((first, from)))
            }
        };
        if !first_time {
            self.violated(format!("{from} sends {} a second time, now to {to}", describe(carried)));
        }
    }

    /// A frame reaches a bridge.
    pub(crate) fn bridged(&mut self, peer: usize, frame: &[u8]) {
        let Some(number) = number(frame) else { return };
        let bridges = self.bridged.entry(number).or_default();
        let again = bridges.contains(&peer);
        bridges.push(peer);
        if again {
            self.violated(format!("frame {number} reaches the bridge of {peer} a second time"));
        }
    }

    pub(crate) fn got(&self, number: u64) -> Vec<usize> {
        let mut peers = self.bridged.get(&number).cloned().unwrap_or_default();
        peers.sort_unstable();
        peers
    }

    /// What went over links, all in all.
    pub(crate) const fn carried(&self) -> u64 {
        self.carried
    }

    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    fn violated(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }
}

/// What something is, for a trace.
pub(crate) fn describe(carried: &Carried) -> String {
    match carried {
        Carried::Frame(bytes) => format!("a frame of {} bytes", bytes.len()),
        Carried::Group(group, _) => format!("frame {} of {} for everyone", group.sequence, group.source),
        Carried::Relayed(names, record) => {
            format!("a record of {} bytes through {} more", record.len(), names.len())
        }
    }
}

/// The number of a frame that [`Ledger::make`] made.
fn number(frame: &[u8]) -> Option<u64> {
    (frame.get(12..HEADER)? == ETHERTYPE).then_some(())?;
    frame.get(HEADER..)?.first_chunk().map(|&number| u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::GroupHeader;

    #[test]
    fn what_goes_somewhere_twice_is_told() {
        let group = |sequence| {
            Carried::Group(GroupHeader { source: PeerName::new([2; 6]), run: 1, sequence }, Vec::new())
        };
        let record = |counter| Carried::Relayed(Vec::new(), vec![counter; 40]);
        let mut ledger = Ledger::default();
        for (from, to, carried) in [
            (0, 1, group(1)),
            (0, 2, group(1)),
            (1, 2, group(1)),
            (0, 1, group(2)),
            (0, 1, record(1)),
            (1, 2, record(1)),
        ] {
            ledger.sent(from, to, &carried);
        }
        assert_eq!(ledger.violation(), None);
        let mut looped = Ledger::following(&ledger);
        ledger.sent(0, 1, &group(1));
        assert!(ledger.violation().is_some());
        looped.sent(0, 3, &record(9));
        looped.sent(0, 2, &record(9));
        assert!(looped.violation().is_some(), "a record has one way");
    }

    #[test]
    fn a_frame_in_a_bridge_twice_is_told() {
        let mut ledger = Ledger::default();
        let (number, frame) = ledger.make(Mac::BROADCAST, Mac([2; 6]));
        ledger.bridged(1, &frame);
        ledger.bridged(0, &frame);
        assert_eq!((ledger.violation(), ledger.got(number)), (None, vec![0, 1]));
        ledger.bridged(1, &frame);
        assert!(ledger.violation().is_some());
    }
}
