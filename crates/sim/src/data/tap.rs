//! [`Tap`]: where frames for the bridge go.

use std::sync::PoisonError;

use router::TapWriter;
use transport::TapFrame;

use super::Shared;

pub(super) struct Tap(pub(super) Shared);

impl TapWriter for Tap {
    fn write(&self, frame: &TapFrame<'_>) -> bool {
        let bytes = frame.frame().frame().to_vec();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bridged.push(bytes);
        true
    }

    fn takes_udp_trains(&self) -> bool {
        false
    }
}
