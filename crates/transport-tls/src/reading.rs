//! The task that reads a link, or has it read by a [`Receiver`](crate::Receiver) while little comes.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::{Instant, sleep};

use crate::TlsPath;
use crate::reader::{ReadEnd, Reader, Turn};
use crate::receiver::Handover;
use crate::watched::watch;

/// How long a link with frames is watched before it is handed over.
const WINDOW: Duration = Duration::from_millis(10);
/// What may come in that time, in reads and in bytes: questions and answers, but no transfer.
const LIGHT_READS: u32 = 16;
const LIGHT_BYTES: usize = 64 * 1024;

/// What the task has.
pub(crate) struct Reading {
    pub(crate) reader: Box<Reader>,
    pub(crate) path: Arc<TlsPath>,
    /// To whom the link goes while little comes.
    pub(crate) handover: Option<Handover>,
}

impl Reading {
    /// Reads until the link ends; says why.
    pub(crate) async fn run(self) -> ReadEnd {
        let path = Arc::clone(&self.path);
        let Err(end) = self.read().await;
        if let ReadEnd::Record(e) = &end
            && let Some(alert) = e.alert()
        {
            path.give_up(alert);
        }
        end
    }

    async fn read(self) -> Result<Infallible, ReadEnd> {
        let Self { mut reader, mut handover, .. } = self;
        loop {
            here(&mut reader, handover.is_some()).await?;
            let Some(way) = &handover else { continue };
            match way.hand_over(reader) {
                Ok(back) => reader = back.await.map_err(|_| ReadEnd::NodeGone)??,
                Err(still) => {
                    // There is no receiver any more, or the kernel cannot watch one more.
                    reader = still;
                    handover = None;
                }
            }
        }
    }
}

/// Reads on this task; if the link may be handed over, until frames come and they are few.
async fn here(reader: &mut Reader, until_light: bool) -> Result<(), ReadEnd> {
    reader.settle().await?;
    // A number of its own: the socket's first one is being watched for the sending end.
    let tcp = watch(Arc::new(reader.tcp().try_clone()?), Interest::READABLE)?;
    let mut load = Load::default();
    let mut window = pin!(sleep(WINDOW));
    // A link without frames needs no haste, and a thousand of them no timers.
    let mut watched = false;
    loop {
        tokio::select! {
            biased;
            ready = tcp.readable() => {
                let mut ready = ready?;
                match reader.turn()? {
                    Turn::Read { bytes, frames, more } => {
                        load.add(bytes);
                        if !more {
                            ready.clear_ready();
                        }
                        if frames && until_light && !watched {
                            watched = true;
                            load = Load::default();
                            window.as_mut().reset(Instant::now() + WINDOW);
                        }
                    }
                    Turn::Dry => ready.clear_ready(),
                    Turn::Full => reader.settle().await?,
                }
            }
            () = &mut window, if watched => {
                if load.is_light() {
                    return Ok(());
                }
                load = Load::default();
                window.as_mut().reset(Instant::now() + WINDOW);
            }
        }
    }
}

/// What came in a window.
#[derive(Debug, Default)]
struct Load {
    reads: u32,
    bytes: usize,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.reads = self.reads.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    const fn is_light(&self) -> bool {
        self.reads <= LIGHT_READS && self.bytes <= LIGHT_BYTES
    }
}
