//! [`Incoming`]: from the bytes a socket gives to the messages in them, without the socket.

use wire::MAX_MESSAGE;

use crate::record::{MAX_RECORD, Opened, RecordError, RecordOpener};

/// What precedes a message (P2.5).
const LENGTH: usize = 4;
/// The buffers of a link that is quiet, in bytes: one record each. A thousand quiet links must cost little.
const QUIET: usize = MAX_RECORD;
/// The buffers of a link that is busy. What one call to the kernel brings then is a few super-frames, and fits the L2 cache.
const BUSY: usize = 256 * 1024;
/// After so many reads in a row that a quiet link's buffer would have held, the large ones are given back.
const QUIET_READS: u32 = 128;

/// Why the bytes are of no use. The link ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IncomingError {
    #[error("{0}")]
    Record(#[from] RecordError),
    #[error("message of {0} bytes, longer than allowed")]
    TooLong(usize),
}

/// Sealed bytes in, messages out.
///
/// Each record is opened out of place, right behind the content of the one before, so that a message that spans records lies in one
/// piece and needs no further copy.
pub(crate) struct Incoming {
    opener: RecordOpener,
    sealed: Buffer,
    content: Buffer,
    quiet_reads: u32,
}

/// What [`Incoming::open`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No whole record is there.
    NeedMore,
    /// A record was opened; there may be messages now. `true`: the other end asks for a key update.
    Opened(bool),
    /// The other end closed, and there will be nothing more.
    Closed,
}

impl Incoming {
    /// Goes on with `sealed`, which came after the handshake.
    pub(crate) fn new(opener: RecordOpener, sealed: Vec<u8>) -> Self {
        let sealed = Buffer { start: 0, end: sealed.len(), bytes: sealed };
        Self { opener, sealed, content: Buffer::default(), quiet_reads: 0 }
    }

    /// Where the next bytes from the socket go: never empty once [`Incoming::open`] needs more.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.sealed.compact();
        self.sealed.reserve(1, QUIET);
        self.sealed.room()
    }

    /// Says how many bytes were put there.
    pub(crate) fn filled(&mut self, len: usize) {
        let (size, room) = (self.sealed.bytes.len(), self.sealed.bytes.len() - self.sealed.end);
        self.sealed.end = (self.sealed.end + len).min(size);
        if len < room.min(QUIET) {
            self.quiet_reads += 1;
        } else {
            self.quiet_reads = 0;
            if len >= room && size < BUSY {
                // The kernel had more than fitted.
                self.sealed.bytes.resize(BUSY, 0);
            }
        }
    }

    /// Opens the next record.
    ///
    /// # Errors
    /// When it is none, or does not open.
    pub(crate) fn open(&mut self) -> Result<Progress, RecordError> {
        let Some(len) = RecordOpener::whole(self.sealed.held())? else {
            self.rest();
            return Ok(Progress::NeedMore);
        };
        let busy = if self.sealed.bytes.len() > QUIET { BUSY } else { QUIET };
        self.content.reserve(len, busy);
        let record = &self.sealed.bytes[self.sealed.start..self.sealed.start + len];
        let opened = self.opener.open(record, self.content.room())?;
        self.sealed.start += len;
        Ok(match opened {
            Opened::Content(len) => {
                self.content.end += len;
                Progress::Opened(false)
            }
            Opened::Handshake(request) => Progress::Opened(request),
            Opened::Closed => Progress::Closed,
        })
    }

    /// The next message without its length, if all of it is there.
    ///
    /// # Errors
    /// When it announces more than `limit` bytes, or none.
    pub(crate) fn message(&mut self, limit: usize) -> Result<Option<&mut [u8]>, IncomingError> {
        let Some((len, rest)) = self.content.held().split_first_chunk::<LENGTH>() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if !(1..=limit.min(MAX_MESSAGE)).contains(&len) {
            return Err(IncomingError::TooLong(len));
        }
        Ok(if rest.len() < len { None } else { self.take(LENGTH + len).map(|bytes| &mut bytes[LENGTH..]) })
    }

    /// The next `len` bytes, if they are there.
    pub(crate) fn take(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.content.start;
        let taken = self.content.bytes[..self.content.end].get_mut(start..start + len)?;
        self.content.start += len;
        Some(taken)
    }

    /// Gives the large buffers back when nothing has needed them for a while.
    fn rest(&mut self) {
        if self.quiet_reads < QUIET_READS {
            return;
        }
        self.quiet_reads = 0;
        for buffer in [&mut self.sealed, &mut self.content] {
            if buffer.held().is_empty() && buffer.bytes.len() > QUIET {
                *buffer = Buffer::default();
            }
        }
    }
}

/// Bytes of which those from `start` to `end` are held.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Moves what is held to the front, for the price of a copy of it.
    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Makes room for `len` more bytes; a buffer that has to grow grows to `size` at least.
    fn reserve(&mut self, len: usize, size: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end >= len {
            return;
        }
        self.compact();
        if self.bytes.len() - self.end < len || self.bytes.len() < size {
            // A message longer than the buffer grows it step by step; its length is bounded.
            let doubled = if self.bytes.len() >= size { self.bytes.len() * 2 } else { size };
            self.bytes.resize(doubled.max(self.end + len), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordSealer, Suite, TrafficSecret};
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn secret() -> TrafficSecret {
        TrafficSecret::new(Suite::Aes128Gcm, Zeroizing::new(vec![7; 32])).unwrap()
    }

    fn pair() -> (RecordSealer, Incoming) {
        let opener = RecordOpener::new(secret()).unwrap();
        (RecordSealer::new(secret()).unwrap(), Incoming::new(opener, Vec::new()))
    }

    fn message(len: usize) -> Vec<u8> {
        let mut b = (len as u32).to_be_bytes().to_vec();
        b.extend((0..len).map(|i| (i * 7 + len) as u8));
        b
    }

    /// Feeds `sealed` as a socket that gives at most `step` bytes a call would.
    fn feed(incoming: &mut Incoming, mut sealed: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            while let Some(m) = incoming.message(MAX_MESSAGE).unwrap() {
                out.push(m.to_vec());
            }
            if incoming.open().unwrap() != Progress::NeedMore {
                continue;
            }
            if sealed.is_empty() {
                return out;
            }
            let room = incoming.room();
            assert!(!room.is_empty());
            let n = step.min(sealed.len()).min(room.len());
            room[..n].copy_from_slice(&sealed[..n]);
            incoming.filled(n);
            sealed = &sealed[n..];
        }
    }

    #[test]
    fn messages_of_all_sizes_arrive_in_pieces_of_any_size() {
        for step in [1000, 4096, 70_001, usize::MAX] {
            let (mut sealer, mut incoming) = pair();
            let sizes = [1, 5, 16_380, 16_384, 65_600, 1, 65_600, 300_000, MAX_MESSAGE, 9, 65_547];
            let sent: Vec<_> = sizes.iter().cycle().take(40).map(|len| message(*len)).collect();
            let mut sealed = Vec::new();
            sealer.append(&sent.concat(), &mut sealed).unwrap();
            let heard = feed(&mut incoming, &sealed, step);
            assert_eq!(heard.len(), sent.len());
            assert!(heard.iter().zip(&sent).all(|(h, s)| h == &s[4..]), "in pieces of {step}");
        }
    }

    #[test]
    fn a_quiet_link_gives_its_large_buffers_back() {
        let (mut sealer, mut incoming) = pair();
        let mut sealed = Vec::new();
        (0..40).for_each(|_| sealer.append(&message(65_000), &mut sealed).unwrap());
        feed(&mut incoming, &sealed, usize::MAX);
        assert_eq!((incoming.sealed.bytes.len(), incoming.content.bytes.len()), (BUSY, BUSY));
        for _ in 0..=QUIET_READS {
            sealed.clear();
            sealer.append(&message(9), &mut sealed).unwrap();
            assert_eq!(feed(&mut incoming, &sealed, usize::MAX).len(), 1);
        }
        assert!(incoming.sealed.bytes.len() + incoming.content.bytes.len() <= 2 * QUIET);
    }

    #[test]
    fn a_message_longer_than_allowed_is_refused_before_it_is_there() {
        for len in [0, 101, u32::MAX] {
            let (mut sealer, mut incoming) = pair();
            let mut sealed = Vec::new();
            sealer.append(&len.to_be_bytes(), &mut sealed).unwrap();
            assert!(feed_raw(&mut incoming, &sealed).is_ok());
            assert_eq!(incoming.message(100).err(), Some(IncomingError::TooLong(len as usize)));
        }
    }

    fn feed_raw(incoming: &mut Incoming, mut bytes: &[u8]) -> Result<(), RecordError> {
        while !bytes.is_empty() {
            let room = incoming.room();
            let n = bytes.len().min(room.len());
            room[..n].copy_from_slice(&bytes[..n]);
            incoming.filled(n);
            bytes = &bytes[n..];
            while incoming.open()? != Progress::NeedMore {}
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, header in any::<[u8; 3]>()) {
            let (_, mut incoming) = pair();
            let _ = feed_raw(&mut incoming, &bytes);
            let (_, mut incoming) = pair();
            // As far as it goes like a record.
            let len = (bytes.len() as u16).to_be_bytes();
            let record = [&[23, header[0], header[1], len[0], len[1]], &bytes[..]].concat();
            prop_assert!(feed_raw(&mut incoming, &record).is_err());
        }
    }
}
