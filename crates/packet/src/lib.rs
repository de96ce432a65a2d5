//! Views of Ethernet, IP and virtio-net headers; cutting super-frames and mending them.
//!
//! A container's kernel hands the TAP a *super-frame*: one Ethernet frame of up to 64 KiB together with a virtio-net
//! header ([`VnetHdr`]) that says how it is to be cut into ordinary frames and where its checksum is still open. The
//! work is left undone for as long as it can be:
//!
//! - [`SuperFrame::checked`] is the gate. Whatever came from a TAP or from another peer passes it once; what passes it
//!   needs no second look, and what the kernel would refuse or misread does not pass.
//! - [`SuperFrame::trains`] cuts a super-frame into [`Slice`]s for datagrams (P4.7), without copying a byte.
//! - [`Joiner`] puts the slices that arrive in order back into one frame for one write to the TAP. If slices are
//!   missing, it mends the headers of what is there, so that a lost datagram costs one segment and no more.
//! - [`Gatherer`] makes one super-frame of the UDP datagrams of a flow that arrive one after the other.
//! - [`SuperFrame::segment_into`] makes the ordinary frames with complete checksums, for a TAP without virtio-net
//!   headers and for whoever captures frames.
//!
//! What does not fit a path is helped in one of four ways:
//!
//! - [`clamp_mss`] makes new TCP connections fit from the start; [`SuperFrame::may_be_syn`] finds them at no cost.
//! - [`SuperFrame::resegmented`] cuts the stream of an old one smaller.
//! - [`fragment()`] cuts datagrams that allow it.
//! - [`too_big()`] tells the sender.
//!
//! [`Flow`] says which frames must not change places.
//!
//! Nothing here panics or trusts a number it was given, and only the last two allocate per frame.

#![forbid(unsafe_code)]

mod bytes;
pub mod checksum;
pub mod ethernet;
mod flow;
mod fragment;
mod gather;
mod join;
mod layout;
mod mac;
mod mss;
mod resegment;
mod segment;
mod superframe;
mod too_big;
mod train;
mod vnet;

pub use flow::Flow;
pub use fragment::fragment;
pub use gather::Gatherer;
pub use join::{JoinError, Joiner};
pub use layout::MAX_HEADERS;
pub use mac::{Mac, MacError};
pub use mss::clamp_mss;
pub use segment::complete_checksum;
pub use superframe::{FrameError, MAX_FRAME, SuperFrame};
pub use too_big::too_big;
pub use train::{MAX_SLICES, Slice, SliceMeta, Slices, Train, Trains};
pub use vnet::VnetHdr;
