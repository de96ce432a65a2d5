//! [`RecordSealer`]: the sending direction.

use aws_lc_rs::aead::Aad;

use super::keys::Keys;
use super::layout::header;
use super::{
    ALERT, APPLICATION_DATA, Alert, HANDSHAKE, HEADER, KEY_UPDATE, MAX_CONTENT, RecordError, TAG, TRAILER,
    TrafficSecret,
};

/// Records sealed with one key before a key update. RFC 8446 section 5.5 allows 2^24.5 for AES-GCM; the rest is room for the batch
/// under way.
const RECORDS_A_KEY: u64 = 1 << 23;

/// Seals records, in the order they are sent.
pub(crate) struct RecordSealer {
    secret: TrafficSecret,
    keys: Keys,
    seq: u64,
    limit: u64,
}

impl RecordSealer {
    /// Starts with the secret of the handshake.
    ///
    /// # Errors
    /// When the crypto library refuses the keys.
    pub(crate) fn new(secret: TrafficSecret) -> Result<Self, RecordError> {
        let keys = secret.keys()?;
        Ok(Self { secret, keys, seq: 0, limit: RECORDS_A_KEY })
    }

    /// Updates keys after another number of records.
    #[cfg(test)]
    pub(crate) const fn set_limit(&mut self, records: u64) {
        self.limit = records;
    }

    /// Whether a key update should go before further records.
    pub(crate) const fn update_due(&self) -> bool {
        self.seq >= self.limit
    }

    /// Seals records that were laid out and closed, where they lie.
    ///
    /// # Errors
    /// When the crypto library refuses; they must not be sent then.
    pub(crate) fn seal(&mut self, mut records: &mut [u8]) -> Result<(), RecordError> {
        while let Some((header, rest)) = records.split_first_chunk_mut::<HEADER>() {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let (body, next) = rest.split_at_mut_checked(len).ok_or(RecordError::TooLong(len))?;
            self.seal_one(*header, body)?;
            records = next;
        }
        Ok(())
    }

    /// Appends `content` as sealed records.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub(crate) fn append(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        content.chunks(MAX_CONTENT).try_for_each(|part| self.append_one(APPLICATION_DATA, part, out))
    }

    /// Appends short `content` as a sealed record that is padded to so many bytes, or as many as a record can have
    /// (RFC 8446 section 5.4).
    ///
    /// # Errors
    /// When the content fits no record, or the crypto library refuses.
    pub(crate) fn append_padded(
        &mut self,
        content: &[u8],
        bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        if content.len() > MAX_CONTENT {
            return Err(RecordError::TooLong(content.len()));
        }
        let padding =
            bytes.min(HEADER + MAX_CONTENT + TRAILER).saturating_sub(HEADER + content.len() + TRAILER);
        self.append_padded_one(APPLICATION_DATA, content, padding, out)
    }

    /// Appends an alert.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub(crate) fn append_alert(&mut self, alert: Alert, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.append_one(ALERT, &alert.encode(), out)
    }

    /// Appends a KeyUpdate that asks for none in return, and goes on with the next key (RFC 8446 section 4.6.3).
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub(crate) fn append_key_update(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        const NOT_REQUESTED: u8 = 0;
        self.append_one(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, NOT_REQUESTED], out)?;
        self.secret = self.secret.next()?;
        self.keys = self.secret.keys()?;
        self.seq = 0;
        Ok(())
    }

    pub(super) fn append_one(
        &mut self,
        kind: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        self.append_padded_one(kind, content, 0, out)
    }

    fn append_padded_one(
        &mut self,
        kind: u8,
        content: &[u8],
        padding: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let (start, header) = (out.len(), header(content.len() + padding));
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.push(kind);
        // Zeroes, and room for the tag.
        out.resize(out.len() + padding + TAG, 0);
        let sealed = out.get_mut(start + HEADER..).map_or(Ok(()), |body| self.seal_one(header, body));
        if sealed.is_err() {
            // Nothing unsealed may reach the socket.
            out.truncate(start);
        }
        sealed
    }

    /// Seals what follows the header; its last bytes are room for the tag.
    fn seal_one(&mut self, header: [u8; HEADER], body: &mut [u8]) -> Result<(), RecordError> {
        let (inner, room) = body.split_last_chunk_mut::<TAG>().ok_or(RecordError::NoType)?;
        let nonce = self.keys.nonce(self.seq);
        let tag = self
            .keys
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), inner)
            .map_err(|_| RecordError::Keys)?;
        room.copy_from_slice(tag.as_ref());
        self.seq += 1;
        Ok(())
    }
}
