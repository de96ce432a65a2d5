//! [`Inbox`]: the last step of receiving, the same for every transport.

use std::sync::Arc;

use packet::{Gatherer, SuperFrame};
use wire::{GroupHeader, Hops, PeerName};

use crate::{Drop, FrameSink, Outbox, PathCounters, TapFrame};

/// Hands the frames of one peer to the sink: checked, counted, and where the sink takes super-frames, the datagrams of a flow
/// gathered into one.
///
/// Belongs to the thread or task that receives. [`flush`](Self::flush) is due at the end of each batch.
pub struct Inbox {
    peer: PeerName,
    sink: Arc<dyn FrameSink>,
    gatherer: Gatherer,
    /// Whose datagrams the gatherer holds: the peer's, or of those for everyone their source's.
    from: PeerName,
}

impl Inbox {
    /// For the frames of `peer`.
    pub fn new(peer: PeerName, sink: Arc<dyn FrameSink>) -> Self {
        Self { peer, sink, gatherer: Gatherer::new(), from: peer }
    }

    /// Whose frames these are.
    pub const fn peer(&self) -> PeerName {
        self.peer
    }

    /// Takes one frame behind its virtio header in host order. What is no frame is dropped and counted.
    pub fn frame(&mut self, bytes: &[u8], counters: &PathCounters) {
        let Ok(frame) = TapFrame::checked(bytes) else {
            return counters.drops.add(Drop::Malformed, 1);
        };
        count(frame.frame(), counters);
        self.hand_over(self.peer, frame, counters);
    }

    /// Takes one frame for everyone, laid out like any (P7). It is told apart and passed on as it came, because others may get the
    /// same frames by other ways; only what this host is to have is gathered.
    pub fn group_frame(
        &mut self,
        group: &GroupHeader,
        bytes: &[u8],
        counters: &PathCounters,
        out: &mut Outbox,
    ) {
        let Ok(frame) = TapFrame::checked(bytes) else {
            return counters.drops.add(Drop::Malformed, 1);
        };
        count(frame.frame(), counters);
        if self.sink.take_group(self.peer, group, frame, out) {
            self.hand_over(group.source, frame, counters);
        }
    }

    /// Gathers the frame, or hands it to the sink behind what was held (C2).
    fn hand_over(&mut self, from: PeerName, frame: TapFrame<'_>, counters: &PathCounters) {
        if self.from != from {
            self.flush(counters);
            self.from = from;
        }
        let Self { sink, gatherer, .. } = self;
        let mut emit = |bytes: &[u8]| deliver(&**sink, from, bytes, counters);
        if !sink.takes_udp_trains() {
            gatherer.flush(&mut emit);
        } else if gatherer.push(&frame.frame().hdr(), frame.frame().frame(), &mut emit) {
            return;
        }
        sink.deliver(from, frame);
    }

    /// Takes a record of other peers' session (P6.4). It counts as one frame.
    pub fn relay(&mut self, hops: Hops<'_>, record: &mut [u8], counters: &PathCounters, out: &mut Outbox) {
        counters.received(1, record.len() as u64);
        self.sink.relay(self.peer, hops, record, out);
    }

    /// Hands over what is held back.
    pub fn flush(&mut self, counters: &PathCounters) {
        let Self { sink, gatherer, from, .. } = self;
        gatherer.flush(&mut |bytes| deliver(&**sink, *from, bytes, counters));
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.gatherer.is_empty()
    }
}

fn count(frame: &SuperFrame<'_>, counters: &PathCounters) {
    let segments = frame.segments();
    // A super-frame counts as what it stands for, headers included.
    let repeated = frame.headers_len().unwrap_or(0) * (segments - 1);
    counters.received(segments as u64, (frame.frame().len() + repeated) as u64);
}

fn deliver(sink: &dyn FrameSink, peer: PeerName, bytes: &[u8], counters: &PathCounters) {
    match TapFrame::checked(bytes) {
        Ok(frame) => sink.deliver(peer, frame),
        Err(_) => counters.drops.add(Drop::Malformed, 1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use packet::VnetHdr;
    use packet::checksum::Sum;

    use super::*;

    const P: PeerName = PeerName::new([2, 0, 0, 0, 0, 9]);
    const SOURCE: PeerName = PeerName::new([2, 0, 0, 0, 0, 8]);

    #[derive(Default)]
    struct Tap {
        trains: AtomicBool,
        segments: Mutex<Vec<usize>>,
        /// Numbers of frames for everyone, in the order they were passed on.
        passed_on: Mutex<Vec<u64>>,
    }

    impl FrameSink for Tap {
        fn deliver(&self, peer: PeerName, frame: TapFrame<'_>) {
            let of_everyone = if peer == SOURCE { 100 } else { 0 };
            self.segments.lock().unwrap().push(of_everyone + frame.frame().segments());
        }

        fn takes_udp_trains(&self) -> bool {
            self.trains.load(Relaxed)
        }

        fn take_group(
            &self,
            from: PeerName,
            group: &GroupHeader,
            frame: TapFrame<'_>,
            _: &mut Outbox,
        ) -> bool {
            assert_eq!((from, group.source, frame.frame().segments()), (P, SOURCE, 1));
            let mut passed_on = self.passed_on.lock().unwrap();
            let is_new = !passed_on.contains(&group.sequence);
            passed_on.push(group.sequence);
            is_new
        }

        fn relay(&self, _: PeerName, _: Hops<'_>, _: &mut [u8], _: &mut Outbox) {
            unreachable!("nothing is relayed here");
        }
    }

    /// Datagram `id` of a flow over IPv4, its checksum open, behind its virtio header.
    fn datagram(id: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 128, 0, id, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend([1, 1, 2, 2, 0, 108]);
        let pseudo = Sum::of(&frame[26..34]).and(&[0, 17, 0, 108]).fold();
        frame.extend(pseudo.to_be_bytes());
        frame.extend([id; 100]);
        let mut bytes = [0; VnetHdr::LEN];
        VnetHdr::partial(34, 6).write_host(&mut bytes);
        [&bytes[..], &frame].concat()
    }

    #[test]
    fn datagrams_are_gathered_only_for_a_sink_that_takes_them_so() {
        let tap = Arc::new(Tap::default());
        let counters = PathCounters::default();
        let mut inbox = Inbox::new(P, Arc::clone(&tap) as Arc<dyn FrameSink>);
        let send = |inbox: &mut Inbox, ids: std::ops::Range<u8>| {
            ids.for_each(|id| inbox.frame(&datagram(id), &counters))
        };
        send(&mut inbox, 0..3);
        assert_eq!(*tap.segments.lock().unwrap(), [1, 1, 1]);
        tap.trains.store(true, Relaxed);
        send(&mut inbox, 3..6);
        assert!(!inbox.is_empty());
        inbox.flush(&counters);
        assert_eq!(*tap.segments.lock().unwrap(), [1, 1, 1, 3]);
        send(&mut inbox, 6..8);
        tap.trains.store(false, Relaxed);
        send(&mut inbox, 8..9);
        assert_eq!(*tap.segments.lock().unwrap(), [1, 1, 1, 3, 2, 1], "what was held comes first");
        assert_eq!(counters.rx_frames.load(Relaxed), 9);
        assert_eq!(counters.rx_bytes.load(Relaxed), 9 * 142);
    }

    #[test]
    fn datagrams_for_everyone_are_passed_on_one_by_one_and_gathered_for_this_host() {
        let tap = Arc::new(Tap::default());
        tap.trains.store(true, Relaxed);
        let (counters, mut out) = (PathCounters::default(), Outbox::new());
        let mut inbox = Inbox::new(P, Arc::clone(&tap) as Arc<dyn FrameSink>);
        let group = |sequence| GroupHeader { source: SOURCE, run: 1, sequence };
        inbox.frame(&datagram(0), &counters);
        inbox.frame(&datagram(1), &counters);
        for (id, sequence) in [(2, 1), (3, 2), (3, 2), (4, 3)] {
            inbox.group_frame(&group(sequence), &datagram(id), &counters, &mut out);
        }
        assert_eq!(*tap.passed_on.lock().unwrap(), [1, 2, 2, 3], "as they came");
        assert_eq!(*tap.segments.lock().unwrap(), [2], "what came before goes before, and of its peer");
        inbox.frame(&datagram(5), &counters);
        assert_eq!(
            *tap.segments.lock().unwrap(),
            [2, 103],
            "none twice, and none of another peer among them"
        );
        inbox.flush(&counters);
        assert_eq!(*tap.segments.lock().unwrap(), [2, 103, 1]);
        assert!(inbox.is_empty());
        assert_eq!(counters.rx_frames.load(Relaxed), 7);
    }

    #[test]
    fn what_is_no_frame_is_counted_and_nothing_else() {
        let counters = PathCounters::default();
        let mut inbox = Inbox::new(P, Arc::new(Tap::default()));
        inbox.frame(&[0; 15], &counters);
        assert_eq!(counters.drops.get(Drop::Malformed), 1);
        let group = GroupHeader { source: SOURCE, run: 1, sequence: 1 };
        inbox.group_frame(&group, &[0; 15], &counters, &mut Outbox::new());
        assert_eq!(counters.drops.get(Drop::Malformed), 2);
        assert!(inbox.is_empty());
    }
}
