//! What becomes of a frame that does not fit the path it should take. Only such frames and SYNs come here.
//!
//! The path that is meant for a peer is the fast one, so whatever can be made to fit it goes there; what cannot goes by the other
//! path if there is one, and its sender is told, so that the next ones fit:
//!
//! | frame | with another path that it fits | without |
//! |---|---|---|
//! | SYN | announces segments that fit | the same |
//! | TCP with an open checksum, segments too long | cut into shorter ones | the same |
//! | IPv4 that may be fragmented | cut into fragments | the same |
//! | IPv4 that may not, IPv6 | goes there, and the sender is told | the sender is told; dropped |
//! | anything else | goes there | dropped |
//!
//! Fragments go before the other path because their sender cannot be told: it would stay on the slow way for ever, and nobody
//! would notice.

use std::sync::Arc;

use packet::{SuperFrame, VnetHdr, clamp_mss, fragment};
use transport::{Drop, FramePath, Outbox};

use crate::{Acted, Forwarder, PeerPaths};

/// Sends a frame that is a SYN, or does not fit the first path, or has none.
#[cold]
pub(crate) fn send(forwarder: &Forwarder, outbox: &mut Outbox, paths: &PeerPaths, frame: &SuperFrame<'_>) {
    let (first, second) = match (&paths.primary, &paths.fallback) {
        (Some(first), second) => (first, second.as_ref()),
        (None, Some(only)) => (only, None),
        (None, None) => return forwarder.drops().add(Drop::NoPath, frame.segments() as u64),
    };
    let room = first.max_frame();
    if frame.may_be_syn()
        && let Some(bytes) = clamped(frame, room)
        && let Ok(frame) = SuperFrame::from_host(&bytes)
    {
        Acted::add(&forwarder.acted().mss_clamped);
        return place(forwarder, outbox, first, second, &frame);
    }
    place(forwarder, outbox, first, second, frame);
}

/// A copy of a SYN, laid out for a TAP, that announces what fits frames of `room` bytes; `None` if it does so already.
pub(crate) fn clamped(frame: &SuperFrame<'_>, room: usize) -> Option<Vec<u8>> {
    let hdr = frame.hdr();
    let mut bytes = vec![0; VnetHdr::LEN];
    hdr.write_host(bytes.first_chunk_mut()?);
    bytes.extend_from_slice(frame.frame());
    clamp_mss(&hdr, bytes.get_mut(VnetHdr::LEN..)?, room).then_some(bytes)
}

fn place(
    forwarder: &Forwarder,
    outbox: &mut Outbox,
    first: &Arc<dyn FramePath>,
    second: Option<&Arc<dyn FramePath>>,
    frame: &SuperFrame<'_>,
) {
    // The path has counted what it did not take.
    let mut send = |path: &Arc<dyn FramePath>, frame: &SuperFrame<'_>| {
        let _ = path.send(frame, outbox.batch(path));
    };
    let fits = |path: &Arc<dyn FramePath>| frame.longest_segment() <= path.max_frame();
    if fits(first) {
        return send(first, frame);
    }
    let room = first.max_frame();
    if let Some(frame) = frame.resegmented(room) {
        Acted::add(&forwarder.acted().resegmented);
        return send(first, &frame);
    }
    let cut = fragment(frame, room, &mut |bytes| {
        if let Ok(fragment) = SuperFrame::from_host(bytes) {
            send(first, &fragment);
        }
    });
    if cut {
        return Acted::add(&forwarder.acted().fragmented);
    }
    forwarder.tell_too_big(frame, room);
    send(second.filter(|path| fits(path)).unwrap_or(first), frame);
}

#[cfg(test)]
mod tests;
