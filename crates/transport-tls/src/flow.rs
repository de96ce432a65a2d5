//! Which flow a message belongs to: what must stay in order, and shares a fate.

use wire::{GROUP_HEADER, PeerName};

/// Length and type of a message (P2.5).
const MESSAGE: usize = 5;
/// The virtio header before a frame (P4.6).
const VNET: usize = 10;
/// Types of P2.7.
const FRAME: u8 = 0x40;
const RELAYED: u8 = 0x41;
const GROUP: u8 = 0x42;
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A number that is the same for all messages of a flow: addresses, protocol and ports of IP packets; MAC addresses of other
/// frames; the session of relayed records, whose inside nobody here can read.
pub(crate) fn of(message: &[u8]) -> usize {
    let rest = message.get(MESSAGE..).unwrap_or_default();
    let mut hash = Hash(0);
    match message.get(MESSAGE - 1) {
        Some(&FRAME) => frame(rest.get(VNET..).unwrap_or_default(), &mut hash),
        Some(&GROUP) => frame(rest.get(GROUP_HEADER + VNET..).unwrap_or_default(), &mut hash),
        Some(&RELAYED) => {
            // Hops, their names, type and index of the record.
            let hops = rest.first().map_or(0, |hops| usize::from(*hops) * PeerName::LEN);
            hash.add(rest.get(..1 + hops + 5).unwrap_or(rest));
        }
        _ => {}
    }
    hash.0 as usize
}

fn frame(frame: &[u8], hash: &mut Hash) {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET) else { return hash.add(frame) };
    let is_ip = match [ethernet[12], ethernet[13]] {
        IPV4 => ipv4(packet, hash),
        IPV6 => ipv6(packet, hash),
        _ => None,
    };
    if is_ip.is_none() {
        hash.add(ethernet);
    }
}

fn ipv4(packet: &[u8], hash: &mut Hash) -> Option<()> {
    let header = packet.first_chunk::<20>()?;
    hash.add(&header[12..20]);
    hash.add(&header[9..10]);
    // Only the first fragment has ports; so no fragment's count.
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if !is_fragment && matches!(header[9], TCP | UDP) {
        let length = usize::from(header[0] & 15) * 4;
        hash.add(packet.get(length..length + 4).unwrap_or_default());
    }
    Some(())
}

fn ipv6(packet: &[u8], hash: &mut Hash) -> Option<()> {
    let header = packet.first_chunk::<40>()?;
    hash.add(&header[8..40]);
    hash.add(&header[6..7]);
    if matches!(header[6], TCP | UDP) {
        hash.add(packet.get(40..44).unwrap_or_default());
    }
    Some(())
}

/// Good enough to spread: who makes flows collide harms his own.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A UDP datagram of an IPv4 packet, as a message.
    fn datagram(source: u8, port: u16, identification: u16, fragment: u16) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0, FRAME];
        message.extend([0; VNET]);
        message.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
        message.extend([0x45, 0, 0, 48]);
        message.extend(identification.to_be_bytes());
        message.extend(fragment.to_be_bytes());
        message.extend([64, UDP, 0, 0, 10, 0, 0, source, 10, 0, 0, 9]);
        message.extend(port.to_be_bytes());
        message.extend([0, 53, 1, 2, 3, 4]);
        message
    }

    #[test]
    fn packets_of_a_flow_belong_together_and_others_do_not() {
        let flow = of(&datagram(1, 1000, 1, 0));
        assert_eq!(flow, of(&datagram(1, 1000, 2, 0x4000)), "not fragmented, and must not be");
        assert_ne!(flow, of(&datagram(1, 1001, 1, 0)));
        assert_ne!(flow, of(&datagram(2, 1000, 1, 0)));
        let first = of(&datagram(1, 1000, 7, 0x2000));
        assert_eq!(first, of(&datagram(1, 1001, 7, 0x0010)), "fragments have no ports");
    }

    #[test]
    fn relayed_records_are_told_apart_by_names_and_session() {
        let relayed = |name: u8, index: u8, counter: u8| {
            of(&[
                0, 0, 0, 0, RELAYED, 1, 2, 0, 0, 0, 0, name, 1, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, counter,
            ])
        };
        assert_eq!(relayed(1, 1, 1), relayed(1, 1, 2));
        assert_ne!(relayed(1, 1, 1), relayed(2, 1, 1));
        assert_ne!(relayed(1, 1, 1), relayed(1, 2, 1));
    }

    #[test]
    fn many_flows_are_spread_over_the_queues() {
        let mut queues = [0; crate::fair::FLOWS];
        (0..6400).for_each(|port| queues[of(&datagram(1, port, 0, 0)) % crate::fair::FLOWS] += 1);
        assert!(queues.iter().all(|n| (40..=200).contains(n)), "{queues:?}");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(kind in 0x3f..0x44_u8, ether in 0..3_usize, body: Vec<u8>) {
            let kinds = [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]];
            of(&body);
            of(&[&[0, 0, 0, 9, kind][..], &body].concat());
            of(&[&[0, 0, 0, 9, FRAME][..], &[0; VNET + 12], &kinds[ether], &body].concat());
        }
    }
}
