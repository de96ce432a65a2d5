//! Super-frames made by etherparse, and the ordinary frames they stand for, each built from scratch by etherparse too:
//! what this crate cuts, mends and completes is compared with frames it had no part in.

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header,
    Ipv6RawExtHeader, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice, VlanId,
};
use packet::{MAX_FRAME, Slice, SuperFrame, Train, VnetHdr};
use proptest::prelude::*;

/// A recipe for a super-frame. `payload` is longer than `gso_size`.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) v6: bool,
    pub(crate) tcp: bool,
    pub(crate) tags: u8,
    /// IPv4 options or an IPv6 hop-by-hop header.
    pub(crate) ip_options: bool,
    /// 0 to 10 words of TCP options.
    pub(crate) tcp_options: usize,
    pub(crate) fin: bool,
    pub(crate) psh: bool,
    pub(crate) cwr: bool,
    pub(crate) ece: bool,
    /// Whether the virtio-net header says that CWR is for the first segment.
    pub(crate) ecn: bool,
    pub(crate) identification: u16,
    pub(crate) sequence: u32,
    pub(crate) gso_size: u16,
    pub(crate) payload: Vec<u8>,
}

impl Spec {
    /// The virtio-net header as a kernel writes it.
    pub(crate) fn vnet_hdr(&self) -> VnetHdr {
        let kind = match (self.tcp, self.v6) {
            (true, false) => VnetHdr::GSO_TCPV4,
            (true, true) => VnetHdr::GSO_TCPV6,
            (false, _) => VnetHdr::GSO_UDP_L4,
        };
        VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type: kind | if self.tcp && self.ecn { VnetHdr::ECN } else { 0 },
            hdr_len: self.headers_len() as u16,
            gso_size: self.gso_size,
            csum_start: self.csum_start() as u16,
            csum_offset: if self.tcp { 16 } else { 6 },
        }
    }

    /// The frame as a kernel hands it to a TAP: one piece, its checksum partial.
    pub(crate) fn super_frame(&self) -> Vec<u8> {
        let mut frame = self.build(0, &self.payload, true);
        let start = self.csum_start();
        let check = start + usize::from(self.vnet_hdr().csum_offset);
        let partial = self.pseudo_header_sum(frame.len() - start);
        frame[check..check + 2].copy_from_slice(&partial.to_be_bytes());
        frame
    }

    /// The ordinary frames that it stands for, with complete checksums.
    pub(crate) fn segments(&self) -> Vec<Vec<u8>> {
        let chunks = self.payload.chunks(self.gso_size.into());
        let last = chunks.len() - 1;
        chunks.enumerate().map(|(i, chunk)| self.build(i, chunk, i == last)).collect()
    }

    pub(crate) fn csum_start(&self) -> usize {
        let options = match (self.ip_options, self.v6) {
            (false, _) => 0,
            (true, false) => 4,
            (true, true) => 8,
        };
        14 + 4 * usize::from(self.tags) + if self.v6 { 40 } else { 20 } + options
    }

    pub(crate) fn headers_len(&self) -> usize {
        self.csum_start() + if self.tcp { 20 + 4 * self.tcp_options } else { 8 }
    }

    fn build(&self, number: usize, payload: &[u8], last: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
        let ip = self.ip(number);
        let builder = match self.tags {
            0 => ethernet.ip(ip),
            1 => ethernet.single_vlan(VlanId::try_new(7).unwrap()).ip(ip),
            _ => ethernet.double_vlan(VlanId::try_new(9).unwrap(), VlanId::try_new(7).unwrap()).ip(ip),
        };
        if self.tcp {
            builder.tcp_header(self.tcp(number, last)).write(&mut frame, payload).unwrap();
        } else {
            builder.udp(4242, 5353).write(&mut frame, payload).unwrap();
        }
        frame
    }

    fn ip(&self, number: usize) -> IpHeaders {
        let protocol = if self.tcp { IpNumber::TCP } else { IpNumber::UDP };
        if self.v6 {
            let header = Ipv6Header {
                traffic_class: 2,
                flow_label: Ipv6FlowLabel::try_new(0x12345).unwrap(),
                hop_limit: 64,
                next_header: protocol,
                source: SRC6,
                destination: DST6,
                ..Ipv6Header::default()
            };
            let pad = Ipv6RawExtHeader::new_raw(protocol, &[1, 4, 0, 0, 0, 0]).unwrap();
            let extensions = Ipv6Extensions {
                hop_by_hop_options: self.ip_options.then_some(pad),
                ..Ipv6Extensions::default()
            };
            IpHeaders::Ipv6(header, extensions)
        } else {
            let mut header = Ipv4Header::new(0, 64, protocol, SRC4, DST4).unwrap();
            header.identification = self.identification.wrapping_add(number as u16);
            if self.ip_options {
                header.options = Ipv4Options::from([1, 1, 1, 0]);
            }
            IpHeaders::Ipv4(header, Default::default())
        }
    }

    fn tcp(&self, number: usize, last: bool) -> TcpHeader {
        let skipped = number as u32 * u32::from(self.gso_size);
        let mut header = TcpHeader::new(4242, 80, self.sequence.wrapping_add(skipped), 1000);
        header.ack = true;
        header.acknowledgment_number = 77;
        header.fin = self.fin && last;
        header.psh = self.psh && last;
        header.cwr = self.cwr && number == 0;
        header.ece = self.ece;
        header.set_options_raw(&vec![1; 4 * self.tcp_options]).unwrap();
        header
    }

    /// RFC 9293 section 3.1 and RFC 8200 section 8.1.
    pub(crate) fn pseudo_header_sum(&self, len: usize) -> u16 {
        let protocol = if self.tcp { 6 } else { 17 };
        let addresses = if self.v6 { [SRC6, DST6].concat() } else { [SRC4, DST4].concat() };
        let words = addresses.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>() + protocol + len as u32;
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }
}

pub(crate) const SRC4: [u8; 4] = [10, 2, 1, 1];
pub(crate) const DST4: [u8; 4] = [10, 2, 1, 200];
pub(crate) const SRC6: [u8; 16] = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const DST6: [u8; 16] = [0xfd, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xab, 0xcd, 0, 2];

/// TCP over IPv4 with the timestamps option, 64 KiB less a little: what a bulk transfer looks like.
pub(crate) fn bulk(gso_size: u16) -> Spec {
    Spec {
        v6: false,
        tcp: true,
        tags: 0,
        ip_options: false,
        tcp_options: 3,
        fin: false,
        psh: true,
        cwr: false,
        ece: false,
        ecn: false,
        identification: 0xfff0,
        sequence: 0xffff_0000,
        gso_size,
        payload: (0..65_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
    }
}

/// Super-frames of every kind, of 2 to some 200 segments.
pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    let kind = (any::<bool>(), any::<bool>(), 0u8..3, any::<bool>(), 0usize..11);
    let flags = any::<[bool; 5]>();
    let numbers = (any::<u16>(), any::<u32>());
    let size = prop_oneof![
        3 => (500u16..3000, 1.0..70.0),
        2 => (1u16..60, 1.0..200.0),
        1 => (8000u16..30_000, 1.0..8.0),
    ];
    (kind, flags, numbers, size, any::<u64>()).prop_map(|(kind, flags, numbers, (gso_size, factor), seed)| {
        let (v6, tcp, tags, ip_options, tcp_options) = kind;
        let [fin, psh, cwr, ece, ecn] = flags;
        let (identification, sequence) = numbers;
        let len = ((f64::from(gso_size) * factor) as usize + 1).min(MAX_FRAME - 200);
        let payload =
            (0..len as u64).map(|n| ((n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        Spec {
            v6,
            tcp,
            tags,
            ip_options,
            tcp_options,
            fin,
            psh,
            cwr,
            ece,
            ecn,
            identification,
            sequence,
            gso_size,
            payload,
        }
    })
}

/// A super-frame's trains, and of each the slices, marked with numbers from `first_train` on.
pub(crate) fn cut<'a>(frame: &SuperFrame<'a>, first_train: u16) -> Vec<(Train<'a>, Vec<Slice<'a>>)> {
    cut_to(frame, 0, first_train)
}

/// The same with slices of TCP that have `room` bytes.
pub(crate) fn cut_to<'a>(
    frame: &SuperFrame<'a>,
    room: usize,
    first_train: u16,
) -> Vec<(Train<'a>, Vec<Slice<'a>>)> {
    let trains = frame.trains(room).expect("more than one segment");
    trains
        .enumerate()
        .map(|(i, train)| {
            let slices = train.slices(first_train.wrapping_add(i as u16)).collect();
            (train, slices)
        })
        .collect()
}

/// What the TAP reads: virtio-net header in host order, then the frame.
pub(crate) fn on_tap(hdr: VnetHdr, frame: &[u8]) -> Vec<u8> {
    let mut bytes = [0; VnetHdr::LEN];
    hdr.write_host(&mut bytes);
    [&bytes, frame].concat()
}

/// All ordinary frames of a super-frame.
pub(crate) fn segments_of(frame: &SuperFrame<'_>) -> Vec<Vec<u8>> {
    (0..frame.segments())
        .map(|index| {
            let mut buf = Vec::new();
            frame.segment_into(index, &mut buf).unwrap();
            buf
        })
        .collect()
}

/// Parses an ordinary frame with etherparse, which checks all lengths, and sums its checksums up anew.
pub(crate) fn assert_checksums(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let ip = packet.net.expect("an IP header");
    if let Some(header) = ip.ipv4_ref().map(|v4| v4.header().to_header()) {
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
    }
    match packet.transport.expect("TCP or UDP") {
        TransportSlice::Tcp(tcp) => {
            let expected = match ip.ipv4_ref() {
                Some(v4) => tcp.calc_checksum_ipv4(v4.header().source(), v4.header().destination()).unwrap(),
                None => {
                    let v6 = ip.ipv6_ref().unwrap().header();
                    tcp.calc_checksum_ipv6(v6.source(), v6.destination()).unwrap()
                }
            };
            assert_eq!(tcp.checksum(), expected);
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let expected = match ip.ipv4_ref() {
                Some(v4) => {
                    let v4 = v4.header();
                    header.calc_checksum_ipv4_raw(v4.source(), v4.destination(), udp.payload()).unwrap()
                }
                None => {
                    let v6 = ip.ipv6_ref().unwrap().header();
                    header.calc_checksum_ipv6_raw(v6.source(), v6.destination(), udp.payload()).unwrap()
                }
            };
            assert_eq!(udp.checksum(), expected);
        }
        other => panic!("{other:?}"),
    }
}
