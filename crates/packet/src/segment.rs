//! Doing what was left undone: ordinary frames with complete checksums.
//!
//! Needed where a frame leaves without a virtio-net header beside it: a TAP without offloads, a capture.

use crate::checksum::Sum;
use crate::layout::{Piece, UDP_CHECKSUM};
use crate::superframe::{FrameError, SuperFrame, checksum_fits};

impl SuperFrame<'_> {
    /// Makes ordinary frame number `index` of [`segments`](Self::segments), with all its checksums. The buffer's old
    /// content is replaced; its room is reused.
    ///
    /// # Errors
    /// If there is no segment with this number.
    pub fn segment_into(&self, index: usize, buf: &mut Vec<u8>) -> Result<(), FrameError> {
        let segments = self.segments();
        if index >= segments {
            return Err(FrameError::Segment { index, segments });
        }
        buf.clear();
        let hdr = self.hdr();
        match self.layout() {
            None => buf.extend_from_slice(self.frame()),
            Some(layout) => {
                let offset = index * layout.gso_size();
                let rest = self.payload().get(offset..).unwrap_or_default();
                let payload = rest.get(..layout.gso_size()).unwrap_or(rest);
                let piece = Piece { offset, payload: payload.len(), last: index + 1 == segments };
                buf.extend_from_slice(self.headers());
                layout.rewrite(buf, piece);
                buf.extend_from_slice(payload);
            }
        }
        if hdr.needs_csum() {
            complete_checksum(buf, hdr.csum_start, hdr.csum_offset)?;
        }
        Ok(())
    }
}

/// Completes a partial checksum: sums up from `csum_start` to the end of the frame, the pseudo-header's sum being in
/// the field already, and stores the result at `csum_start + csum_offset`.
///
/// # Errors
/// If the field does not lie in the frame.
pub fn complete_checksum(frame: &mut [u8], csum_start: u16, csum_offset: u16) -> Result<(), FrameError> {
    let len = frame.len();
    checksum_fits(csum_start, csum_offset, len)?;
    let outside = FrameError::Checksum { start: csum_start, offset: csum_offset, len };
    let covered = frame.get_mut(csum_start.into()..).ok_or(outside)?;
    let mut check = Sum::of(covered).checksum();
    // In UDP zero means "not summed" (RFC 768); the other zero of ones-complement arithmetic stands for it. Of the
    // protocols with this checksum only UDP has it at this offset.
    if check == 0 && csum_offset == UDP_CHECKSUM {
        check = 0xffff;
    }
    let field =
        covered.get_mut(csum_offset.into()..).and_then(|rest| rest.first_chunk_mut()).ok_or(outside)?;
    *field = check.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnet::VnetHdr;

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_its_other_form() {
        // 14 bytes of Ethernet header, then "UDP" whose words add up to ffff together with the pseudo-header's sum.
        let mut frame = [0; 22];
        frame[14..].copy_from_slice(&[0x12, 0x34, 0, 0, 0, 0, 0xed, 0xcb]);
        complete_checksum(&mut frame, 14, 6).unwrap();
        assert_eq!(frame[20..], [0xff, 0xff]);

        let mut frame = [0; 32];
        frame[14..16].copy_from_slice(&[0x12, 0x34]);
        frame[30..].copy_from_slice(&[0xed, 0xcb]);
        complete_checksum(&mut frame, 14, 16).unwrap();
        assert_eq!(frame[30..], [0, 0]);
    }

    #[test]
    fn a_checksum_field_outside_the_frame_is_refused_and_nothing_written() {
        for (start, offset) in [(14, 5), (13, 0), (0, 0), (19, 0), (u16::MAX, u16::MAX)] {
            let mut frame = [7; 20];
            let result = complete_checksum(&mut frame, start, offset);
            assert_eq!(result, Err(FrameError::Checksum { start, offset, len: 20 }));
            assert_eq!(frame, [7; 20]);
        }
    }

    #[test]
    fn an_ordinary_frame_is_its_own_only_segment() {
        let frame = [5; 60];
        let plain = SuperFrame::checked(VnetHdr::default(), &frame).unwrap();
        let mut buf = vec![1, 2, 3];
        plain.segment_into(0, &mut buf).unwrap();
        assert_eq!(buf, frame);
        assert_eq!(plain.segment_into(1, &mut buf), Err(FrameError::Segment { index: 1, segments: 1 }));
    }
}
