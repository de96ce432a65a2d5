//! [`TapFrame`]: a frame laid out as a TAP with IFF_VNET_HDR takes it.

use packet::{FrameError, SuperFrame};

/// A virtio header in host order with its frame right behind, so that one `write` hands it to the kernel.
///
/// Existence is proof that header and frame fit each other.
#[derive(Clone, Copy)]
pub struct TapFrame<'a> {
    bytes: &'a [u8],
    frame: SuperFrame<'a>,
}

impl<'a> TapFrame<'a> {
    /// Takes bytes of that layout.
    ///
    /// # Errors
    /// When the header does not fit the frame.
    pub fn checked(bytes: &'a [u8]) -> Result<Self, FrameError> {
        Ok(Self { bytes, frame: SuperFrame::from_host(bytes)? })
    }

    /// Header and frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same, taken apart.
    pub const fn frame(&self) -> &SuperFrame<'a> {
        &self.frame
    }
}
