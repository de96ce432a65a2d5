//! [`Writer`]: seals and sends, without waiting and without knowing the socket.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::pace::Pace;
use crate::queue::{KEEP, Queue, Sent, Work};
use crate::quiet::Quiet;
use crate::record::{Alert, RecordError, RecordSealer};

/// Chunks sent before other tasks get their turn.
const CHUNKS_A_TURN: usize = 4;
/// Times the writer ran dry without having sent frames, before its buffers are given back. A ping goes out every few seconds.
const QUIET: u8 = 8;

/// The sending end of a link. Whoever holds it may write to the socket.
///
/// Records are sent in the order they are sealed: something new is sealed only when all that is sealed has been taken by the kernel.
pub(crate) struct Writer {
    sealer: RecordSealer,
    /// Sealed records with frames, sent up to `sent`.
    frames: Vec<u8>,
    sent: usize,
    /// Everything else that is sealed, sent up to `control_sent`.
    control: Vec<u8>,
    control_sent: usize,
    pace: Pace,
    lately: Quiet,
    /// Frames taken from the queue and not yet counted.
    taken: Sent,
    quiet: u8,
    failed: Option<io::Error>,
}

/// How far [`Writer::pump`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// There is more to do.
    More,
    /// The kernel takes no more for now.
    Blocked,
    /// Nothing waits.
    Idle,
    /// The farewell is out.
    Ended,
}

impl Writer {
    pub(crate) fn new(sealer: RecordSealer) -> Self {
        Self {
            sealer,
            frames: Vec::new(),
            sent: 0,
            control: Vec::new(),
            control_sent: 0,
            pace: Pace::default(),
            lately: Quiet::default(),
            taken: Sent::default(),
            quiet: 0,
            failed: None,
        }
    }

    /// Whether frames may go out directly: nothing is under way before them, and no key update is due.
    pub(crate) fn is_free(&self, queue: &Queue) -> bool {
        self.unsent().is_empty() && !queue.is_pending() && !self.sealer.update_due() && self.failed.is_none()
    }

    /// Seals a batch of closed records where it lies, and sends it. What the kernel does not take stays here; `false` then.
    ///
    /// # Errors
    /// When the connection is broken; the writer's task ends with the same error.
    pub(crate) fn direct(
        &mut self,
        records: &mut [u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let sent = self.sealer.seal(records).map_err(io::Error::other).and_then(|()| send(records));
        let sent = match sent {
            Ok(n) => n,
            Err(e) if would_block(&e) => 0,
            Err(e) => {
                let kind = e.kind();
                self.failed = Some(e);
                return Err(kind.into());
            }
        };
        if sent == records.len() {
            return Ok(true);
        }
        self.frames.clear();
        self.frames.extend_from_slice(&records[sent..]);
        self.sent = 0;
        Ok(false)
    }

    /// Goes on sending: first what is sealed, then control messages, then frames. Tells the queue how much may wait.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn pump(
        &mut self,
        now: Instant,
        queue: &Queue,
        send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Pumped> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let mut bytes = 0;
        let pumped = self.send_on(queue, send, &mut bytes)?;
        if pumped == Pumped::Blocked {
            self.lately.is_full(now);
        }
        match pumped {
            Pumped::More | Pumped::Blocked => {
                self.pace.took(now, bytes);
                queue.allow(self.pace.queue());
            }
            Pumped::Idle | Pumped::Ended => self.pace.idle(),
        }
        Ok(pumped)
    }

    /// What was sent lately.
    pub(crate) fn quiet(&mut self) -> &mut Quiet {
        &mut self.lately
    }

    /// Bytes to leave unsent in the kernel.
    pub(crate) fn chunk(&self) -> usize {
        self.pace.chunk()
    }

    /// The frames taken since this was last asked.
    pub(crate) fn taken(&mut self) -> Sent {
        std::mem::take(&mut self.taken)
    }

    fn send_on(
        &mut self,
        queue: &Queue,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
        bytes: &mut usize,
    ) -> io::Result<Pumped> {
        let mut chunks = 0;
        loop {
            while !self.unsent().is_empty() {
                let sent = match send(self.unsent()) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(n) => n,
                    Err(e) if would_block(&e) => return Ok(Pumped::Blocked),
                    Err(e) => return Err(e),
                };
                *bytes += sent;
                if self.sent < self.frames.len() {
                    self.sent += sent;
                } else {
                    self.control_sent += sent;
                }
            }
            if chunks == CHUNKS_A_TURN {
                return Ok(Pumped::More);
            }
            if let Some(end) = self.seal_next(queue).map_err(io::Error::other)? {
                return Ok(end);
            }
            chunks += 1;
        }
    }

    /// Seals an alert behind everything else, if nothing is half sent, and tries to send it.
    pub(crate) fn give_up(&mut self, alert: Alert, mut send: impl FnMut(&[u8]) -> io::Result<usize>) {
        let mut out = Vec::new();
        if self.unsent().is_empty() && self.sealer.append_alert(alert, &mut out).is_ok() {
            // The connection goes away whether or not the other end hears why.
            let _ = send(&out);
        }
        self.failed = Some(ErrorKind::ConnectionAborted.into());
    }

    /// Seals the next thing; gives how it stands when there is none.
    fn seal_next(&mut self, queue: &Queue) -> Result<Option<Pumped>, RecordError> {
        self.control.clear();
        self.control_sent = 0;
        if self.control.capacity() > KEEP {
            self.control = Vec::new();
        }
        if self.sealer.update_due() {
            self.sealer.append_key_update(&mut self.control)?;
            return Ok(None);
        }
        self.frames.clear();
        self.sent = 0;
        match queue.next(self.pace.chunk(), &mut self.frames) {
            Work::KeyUpdate => self.sealer.append_key_update(&mut self.control)?,
            Work::Control(message) => self.sealer.append(&message, &mut self.control)?,
            Work::Farewell => self.sealer.append_alert(Alert::CLOSE_NOTIFY, &mut self.control)?,
            Work::Frames(sent) => {
                self.quiet = 0;
                self.taken.frames += sent.frames;
                self.taken.frame_bytes += sent.frame_bytes;
                self.sealer.seal(&mut self.frames)?;
            }
            Work::Nothing => {
                self.rest(queue);
                return Ok(Some(Pumped::Idle));
            }
            Work::End => return Ok(Some(Pumped::Ended)),
        }
        Ok(None)
    }

    fn rest(&mut self, queue: &Queue) {
        if self.quiet < QUIET {
            self.quiet += 1;
        } else {
            if self.frames.capacity() > KEEP {
                self.frames = Vec::new();
            }
            queue.rest();
        }
    }

    fn unsent(&self) -> &[u8] {
        if self.sent < self.frames.len() {
            &self.frames[self.sent..]
        } else {
            &self.control[self.control_sent..]
        }
    }
}

fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
