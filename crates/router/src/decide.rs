//! The decision on one frame: a pure function of the snapshot, the frame's addresses and the second.

use packet::{Mac, ethernet};
use transport::Drop;
use wire::PeerName;

use crate::{Fib, Place};

/// A frame that comes back within this many seconds of having been seen on the other side is a loop, not a move. A container
/// that moves between hosts takes longer than this to start.
const LOOP_SECS: u32 = 1;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To this peer: its place in [`Fib::peers`].
    Unicast(usize),
    /// To everyone, along the tree (P7): a group address, or nobody knows where it lives.
    Flood,
    /// To this host's bridge.
    Deliver,
    /// Nowhere.
    Drop(Drop),
}

/// Decides on a frame that this host's bridge gave us. The second value asks the control side to learn the source.
pub fn decide_local(fib: &Fib, frame: &[u8], now: u32) -> (Decision, Option<Mac>) {
    let Some((dst, src)) = addresses(frame) else { return (Decision::Drop(Drop::Filtered), None) };
    let learn = match fib.macs.get(&src) {
        Some(entry) if entry.place == Place::Local => {
            entry.touch(now);
            None
        }
        // What a peer has just sent us comes out of the bridge again: a port in hairpin mode, or a second way to that peer.
        Some(entry) if entry.age(now) <= LOOP_SECS => return (Decision::Drop(Drop::Loop), None),
        _ => Some(src),
    };
    let decision = if dst.is_multicast() {
        Decision::Flood
    } else {
        match fib.macs.get(&dst).map(|entry| entry.place) {
            // Not flooded where no way is known: what is for one peer is not for others to read.
            Some(Place::Peer(peer)) => {
                fib.position(peer).map_or(Decision::Drop(Drop::NoRoute), Decision::Unicast)
            }
            // The bridge floods what it has forgotten; the owner has got its copy from it already.
            Some(Place::Local) => Decision::Drop(Drop::Local),
            None => Decision::Flood,
        }
    };
    (decision, learn)
}

/// Decides on a frame that `from` sent, to us alone or to everyone. The second value asks the control side to learn the source.
pub fn decide_remote(fib: &Fib, from: PeerName, frame: &[u8], now: u32) -> (Decision, Option<Mac>) {
    let Some((_, src)) = addresses(frame) else { return (Decision::Drop(Drop::Filtered), None) };
    match fib.macs.get(&src) {
        Some(entry) if entry.place == Place::Peer(from) => {
            entry.touch(now);
            (Decision::Deliver, None)
        }
        // Our own frame comes back through a peer: its bridge is joined to ours by another way.
        Some(entry) if entry.place == Place::Local && entry.age(now) <= LOOP_SECS => {
            (Decision::Drop(Drop::Loop), None)
        }
        _ => (Decision::Deliver, Some(src)),
    }
}

/// Whether a frame may travel at all.
pub(crate) fn may_travel(frame: &[u8]) -> bool {
    addresses(frame).is_some()
}

/// Destination and source, if the frame may travel at all: IEEE 802.1D keeps 01:80:c2:00:00:0x on its segment, and a group
/// address is nobody's source.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    // One look at the length is enough for both.
    let both: &[u8; 2 * Mac::LEN] = frame.first_chunk()?;
    let (dst, src) = (ethernet::dst(both)?, ethernet::src(both)?);
    (!dst.is_link_local_group() && !src.is_multicast()).then_some((dst, src))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacTable, PeerEntry, PeerPaths};

    const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 1]);
    const Q: PeerName = PeerName::new([2, 0, 0, 0, 0, 2]);
    const HERE: u8 = 0xa;
    const AT_P: u8 = 0xb;

    /// HERE is local and AT_P at P, both last seen at second 100; there is no way to Q.
    fn fib() -> Fib {
        let mut table = MacTable::default();
        table.learn(mac(HERE), Place::Local, 100);
        table.learn(mac(AT_P), Place::Peer(P), 100);
        table.learn(mac(0xc), Place::Peer(Q), 100);
        table.snapshot(Q, vec![PeerEntry { name: P, paths: PeerPaths::default(), hop: None }], vec![])
    }

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 1, n])
    }

    fn frame(dst: Mac, src: Mac) -> Vec<u8> {
        [&dst.bytes()[..], &src.bytes(), &[8, 0]].concat()
    }

    fn local(dst: Mac, src: Mac, now: u32) -> (Decision, Option<Mac>) {
        decide_local(&fib(), &frame(dst, src), now)
    }

    #[test]
    fn a_known_address_gets_its_frame_alone() {
        assert_eq!(local(mac(AT_P), mac(HERE), 200), (Decision::Unicast(0), None));
    }

    #[test]
    fn group_and_unknown_addresses_are_flooded() {
        assert_eq!(local(Mac::BROADCAST, mac(HERE), 200).0, Decision::Flood);
        assert_eq!(local(Mac([1, 0, 0x5e, 0, 0, 1]), mac(HERE), 200).0, Decision::Flood);
        assert_eq!(local(mac(0x77), mac(HERE), 200).0, Decision::Flood);
    }

    #[test]
    fn what_is_for_a_peer_that_no_way_leads_to_is_not_for_all() {
        assert_eq!(local(mac(0xc), mac(HERE), 200), (Decision::Drop(Drop::NoRoute), None));
    }

    #[test]
    fn what_the_bridge_has_delivered_itself_goes_no_further() {
        assert_eq!(local(mac(HERE), mac(0x88), 200).0, Decision::Drop(Drop::Local));
    }

    #[test]
    fn bridge_group_addresses_and_group_sources_never_travel() {
        for last in 0..16 {
            assert_eq!(
                local(Mac([1, 0x80, 0xc2, 0, 0, last]), mac(HERE), 200).0,
                Decision::Drop(Drop::Filtered)
            );
        }
        assert_eq!(local(mac(AT_P), Mac::BROADCAST, 200).0, Decision::Drop(Drop::Filtered));
        assert_eq!(
            decide_remote(&fib(), P, &frame(Mac([1, 0x80, 0xc2, 0, 0, 0]), mac(AT_P)), 200).0,
            Decision::Drop(Drop::Filtered)
        );
        assert_eq!(
            decide_local(&fib(), &[1, 2, 3], 200).0,
            Decision::Drop(Drop::Filtered),
            "not even two addresses"
        );
    }

    #[test]
    fn new_sources_are_learned_on_either_side() {
        assert_eq!(local(mac(AT_P), mac(0x99), 200).1, Some(mac(0x99)));
        assert_eq!(
            decide_remote(&fib(), P, &frame(mac(HERE), mac(0x99)), 200),
            (Decision::Deliver, Some(mac(0x99)))
        );
    }

    #[test]
    fn a_peers_frame_that_comes_back_out_of_the_bridge_is_a_loop() {
        assert_eq!(local(Mac::BROADCAST, mac(AT_P), 101), (Decision::Drop(Drop::Loop), None));
        assert_eq!(
            local(Mac::BROADCAST, mac(AT_P), 102),
            (Decision::Flood, Some(mac(AT_P))),
            "later it is a move"
        );
    }

    #[test]
    fn our_own_frame_that_comes_back_from_a_peer_is_a_loop() {
        let frame = frame(Mac::BROADCAST, mac(HERE));
        assert_eq!(decide_remote(&fib(), P, &frame, 101), (Decision::Drop(Drop::Loop), None));
        assert_eq!(
            decide_remote(&fib(), P, &frame, 102),
            (Decision::Deliver, Some(mac(HERE))),
            "later it is a move"
        );
    }

    #[test]
    fn an_address_may_move_from_peer_to_peer_at_once() {
        let frame = frame(mac(HERE), mac(AT_P));
        assert_eq!(decide_remote(&fib(), Q, &frame, 100), (Decision::Deliver, Some(mac(AT_P))));
    }
}
