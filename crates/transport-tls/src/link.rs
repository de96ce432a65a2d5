//! A running link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use transport::{FrameSink, Inbox};
use wire::{Message, Refuse, RefuseCode};

use crate::reader::{Hands, ReadEnd, Reader};
use crate::reading::Reading;
use crate::{Established, Handover, TlsPath};

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
    path: Arc<TlsPath>,
}

impl Link {
    /// Queues a control message; `false` when the link is gone or stuck.
    pub fn send(&self, message: Message) -> bool {
        self.path.control(message.encode())
    }

    /// Tells the other end why, then closes.
    pub fn close(&self, refuse: Refuse) {
        self.path.end(Some(Message::Refuse(refuse).encode()));
    }

    /// The way for frames.
    pub fn path(&self) -> Arc<TlsPath> {
        Arc::clone(&self.path)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.path.end(None);
    }
}

impl Established {
    /// Starts the link under the number `id`, for the peer that its hello named. While few frames come it is read by the receiver
    /// that `handover` leads to, else and without one by a task.
    ///
    /// # Errors
    /// When the runtime cannot watch one more socket. Then there is no link.
    pub fn start(
        self,
        id: u64,
        sink: Arc<dyn FrameSink>,
        events: LinkEvents,
        handover: Option<Handover>,
    ) -> io::Result<Link> {
        let (tcp, sealer, incoming) = self.channel.into_parts();
        // Sending and reading are watched apart: what comes in must not wake those who wait to send.
        let tcp = Arc::new(tcp.into_std()?);
        let path = Arc::new(TlsPath::new(Arc::clone(&tcp), sealer)?);
        let inbox = Inbox::new(self.hello.name, sink);
        let hands = Hands::new(id, Arc::clone(&path), inbox, events.clone());
        let reader = Box::new(Reader::new(tcp, incoming, hands));
        let mut reading = tokio::spawn(Reading { reader, path: Arc::clone(&path), handover }.run());
        let mut writing = tokio::spawn(Arc::clone(&path).write());
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
            ended.shut_down();
            // The owner may be gone already.
            let _ = events.send((id, event)).await;
        });
        Ok(Link { path })
    }
}

fn closed(reason: &dyn std::fmt::Display, code: Option<RefuseCode>) -> LinkEvent {
    LinkEvent::Closed { reason: reason.to_string(), code }
}
