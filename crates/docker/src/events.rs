//! The stream of what happens to containers, which survives Docker's own restarts.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::engine::Docker;
use crate::error::DockerError;

/// Something happened to a container, or to our view of Docker.
///
/// The first event is [`Event::Resynced`] or [`Event::Lost`]. Events may be told twice around a `Resynced`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container has a new process, and so a new network namespace.
    Started {
        /// Its full id.
        id: String,
    },
    /// A container's process has ended; the container may start again.
    Died {
        /// Its full id.
        id: String,
    },
    /// A container is gone for good.
    Destroyed {
        /// Its full id.
        id: String,
    },
    /// We listen (again): whatever happened before was missed and has to be looked up; whatever comes is told.
    Resynced,
    /// We no longer listen. Told once for each loss; attempts go on until the next [`Event::Resynced`].
    Lost {
        /// Why, in one line.
        reason: String,
    },
}

/// The pauses between attempts to listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackOff {
    /// The first pause; each further one is twice as long.
    pub(crate) first: Duration,
    /// The longest pause. A stream that lived longer than this was a good one: the next pause is the first.
    pub(crate) longest: Duration,
}

/// Docker's restart takes about a second; a host without Docker is asked six times a minute.
pub(crate) const BACK_OFF: BackOff =
    BackOff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// How far back Docker is asked to repeat events when we begin to listen. It covers the moment between our telling
/// `Resynced` and Docker's taking the request, with room for the rounding of clocks.
const OVERLAP: Duration = Duration::from_secs(1);

pub(crate) fn stream(docker: Docker, back_off: BackOff) -> impl Stream<Item = Event> + Send + Unpin {
    let listener = Listener { docker, back_off, pause: Duration::ZERO, told_lost: false, listening: None };
    Box::pin(stream::unfold(listener, |mut listener| async move { Some((listener.next().await, listener)) }))
}

struct Listener {
    docker: Docker,
    back_off: BackOff,
    /// How long to wait before the next attempt.
    pause: Duration,
    /// Whether the present loss has been told.
    told_lost: bool,
    listening: Option<Listening>,
}

struct Listening {
    since: Instant,
    messages: Pin<Box<dyn Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send>>,
}

impl Listener {
    async fn next(&mut self) -> Event {
        loop {
            let lost = match &mut self.listening {
                Some(listening) => match listening.messages.next().await {
                    Some(Ok(message)) => match translated(message) {
                        Some(event) => return event,
                        None => continue,
                    },
                    Some(Err(error)) => self.docker.translated(error).to_string(),
                    None => "Docker closed its stream of events".to_string(),
                },
                None => match self.attempt().await {
                    Ok(()) => {
                        self.told_lost = false;
                        return Event::Resynced;
                    }
                    Err(error) => error.to_string(),
                },
            };
            self.lose();
            if !std::mem::replace(&mut self.told_lost, true) {
                return Event::Lost { reason: lost };
            }
        }
    }

    /// Waits its turn, then begins to listen.
    async fn attempt(&mut self) -> Result<(), DockerError> {
        sleep(self.pause).await;
        let client = self.docker.within(self.docker.agreed()).await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OVERLAP);
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
            until: None,
            filters: Some(HashMap::from([
                ("type".to_string(), vec!["container".to_string()]),
                ("event".to_string(), ["start", "die", "destroy"].map(String::from).to_vec()),
            ])),
        };
        let messages = client.events(Some(options));
        self.listening = Some(Listening { since: Instant::now(), messages: Box::pin(messages) });
        Ok(())
    }

    fn lose(&mut self) {
        let lived = self.listening.take().map_or(Duration::ZERO, |listening| listening.since.elapsed());
        self.pause = if self.pause.is_zero() || lived > self.back_off.longest {
            self.back_off.first
        } else {
            (self.pause * 2).min(self.back_off.longest)
        };
        tracing::debug!(pause = ?self.pause, "not listening to Docker");
    }
}

fn translated(message: EventMessage) -> Option<Event> {
    let id = message.actor?.id?;
    match message.action?.as_str() {
        "start" => Some(Event::Started { id }),
        "die" => Some(Event::Died { id }),
        "destroy" => Some(Event::Destroyed { id }),
        _ => None,
    }
}
