//! A running link.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use transport::FrameSink;
use wire::{Message, PeerName, Refuse, RefuseCode};

use crate::reader::{ReadEnd, Reader};
use crate::{Established, TlsPath, writer};

/// Control messages that may wait for the writer. A peer that does not read for so long is not there.
const CONTROL_QUEUE: usize = 1024;
/// How long the other end may take to read a refusal.
const LINGER: Duration = Duration::from_secs(1);

/// What a link tells its owner, with the number the owner gave it.
pub type LinkEvents = mpsc::Sender<(u64, LinkEvent)>;

/// See [`LinkEvents`].
#[derive(Debug)]
pub enum LinkEvent {
    /// A control message arrived.
    Message(Message),
    /// The link is gone; the last event.
    Closed {
        /// Why, for people.
        reason: String,
        /// Why, if one end refused.
        code: Option<RefuseCode>,
    },
}

/// A running link to a neighbour. Dropping it closes it.
pub struct Link {
    control: mpsc::Sender<Message>,
    path: Arc<TlsPath>,
}

impl Link {
    /// Queues a control message; `false` when the link is gone or stuck.
    pub fn send(&self, message: Message) -> bool {
        self.control.try_send(message).is_ok()
    }

    /// Tells the other end why, then closes.
    pub fn close(&self, refuse: Refuse) {
        self.path.close();
        // A link too stuck to take this goes away when it is dropped.
        let _ = self.control.try_send(Message::Refuse(refuse));
    }

    /// The way for frames.
    pub fn path(&self) -> Arc<TlsPath> {
        Arc::clone(&self.path)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.path.close();
    }
}

impl Established {
    /// Starts the link under the number `id`, for the peer that its hello named.
    pub fn start(self, id: u64, sink: Arc<dyn FrameSink>, events: LinkEvents) -> Link {
        let (control, queue) = mpsc::channel(CONTROL_QUEUE);
        let path = Arc::new(TlsPath::default());
        let peer: PeerName = self.hello.name;
        let (read_half, write_half) = tokio::io::split(self.stream);
        let reader = Reader { id, peer, path: Arc::clone(&path), sink, events: events.clone() };
        let mut reading = tokio::spawn(reader.run(read_half));
        let mut writing = tokio::spawn(writer::run(write_half, queue, Arc::clone(&path)));
        let ended = Arc::clone(&path);
        tokio::spawn(async move {
            let event = tokio::select! {
                end = &mut reading => {
                    writing.abort();
                    match end {
                        Ok(end @ (ReadEnd::NotUnderstood(_) | ReadEnd::TooLong(_))) => closed(&end, Some(RefuseCode::NotUnderstood)),
                        Ok(end) => closed(&end, None),
                        Err(e) => closed(&e, None),
                    }
                }
                end = &mut writing => {
                    let _ = tokio::time::timeout(LINGER, &mut reading).await;
                    reading.abort();
                    match end {
                        Ok(Ok(())) => closed(&"closed by this router", None),
                        Ok(Err(e)) => closed(&format_args!("link broke: {e}"), None),
                        Err(e) => closed(&e, None),
                    }
                }
            };
            ended.close();
            // The owner may be gone already.
            let _ = events.send((id, event)).await;
        });
        Link { control, path }
    }
}

fn closed(reason: &dyn std::fmt::Display, code: Option<RefuseCode>) -> LinkEvent {
    LinkEvent::Closed { reason: reason.to_string(), code }
}
