//! The sessions that the receiving thread knows, by index (P4.4).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use records::Session;

use crate::{Extra, UdpPath};

/// One epoch with one neighbour.
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) path: Arc<UdpPath>,
    /// Where its last record came from.
    pub(crate) last_from: Option<SocketAddr>,
}

/// Changes to the table, made by whoever agrees on sessions.
pub(crate) enum Change {
    Install(u32, Box<Entry>),
    Remove(u32),
    /// A further socket of one path (P6.7).
    Watch(u64, Weak<Extra>),
    Unwatch(u64),
    /// Whether the kernel may put together what comes by further sockets.
    Coalesce(bool),
    /// No change: a record that came inside a link. It takes the same door because it shall find what was installed before it came.
    Record(Vec<u8>),
}

/// The table. Indices are drawn at random by this host (P4.1), so a stranger cannot make them collide.
#[derive(Default)]
pub(crate) struct Sessions {
    by_index: HashMap<u32, Entry>,
    /// Sessions that hold something back.
    gathering: Vec<u32>,
    /// Sockets besides the one of all.
    extras: BTreeMap<u64, Weak<Extra>>,
}

impl Sessions {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Install(index, entry) => {
                self.by_index.insert(index, *entry);
            }
            Change::Remove(index) => {
                self.by_index.remove(&index);
            }
            Change::Watch(id, extra) => {
                self.extras.insert(id, extra);
            }
            Change::Unwatch(id) => {
                self.extras.remove(&id);
            }
            Change::Coalesce(on) => {
                for extra in self.extras.values().filter_map(Weak::upgrade) {
                    // One that cannot be told goes on as it is.
                    let _ = extra.socket.coalesce(on);
                }
            }
            Change::Record(_) => {}
        }
    }

    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Entry> {
        self.by_index.get_mut(&index)
    }

    /// Whether there are sockets besides the one of all.
    pub(crate) fn has_extras(&self) -> bool {
        !self.extras.is_empty()
    }

    pub(crate) fn extra(&self, id: u64) -> Option<Arc<Extra>> {
        self.extras.get(&id)?.upgrade()
    }

    /// Notes that this session may hold something back.
    pub(crate) fn gathers(&mut self, index: u32) {
        if self.gathering.last() != Some(&index) && !self.gathering.contains(&index) {
            self.gathering.push(index);
        }
    }

    /// Flushes every session that holds something back.
    pub(crate) fn flush(&mut self, mut flush: impl FnMut(&mut Entry)) {
        for index in self.gathering.drain(..) {
            if let Some(entry) = self.by_index.get_mut(&index) {
                flush(entry);
            }
        }
    }
}
