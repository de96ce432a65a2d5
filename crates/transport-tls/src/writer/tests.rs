//! The writer against sockets that take little, nothing, or break.

use std::sync::LazyLock;

use transport::{Batch, BatchEnd};
use wire::MAX_MESSAGE;
use zeroize::Zeroizing;

use super::*;
use crate::incoming::{Incoming, Progress};
use crate::queue::tests::batch;
use crate::record::{RecordOpener, Suite, TrafficSecret, layout};

/// Time stands still, so that no pace is measured.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A socket that takes `step` bytes a call as long as it has `room`, and the peer behind it.
struct Socket {
    room: usize,
    step: usize,
    calls: usize,
    bytes: Vec<u8>,
}

impl Socket {
    const fn new(room: usize, step: usize) -> Self {
        Self { room, step, calls: 0, bytes: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        let n = bytes.len().min(self.step).min(self.room);
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= n;
        self.bytes.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    /// What the other end reads of it, and how often keys were updated on the way.
    fn read(&self) -> (Vec<u8>, usize, bool) {
        let mut incoming = Incoming::new(RecordOpener::new(secret()).unwrap(), Vec::new());
        let (mut content, mut rest, mut records, mut closed) = (Vec::new(), &self.bytes[..], 0, false);
        loop {
            match incoming.open().unwrap() {
                Progress::Opened(_) => records += 1,
                Progress::Closed => closed = true,
                Progress::NeedMore if rest.is_empty() => return (content, records, closed),
                Progress::NeedMore => {
                    let room = incoming.room();
                    let n = rest.len().min(room.len());
                    room[..n].copy_from_slice(&rest[..n]);
                    incoming.filled(n);
                    rest = &rest[n..];
                }
            }
            while let Some(byte) = incoming.take(1) {
                content.push(byte[0]);
            }
        }
    }
}

fn secret() -> TrafficSecret {
    TrafficSecret::new(Suite::Aes128Gcm, Zeroizing::new(vec![3; 32])).unwrap()
}

fn writer() -> Writer {
    Writer::new(RecordSealer::new(secret()).unwrap())
}

/// What `TlsPath::flush` does.
fn flush(writer: &mut Writer, queue: &Queue, lengths: &[usize], first: u8, socket: &mut Socket) -> Vec<u8> {
    let mut batch = batch(lengths);
    let mut expected = Vec::new();
    batch.bytes.clear();
    for (i, len) in lengths.iter().enumerate() {
        let frame = vec![first.wrapping_add(i as u8); *len];
        layout::append(&mut batch.bytes, 0, &frame);
        expected.extend_from_slice(&frame);
    }
    if writer.is_free(queue) {
        layout::close(&mut batch.bytes, 0);
        writer.direct(&mut batch.bytes, |b| socket.send(b)).unwrap();
    } else {
        assert_eq!(queue.push_frames(&batch), 0);
    }
    expected
}

#[test]
fn one_batch_is_one_call_when_nothing_waits() {
    let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(usize::MAX, usize::MAX));
    let expected = flush(&mut writer, &queue, &[65_551, 60], 1, &mut socket);
    assert_eq!(socket.calls, 1);
    assert!(socket.read().0 == expected);
    assert!(writer.is_free(&queue));
}

#[test]
fn order_holds_over_a_socket_that_takes_little_at_a_time() {
    for step in [1, 7, 1000, 40_000] {
        let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(0, step));
        writer.sealer.set_limit(5);
        let mut expected = Vec::new();
        for round in 0..30_usize {
            let lengths = [60 + round * 37, 1 + round * 311, 200];
            expected.extend(flush(&mut writer, &queue, &lengths, round as u8, &mut socket));
            socket.room += 3000;
            if round % 3 == 2 {
                writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap();
            }
        }
        socket.room = usize::MAX;
        while writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap() != Pumped::Idle {}
        let (content, ..) = socket.read();
        assert!(content == expected, "{step}: {} of {} bytes", content.len(), expected.len());
        assert!(writer.is_free(&queue));
    }
}

#[test]
fn a_control_message_waits_for_one_chunk_at_most_and_tears_no_frame_apart() {
    // Sizes that share no boundary with records or chunks.
    for len in [60, 7001, 50_003, 65_551] {
        let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(10, usize::MAX));
        queue.allow(1024 * 1024);
        let frame = [&u32::to_be_bytes(len as u32 - 4)[..], &vec![0xf0; len - 4]].concat();
        let mut frames = 0;
        while frames * len < 400_000 {
            let mut batch = Batch::new();
            for _ in 0..(60_000 / len).max(1) {
                layout::append(&mut batch.bytes, 0, &frame);
                let at = layout::content_len(batch.bytes.len());
                batch.ends.push(BatchEnd { at, frames: 1, frame_bytes: len as u64 });
                frames += 1;
            }
            if writer.is_free(&queue) {
                layout::close(&mut batch.bytes, 0);
                writer.direct(&mut batch.bytes, |b| socket.send(b)).unwrap();
            } else {
                assert_eq!(queue.push_frames(&batch), 0);
            }
        }
        let (mut asked, mut sent_when_asked) = (0, Vec::new());
        while {
            socket.room = 9000;
            writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap() != Pumped::Idle
        } {
            if asked < 30 {
                sent_when_asked.push(socket.bytes.len());
                assert!(queue.push_control([&[0, 0, 0, 3][..], &[0xcc, 0, asked]].concat(), false));
                asked += 1;
            }
        }
        let (content, ..) = socket.read();
        let (mut rest, mut heard, mut whole) = (&content[..], 0, 0);
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (body, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            if body[0] == 0xcc {
                let waited = (content.len() - tail.len()).saturating_sub(sent_when_asked[heard]);
                assert!(waited <= 2 * 8 * layout::FULL, "{waited} bytes");
                heard += 1;
            } else {
                assert!(body.len() == len - 4 && body.iter().all(|b| *b == 0xf0));
                whole += 1;
            }
            rest = tail;
        }
        assert_eq!((heard, whole), (30, frames), "frames of {len} bytes");
    }
}

#[test]
fn a_farewell_goes_out_after_what_is_half_sent_and_before_what_waits() {
    let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(100, usize::MAX));
    flush(&mut writer, &queue, &[50_000], 1, &mut socket);
    flush(&mut writer, &queue, &[50_000], 2, &mut socket);
    queue.close();
    assert!(queue.push_control(b"bye".to_vec(), true));
    socket.room = usize::MAX;
    assert_eq!(writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap(), Pumped::Ended);
    let (content, _, closed) = socket.read();
    assert!(content == [&[1; 50_000][..], b"bye"].concat() && closed);
}

#[test]
fn the_other_ends_wish_for_a_key_update_is_met_before_further_frames() {
    let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(usize::MAX, usize::MAX));
    queue.want_key_update();
    let expected = flush(&mut writer, &queue, &[500], 1, &mut socket);
    assert!(socket.bytes.is_empty(), "not past the queue");
    while writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap() != Pumped::Idle {}
    assert_eq!(socket.read(), (expected, 2, false));
}

#[test]
fn a_long_control_message_and_a_broken_socket_are_survived() {
    let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(usize::MAX, 5000));
    queue.push_control(vec![7; MAX_MESSAGE], false);
    while writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap() != Pumped::Idle {}
    assert_eq!(socket.read().0.len(), MAX_MESSAGE);
    let mut records = batch(&[60]).bytes;
    layout::close(&mut records, 0);
    let broken = |_: &[u8]| Err(io::Error::from(ErrorKind::BrokenPipe));
    assert_eq!(writer.direct(&mut records, broken).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(!writer.is_free(&queue), "nothing is sent after a record that was lost");
    let error = writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "the task hears of it");
}

#[test]
fn a_quiet_writer_gives_its_buffers_back() {
    let (mut writer, queue, mut socket) = (writer(), Queue::default(), Socket::new(0, usize::MAX));
    (0..8).for_each(|i| drop(flush(&mut writer, &queue, &[60_000], i, &mut socket)));
    socket.room = usize::MAX;
    for _ in 0..=QUIET + 1 {
        queue.push_control(vec![1; 13], false);
        while writer.pump(*NOW, &queue, |b| socket.send(b)).unwrap() != Pumped::Idle {}
    }
    assert_eq!(writer.frames.capacity(), 0);
}
