//! The key pair that a peer is (P1.1), and the name that follows from it (P1.2).

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use wire::PeerName;

/// Hashed before the public key, so that a name never equals a digest made for another purpose (P1.2).
const NAME_DOMAIN: &[u8] = b"weave peer name v1";

/// An Ed25519 key pair (RFC 8032).
pub struct Identity {
    pair: Ed25519KeyPair,
    public_key: [u8; 32],
}

impl Identity {
    /// The identity that these 32 secret bytes stand for: the same bytes always give the same one.
    ///
    /// # Panics
    /// When there is no memory for the key: its length, the only other thing that could be wrong, is fixed by the
    /// type.
    #[expect(clippy::expect_used, reason = "any 32 bytes are an Ed25519 seed (RFC 8032 section 5.1.5)")]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed");
        let mut public_key = [0; 32];
        public_key.copy_from_slice(pair.public_key().as_ref());
        Self { pair, public_key }
    }

    /// What others know this identity by.
    pub const fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The name it has unless the operator chose another one (P1.2).
    pub fn name(&self) -> PeerName {
        name_of(&self.public_key)
    }

    /// Ed25519 signature over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.name())
    }
}

/// Whether the holder of a public key, the first argument, signed a message, the second; the third is the signature.
pub type Verify = fn(&[u8; 32], &[u8], &[u8; 64]) -> bool;

/// Whether the holder of `public_key` signed `message`.
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// The name that follows from a public key (P1.2).
pub fn name_of(public_key: &[u8; 32]) -> PeerName {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(NAME_DOMAIN);
    context.update(public_key);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    PeerName::from_digest(&digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_public_key_of_rfc_8032_section_7_1_test_1() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(Identity::from_seed(&seed).public_key(), public);
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let one = Identity::from_seed(&[1; 32]);
        let two = Identity::from_seed(&[2; 32]);
        let signature = one.sign(b"hello");
        assert!(verify(&one.public_key(), b"hello", &signature));
        assert!(!verify(&one.public_key(), b"hellp", &signature));
        assert!(!verify(&two.public_key(), b"hello", &signature));
        assert!(!verify(&[0xff; 32], b"hello", &signature));
    }

    #[test]
    fn a_name_follows_from_the_key_and_is_a_unicast_local_address() {
        let identity = Identity::from_seed(&[1; 32]);
        assert_eq!(identity.name(), name_of(&identity.public_key()));
        assert_eq!(identity.name().bytes()[0] & 0b11, 0b10);
        assert_ne!(identity.name(), Identity::from_seed(&[2; 32]).name());
        // printf 'weave peer name v1' | cat - <32 bytes of 0x07> | sha256sum
        assert_eq!(name_of(&[7; 32]).to_string(), "76:61:51:5b:5a:2b");
    }

    #[test]
    fn the_debug_form_shows_no_secret() {
        let identity = Identity::from_seed(&[1; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.name()));
    }

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }
}
