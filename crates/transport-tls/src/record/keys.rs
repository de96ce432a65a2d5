//! Traffic secrets and what is made of them (RFC 8446 sections 7.1 to 7.3).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::CipherSuite;
use zeroize::Zeroizing;

use super::RecordError;

/// One of the three cipher suites of TLS 1.3 that rustls offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Suite {
    /// The suite a handshake agreed on.
    pub(crate) const fn new(suite: CipherSuite) -> Option<Self> {
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(Self::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Self::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Self::Chacha20Poly1305),
            _ => None,
        }
    }

    fn aead(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    const fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => HKDF_SHA384,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => HKDF_SHA256,
        }
    }

    const fn hash_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 48,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// `application_traffic_secret_N` of one direction.
pub(crate) struct TrafficSecret {
    suite: Suite,
    secret: Zeroizing<Vec<u8>>,
}

impl TrafficSecret {
    /// The secret that the handshake gave for one direction.
    ///
    /// # Errors
    /// When it is not as long as the suite's hash.
    pub(crate) fn new(suite: Suite, secret: Zeroizing<Vec<u8>>) -> Result<Self, RecordError> {
        if secret.len() != suite.hash_len() {
            return Err(RecordError::Keys);
        }
        Ok(Self { suite, secret })
    }

    /// The secret after a key update.
    pub(super) fn next(&self) -> Result<Self, RecordError> {
        let mut secret = Zeroizing::new(vec![0; self.suite.hash_len()]);
        self.expand(b"traffic upd", &mut secret)?;
        Ok(Self { suite: self.suite, secret })
    }

    /// Key and starting point of the nonces.
    pub(super) fn keys(&self) -> Result<Keys, RecordError> {
        let aead = self.suite.aead();
        let (mut key, mut iv) = (Zeroizing::new(vec![0; aead.key_len()]), [0; 12]);
        self.expand(b"key", &mut key)?;
        self.expand(b"iv", &mut iv)?;
        let key = UnboundKey::new(aead, &key).map_err(|_| RecordError::Keys)?;
        Ok(Keys { key: LessSafeKey::new(key), iv })
    }

    /// HKDF-Expand-Label with an empty context.
    fn expand(&self, label: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        struct Length(usize);
        impl KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let length = u16::try_from(out.len()).map_err(|_| RecordError::Keys)?;
        let label_len = u8::try_from(6 + label.len()).map_err(|_| RecordError::Keys)?;
        Prk::new_less_safe(self.suite.hkdf(), &self.secret)
            .expand(&[&length.to_be_bytes(), &[label_len], b"tls13 ", label, &[0]], Length(out.len()))
            .and_then(|okm| okm.fill(out))
            .map_err(|_| RecordError::Keys)
    }
}

/// What seals or opens the records between two key updates.
pub(super) struct Keys {
    pub(super) key: LessSafeKey,
    iv: [u8; 12],
}

impl Keys {
    /// The nonce of record number `seq` (RFC 8446 section 5.3).
    pub(super) fn nonce(&self, seq: u64) -> Nonce {
        let mut nonce = self.iv;
        nonce.iter_mut().skip(4).zip(seq.to_be_bytes()).for_each(|(n, s)| *n ^= s);
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's first application keys in the simple handshake of RFC 8448 section 3.
    #[test]
    fn keys_are_those_of_rfc_8448() {
        let secret = [
            0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11, 0x6b, 0x45, 0xa9, 0x50, 0x32,
            0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb, 0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43,
        ];
        let secret = TrafficSecret::new(Suite::Aes128Gcm, Zeroizing::new(secret.to_vec())).unwrap();
        let mut key = [0; 16];
        secret.expand(b"key", &mut key).unwrap();
        assert_eq!(
            key,
            [0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b, 0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56]
        );
        let keys = secret.keys().unwrap();
        assert_eq!(keys.iv, [0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84]);
        assert_eq!(keys.nonce(0x0102).as_ref()[10..], [0xe9 ^ 1, 0x84 ^ 2]);
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        let secret = Zeroizing::new(vec![0; 32]);
        assert_eq!(TrafficSecret::new(Suite::Aes256Gcm, secret).err(), Some(RecordError::Keys));
    }
}
