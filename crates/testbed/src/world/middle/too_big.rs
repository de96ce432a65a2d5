//! What a router tells the sender of a packet that the next network cannot carry.

use super::lane::ETHERNET;

/// The frame with the message to the sender of `frame`: ICMP "fragmentation needed" (RFC 1191) or ICMPv6 "packet too big"
/// (RFC 4443 section 3.2). It names the receiver as its source: this hop has no address, and a host looks only at
/// the packet inside. Nothing for what is no IP.
pub(super) fn too_big(frame: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let (header, packet) = frame.split_at_checked(ETHERNET)?;
    let mut answer = [&header[6..12], &header[..6], &header[12..]].concat();
    match (header[12], header[13]) {
        (0x08, 0x00) => {
            let told = packet.get(..packet.len().min(28))?;
            let (source, destination) = (packet.get(12..16)?, packet.get(16..20)?);
            let mtu = u16::try_from(mtu).ok()?.to_be_bytes();
            let mut icmp = [&[3, 4, 0, 0, 0, 0], &mtu[..], told].concat();
            let sum = checksum(&[&icmp]);
            icmp[2..4].copy_from_slice(&sum);
            let length = u16::try_from(20 + icmp.len()).ok()?.to_be_bytes();
            let mut ip = [&[0x45, 0], &length[..], &[0, 0, 0, 0, 64, 1, 0, 0], destination, source].concat();
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum);
            answer.extend([ip, icmp].concat());
        }
        (0x86, 0xdd) => {
            // As much as fits into the least MTU there is.
            let told = packet.get(..packet.len().min(1232))?;
            let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
            let mtu = u32::try_from(mtu).ok()?.to_be_bytes();
            let mut icmp = [&[2, 0, 0, 0], &mtu[..], told].concat();
            let length = u16::try_from(icmp.len()).ok()?.to_be_bytes();
            let sum = checksum(&[destination, source, &[0, 0], &length, &[0, 0, 0, 58], &icmp]);
            icmp[2..4].copy_from_slice(&sum);
            answer.extend([&[0x60, 0, 0, 0], &length[..], &[58, 64], destination, source, &icmp].concat());
        }
        _ => return None,
    }
    Some(answer)
}

/// RFC 1071, over parts of even length but for the last.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum over what carries its own checksum is zero.
    fn sound(parts: &[&[u8]]) -> bool {
        checksum(parts) == [0, 0]
    }

    #[test]
    fn the_sender_of_ipv4_is_told_in_the_name_of_the_receiver() {
        let mut frame = vec![0; 1514];
        frame[..12].copy_from_slice(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        (frame[12], frame[14]) = (8, 0x45);
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let told = too_big(&frame, 1280).unwrap();
        assert_eq!(told[..12], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]);
        assert_eq!(told[26..34], [10, 0, 0, 2, 10, 0, 0, 1]);
        assert_eq!((&told[34..36], &told[40..42]), (&[3, 4][..], &1280_u16.to_be_bytes()[..]));
        assert_eq!(told[42..70], frame[14..42]);
        assert!(sound(&[&told[14..34]]) && sound(&[&told[34..]]));
    }

    #[test]
    fn the_sender_of_ipv6_is_told_with_a_sum_over_both_addresses() {
        let mut frame = vec![7; 1514];
        (frame[12], frame[13], frame[14]) = (0x86, 0xdd, 0x60);
        let told = too_big(&frame, 1280).unwrap();
        assert_eq!(told[54..62], [2, 0, told[56], told[57], 0, 0, 5, 0]);
        assert_eq!(told.len(), 14 + 1280);
        assert!(sound(&[&told[22..54], &[0, 0], &told[18..20], &[0, 0, 0, 58], &told[54..]]));
    }

    #[test]
    fn nothing_is_told_about_torn_packets_and_other_protocols() {
        assert!(too_big(&[0; 9], 1280).is_none());
        assert!(too_big(&[8, 0].repeat(7), 1280).is_none());
        let mut arp = vec![0; 1514];
        (arp[12], arp[13]) = (8, 6);
        assert!(too_big(&arp, 1280).is_none());
    }
}
