//! Writing the TAP, and remembering what its kernel refuses.
//!
//! Some kernels refuse super-frames that others accept (6.6.44, and those of some vendors). What is refused goes out as the
//! ordinary frames it stands for; a kind of which nothing else is heard is not tried any more for a while.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use host::tap::Tap;
use packet::{SuperFrame, VnetHdr};
use router::TapWriter;
use transport::TapFrame;

/// A kind of super-frames that was refused is tried again after this.
const AGAIN: Duration = Duration::from_secs(600);

/// Writes frames to the TAP.
pub(crate) struct Writer {
    tap: Arc<Tap>,
    /// What the kernel said when the TAP was opened.
    udp_trains: bool,
    kinds: Arc<Kinds>,
}

impl Writer {
    /// The writer, and what looks after it.
    pub(crate) fn new(tap: Arc<Tap>) -> (Self, TapWatch) {
        let kinds = Arc::new(Kinds::default());
        let udp_trains = tap.vnet_hdr() && tap.offloads().uso;
        let watch = TapWatch { kinds: Arc::clone(&kinds), until: [None; 2] };
        (Self { tap, udp_trains, kinds }, watch)
    }
}

impl TapWriter for Writer {
    fn write(&self, frame: &TapFrame<'_>) -> bool {
        let send = |bytes: &[u8]| self.tap.send(bytes).map(drop);
        if self.tap.vnet_hdr() {
            self.kinds.write(frame, send)
        } else {
            write_segments(frame.frame(), 0, send)
        }
    }

    fn takes_udp_trains(&self) -> bool {
        self.udp_trains && self.kinds.0[UDP].on.load(Relaxed)
    }
}

const TCP: usize = 0;
const UDP: usize = 1;
const NAMES: [&str; 2] = ["TCP", "UDP"];

/// What is known of super-frames of TCP and of UDP.
#[derive(Default)]
struct Kinds([Kind; 2]);

struct Kind {
    /// Whether they are written whole.
    on: AtomicBool,
    /// Since the last look: whether the kernel took one, and whether it refused one whose segments it then took.
    taken: AtomicBool,
    refused: AtomicBool,
}

impl Default for Kind {
    fn default() -> Self {
        Self { on: AtomicBool::new(true), taken: AtomicBool::new(false), refused: AtomicBool::new(false) }
    }
}

impl Kinds {
    fn write(&self, frame: &TapFrame<'_>, send: impl Fn(&[u8]) -> io::Result<()>) -> bool {
        let whole = frame.frame();
        if whole.segments() == 1 {
            return send(frame.bytes()).is_ok();
        }
        let kind = &self.0[if whole.hdr().gso_kind() == VnetHdr::GSO_UDP_L4 { UDP } else { TCP }];
        if !kind.on.load(Relaxed) {
            return write_segments(whole, VnetHdr::LEN, send);
        }
        match send(frame.bytes()) {
            Ok(()) => {
                // Mostly it is set: the cache line then stays with every thread that writes.
                if !kind.taken.load(Relaxed) {
                    kind.taken.store(true, Relaxed);
                }
                true
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                let passed = write_segments(whole, VnetHdr::LEN, send);
                if passed {
                    kind.refused.store(true, Relaxed);
                }
                passed
            }
            Err(_) => false,
        }
    }
}

/// Looks after the writer, for the control side.
pub(crate) struct TapWatch {
    kinds: Arc<Kinds>,
    /// Until when each kind is not tried.
    until: [Option<Instant>; 2],
}

impl TapWatch {
    /// Due once a second.
    pub(crate) fn tick(&mut self, now: Instant) {
        for ((kind, until), name) in self.kinds.0.iter().zip(&mut self.until).zip(NAMES) {
            let refused = kind.refused.swap(false, Relaxed);
            let taken = kind.taken.swap(false, Relaxed);
            match until {
                // A kernel that takes others refuses those that a peer has made up.
                None if refused && !taken => {
                    *until = Some(now + AGAIN);
                    kind.on.store(false, Relaxed);
                    tracing::warn!("the kernel refuses super-frames of {name} (EINVAL): cutting them here");
                }
                Some(at) if *at <= now => {
                    *until = None;
                    kind.on.store(true, Relaxed);
                    tracing::info!("trying super-frames of {name} on the TAP again");
                }
                _ => {}
            }
        }
    }

    /// Whether super-frames of TCP and of UDP are written whole.
    pub(crate) fn whole(&self) -> [bool; 2] {
        self.until.map(|until| until.is_none())
    }

    /// What is wrong, for people.
    pub(crate) fn trouble(&self) -> impl Iterator<Item = String> {
        let refused = |(until, name): (&Option<Instant>, &str)| {
            until.map(|_| format!("the kernel refuses super-frames of {name} on the TAP (EINVAL)"))
        };
        self.until.iter().zip(NAMES).filter_map(refused)
    }
}

thread_local! {
    /// Scratch for [`write_segments`]: a segment, and the same behind its header.
    static SCRATCH: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Writes the ordinary frames that a super-frame stands for, each behind `room` zero bytes, which are an empty virtio header.
fn write_segments(frame: &SuperFrame<'_>, room: usize, send: impl Fn(&[u8]) -> io::Result<()>) -> bool {
    SCRATCH.with_borrow_mut(|[segment, out]| {
        (0..frame.segments()).all(|i| {
            if frame.segment_into(i, segment).is_err() {
                return false;
            }
            if room == 0 {
                return send(segment).is_ok();
            }
            out.clear();
            out.resize(room, 0);
            out.extend_from_slice(segment);
            send(out).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use packet::checksum::Sum;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A super-frame of TCP or of UDP over IPv4, its checksum open, behind its header.
    fn super_frame(gso_type: u8) -> Vec<u8> {
        let (protocol, transport) = if gso_type == VnetHdr::GSO_UDP_L4 { (17, 8) } else { (6, 20) };
        let payload = 3000;
        let total = 20 + transport + payload;
        let mut b = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        b.extend((total as u16).to_be_bytes());
        b.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = Sum::of(&b[14..34]).checksum();
        b[24..26].copy_from_slice(&sum.to_be_bytes());
        b.resize(34 + transport, 0);
        let csum_offset = if protocol == 6 {
            b[46] = 0x50;
            16
        } else {
            let len = ((transport + payload) as u16).to_be_bytes();
            b[38..40].copy_from_slice(&len);
            6
        };
        let len = ((transport + payload) as u16).to_be_bytes();
        let pseudo = Sum::of(&b[26..34]).and(&[0, protocol]).and(&len).fold();
        let at = 34 + csum_offset;
        b[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        b.resize(34 + transport + payload, 7);
        let hdr = VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type,
            hdr_len: 34 + transport as u16,
            gso_size: 1000,
            csum_start: 34,
            csum_offset: csum_offset as u16,
        };
        let mut bytes = [0; VnetHdr::LEN];
        hdr.write_host(&mut bytes);
        [&bytes[..], &b].concat()
    }

    /// Writes to a kernel that takes frames of up to `longest` bytes; gives the lengths it took.
    fn write(kinds: &Kinds, bytes: &[u8], longest: usize) -> Vec<usize> {
        let taken = RefCell::new(Vec::new());
        let frame = TapFrame::checked(bytes).unwrap();
        kinds.write(&frame, |bytes| {
            if bytes.len() > longest {
                return Err(ErrorKind::InvalidInput.into());
            }
            taken.borrow_mut().push(bytes.len());
            Ok(())
        });
        taken.into_inner()
    }

    fn watched() -> (Arc<Kinds>, TapWatch) {
        let kinds = Arc::new(Kinds::default());
        (Arc::clone(&kinds), TapWatch { kinds, until: [None; 2] })
    }

    #[test]
    fn what_the_kernel_refuses_is_written_in_segments_and_remembered_for_a_while() {
        for (gso_type, name, headers) in [(1, "TCP", 40), (VnetHdr::GSO_UDP_L4, "UDP", 28)] {
            let (kinds, mut watch) = watched();
            let (frame, start) = (super_frame(gso_type), Instant::now());
            let segments = [VnetHdr::LEN + 14 + headers + 1000; 3];
            assert_eq!(write(&kinds, &frame, 2000), segments, "{name}: none is lost");
            watch.tick(start);
            let trouble: Vec<_> = watch.trouble().collect();
            assert_eq!(trouble, [format!("the kernel refuses super-frames of {name} on the TAP (EINVAL)")]);
            assert_eq!(watch.whole(), [name != "TCP", name != "UDP"]);
            assert_eq!(write(&kinds, &frame, 65_536), segments, "{name}: not even tried");
            watch.tick(start + AGAIN - SECOND);
            assert_eq!(write(&kinds, &frame, 65_536), segments);
            watch.tick(start + AGAIN);
            assert_eq!(write(&kinds, &frame, 65_536), [frame.len()], "{name}: whole again");
            assert_eq!((watch.whole(), watch.trouble().count()), ([true; 2], 0));
        }
    }

    #[test]
    fn one_refused_among_others_that_are_taken_is_the_senders_fault() {
        let (kinds, mut watch) = watched();
        let frame = super_frame(1);
        write(&kinds, &frame, 2000);
        write(&kinds, &frame, 65_536);
        watch.tick(Instant::now());
        assert_eq!(watch.whole(), [true; 2]);
    }

    #[test]
    fn a_kernel_that_refuses_segments_too_has_nothing_against_super_frames() {
        let (kinds, mut watch) = watched();
        assert!(write(&kinds, &super_frame(1), 100).is_empty());
        watch.tick(Instant::now());
        assert_eq!(watch.whole(), [true; 2]);
    }
}
