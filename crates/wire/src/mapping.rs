//! What NATs do to the UDP port of a peer, as it tells others (P5.4).

/// What kinds of addresses a NAT gives the UDP port of a peer (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapping {
    /// Too few have said where they see it.
    #[default]
    Unknown,
    /// The same for everyone, or there is no NAT.
    Independent,
    /// Another one for each destination.
    Dependent,
}

pub(crate) mod mapping_cbor {
    use super::Mapping;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(crate) fn encode<C, W: Write>(
        mapping: &Mapping,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u8(*mapping as u8)?.ok()
    }

    /// A number of a later version says nothing that is known here.
    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Mapping, DecodeError> {
        Ok(match d.u8()? {
            1 => Mapping::Independent,
            2 => Mapping::Dependent,
            _ => Mapping::Unknown,
        })
    }

    pub(crate) const fn nil() -> Option<Mapping> {
        Some(Mapping::Unknown)
    }

    pub(crate) const fn is_nil(mapping: &Mapping) -> bool {
        matches!(mapping, Mapping::Unknown)
    }
}
