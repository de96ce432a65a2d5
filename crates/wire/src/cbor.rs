//! What several formats need of CBOR.

use minicbor::Encode;

/// CBOR of a value whose writer cannot fail: it goes to memory.
pub(crate) fn cbor<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

/// A peer name in CBOR: a byte string of six.
pub(crate) mod name_cbor {
    use crate::PeerName;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(crate) fn encode<C, W: Write>(
        name: &PeerName,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&name.bytes())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<PeerName, DecodeError> {
        let bytes = d.bytes()?;
        bytes.try_into().map(PeerName::new).map_err(|_| DecodeError::message("a peer name has six bytes"))
    }
}
