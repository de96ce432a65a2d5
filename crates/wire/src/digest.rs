//! Digests: how two peers find out which facts the other lacks (P5.6).

use crate::{FactError, FactKind, FactView, PeerName};

/// How many buckets the facts are divided into for a digest.
pub const BUCKETS: usize = 64;

const LINE: usize = 6 + 2 + 8 + 8;
/// Flag in the level's byte: please answer with yours.
const ANSWER: u8 = 0x80;
const WHOLE: u8 = 0;
const BY_BUCKET: u8 = 1;
const LINES: u8 = 2;

/// One line of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestEntry {
    /// Whose fact.
    pub origin: PeerName,
    /// Which.
    pub kind: FactKind,
    /// Its incarnation and counter.
    pub version: (u64, u64),
}

/// What the sender holds, as closely as the level tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// Level 0: the fingerprint of everything.
    Whole(u64),
    /// Level 1: one fingerprint for each bucket.
    Buckets(Box<[u64; BUCKETS]>),
    /// Level 2: all facts in some buckets.
    Lines {
        /// Please answer with yours.
        answer: bool,
        /// The buckets, bit 0 for the first.
        buckets: u64,
        /// The facts in them.
        lines: Vec<DigestEntry>,
    },
}

impl DigestEntry {
    /// The line of an encoded fact; `None` if it is none.
    pub fn of_fact(fact: &[u8]) -> Option<Self> {
        let FactView { origin, kind, version, .. } = FactView::decode(fact).ok()?;
        Some(Self { origin, kind, version })
    }

    /// Bytes that a line takes.
    pub(crate) const LEN: usize = LINE;

    /// The line as it travels, and as fingerprints are made of it.
    pub fn to_bytes(&self) -> [u8; LINE] {
        let [o0, o1, o2, o3, o4, o5] = self.origin.bytes();
        let [k0, k1] = self.kind.0.to_be_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.version.0.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.version.1.to_be_bytes();
        [o0, o1, o2, o3, o4, o5, k0, k1, i0, i1, i2, i3, i4, i5, i6, i7, c0, c1, c2, c3, c4, c5, c6, c7]
    }

    fn from_bytes(b: &[u8; LINE]) -> Self {
        let &[o0, o1, o2, o3, o4, o5, k0, k1, i0, i1, i2, i3, i4, i5, i6, i7, c0, c1, c2, c3, c4, c5, c6, c7] =
            b;
        Self {
            origin: PeerName::new([o0, o1, o2, o3, o4, o5]),
            kind: FactKind(u16::from_be_bytes([k0, k1])),
            version: (
                u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
                u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            ),
        }
    }

    pub(crate) fn encode_all(entries: &[Self], out: &mut Vec<u8>) {
        out.reserve(entries.len() * LINE);
        for entry in entries {
            out.extend_from_slice(&entry.to_bytes());
        }
    }

    pub(crate) fn decode_all(b: &[u8]) -> Result<Vec<Self>, FactError> {
        let (entries, rest) = b.as_chunks::<LINE>();
        if rest.is_empty() {
            Ok(entries.iter().map(Self::from_bytes).collect())
        } else {
            Err(FactError::Short)
        }
    }
}

impl Digest {
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::Whole(_) => 1 + 8,
            Self::Buckets(fingerprints) => 1 + 8 * fingerprints.len(),
            Self::Lines { lines, .. } => 1 + 8 + LINE * lines.len(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Whole(fingerprint) => {
                let mut b = vec![WHOLE];
                b.extend_from_slice(&fingerprint.to_be_bytes());
                b
            }
            Self::Buckets(fingerprints) => {
                let mut b = vec![BY_BUCKET];
                b.extend(fingerprints.iter().flat_map(|f| f.to_be_bytes()));
                b
            }
            Self::Lines { answer, buckets, lines } => {
                let mut b = vec![if *answer { LINES | ANSWER } else { LINES }];
                b.extend_from_slice(&buckets.to_be_bytes());
                DigestEntry::encode_all(lines, &mut b);
                b
            }
        }
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, FactError> {
        let (&level, body) = b.split_first().ok_or(FactError::Short)?;
        match level & !ANSWER {
            WHOLE => {
                body.try_into().map(|b| Self::Whole(u64::from_be_bytes(b))).map_err(|_| FactError::Short)
            }
            BY_BUCKET => {
                let (fingerprints, rest) = body.as_chunks::<8>();
                let fingerprints: Vec<_> = fingerprints.iter().map(|&b| u64::from_be_bytes(b)).collect();
                let fingerprints = fingerprints.try_into().map_err(|_| FactError::Short)?;
                if rest.is_empty() { Ok(Self::Buckets(fingerprints)) } else { Err(FactError::Short) }
            }
            LINES => {
                let (buckets, lines) = body.split_first_chunk().ok_or(FactError::Short)?;
                Ok(Self::Lines {
                    answer: level & ANSWER != 0,
                    buckets: u64::from_be_bytes(*buckets),
                    lines: DigestEntry::decode_all(lines)?,
                })
            }
            other => Err(FactError::Payload(format!("digest of level {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = DigestEntry> {
        (any::<[u8; 6]>(), any::<u16>(), any::<(u64, u64)>()).prop_map(|(origin, kind, version)| {
            DigestEntry { origin: PeerName::new(origin), kind: FactKind(kind), version }
        })
    }

    fn digest() -> impl Strategy<Value = Digest> {
        prop_oneof![
            any::<u64>().prop_map(Digest::Whole),
            proptest::collection::vec(any::<u64>(), BUCKETS)
                .prop_map(|f| Digest::Buckets(f.try_into().expect("as many as there are buckets"))),
            (any::<bool>(), any::<u64>(), proptest::collection::vec(line(), 0..9))
                .prop_map(|(answer, buckets, lines)| Digest::Lines { answer, buckets, lines }),
        ]
    }

    proptest! {
        #[test]
        fn every_digest_survives_and_one_that_is_cut_short_is_refused_or_has_fewer_lines(digest in digest(), cut in 1usize..40) {
            let b = digest.encode();
            prop_assert_eq!(Digest::decode(&b), Ok(digest.clone()));
            match (digest, Digest::decode(&b[..b.len().saturating_sub(cut)])) {
                (Digest::Lines { lines, .. }, Ok(Digest::Lines { lines: fewer, .. })) => {
                    prop_assert!(cut % LINE == 0 && fewer.len() < lines.len());
                }
                (_, cut) => prop_assert!(cut.is_err()),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(b in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Digest::decode(&b);
            let _ = DigestEntry::decode_all(&b);
        }

        #[test]
        fn a_level_that_is_unknown_is_refused(level in 3u8..0x80, b in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Digest::decode(&[&[level], b.as_slice()].concat()).is_err());
        }
    }
}
