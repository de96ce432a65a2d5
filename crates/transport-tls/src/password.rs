//! Proving a shared password without showing it (P3).

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::hmac;
use spake2::{Ed25519Group, Identity, Password as SpakePassword, Spake2};
use zeroize::Zeroizing;

/// Memory of one stretching in KiB, passes and lanes (P3.3), the smaller recommendation of OWASP for Argon2id. A man in the
/// middle cannot test passwords off line anyway; this protects the password should a router's memory leak.
const PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);
const SALT: &[u8] = b"weave password v1";
/// Length of the confirmations of P3.6.
const MAC_LEN: usize = 32;

/// A password that lets peers in, stretched (P3.3).
#[derive(Clone)]
pub struct Password(Zeroizing<[u8; 32]>);

/// Why a password is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Nothing in it.
    #[error("the password is empty")]
    Empty,
    /// The library refused.
    #[error("the password could not be stretched: {0}")]
    Stretch(String),
}

impl Password {
    /// Stretches a password; takes tens of milliseconds.
    ///
    /// # Errors
    /// When it is empty.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        let failed = |e: argon2::Error| PasswordError::Stretch(e.to_string());
        let (memory, passes, lanes) = PARAMS;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
        let mut out = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(text.as_bytes(), SALT, out.as_mut())
            .map_err(failed)?;
        Ok(Self(out))
    }
}

/// Which end of the connection we are: the confirmations differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

/// One run of P3.5 over all pairs of passwords.
pub(crate) struct Exchange {
    binding: [u8; 32],
    side: Side,
    runs: Vec<Spake2<Ed25519Group>>,
}

/// The keys of all pairs; to a pair of unequal passwords belong unequal keys.
pub(crate) struct Keys {
    binding: [u8; 32],
    side: Side,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Exchange {
    /// Starts it; gives the shares to send. `theirs` is how many passwords the other end has.
    pub(crate) fn start(
        ours: &[Password],
        theirs: u8,
        side: Side,
        binding: [u8; 32],
    ) -> (Self, Vec<Vec<u8>>) {
        let theirs = usize::from(theirs);
        // P3.5 orders the pairs by the dialler's password first, whichever end we are.
        let pairs: Vec<&Password> = match side {
            Side::Dialler => ours.iter().flat_map(|p| std::iter::repeat_n(p, theirs)).collect(),
            Side::Acceptor => (0..theirs).flat_map(|_| ours).collect(),
        };
        let identity = Identity::new(&binding);
        let (runs, shares) = pairs
            .into_iter()
            .map(|p| Spake2::<Ed25519Group>::start_symmetric(&SpakePassword::new(p.0.as_ref()), &identity))
            .unzip();
        (Self { binding, side, runs }, shares)
    }

    /// Takes the other end's shares; `None` when they are not as many as there are pairs, or malformed.
    pub(crate) fn finish(self, shares: &[Vec<u8>]) -> Option<Keys> {
        if shares.len() != self.runs.len() {
            return None;
        }
        let keys = self
            .runs
            .into_iter()
            .zip(shares)
            .map(|(run, share)| run.finish(share).map(Zeroizing::new).ok())
            .collect::<Option<_>>()?;
        Some(Keys { binding: self.binding, side: self.side, keys })
    }
}

impl Keys {
    /// Our confirmations (P3.6).
    pub(crate) fn confirm(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| mac(key, self.side, &self.binding).as_ref().to_vec()).collect()
    }

    /// Whether one of the other end's confirmations shows that it knows a password of ours.
    pub(crate) fn verify(&self, confirmations: &[Vec<u8>]) -> bool {
        let other = if self.side == Side::Dialler { Side::Acceptor } else { Side::Dialler };
        if confirmations.len() != self.keys.len() {
            return false;
        }
        // All pairs are compared, in constant time each, so that time tells nothing.
        self.keys.iter().zip(confirmations).fold(false, |found, (key, c)| {
            let equal: bool =
                subtle::ConstantTimeEq::ct_eq(mac(key, other, &self.binding).as_ref(), c.as_slice()).into();
            found | (equal && c.len() == MAC_LEN)
        })
    }
}

fn mac(key: &[u8], who: Side, binding: &[u8; 32]) -> hmac::Tag {
    let label: &[u8] = if who == Side::Dialler { b"dialler" } else { b"acceptor" };
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(label);
    context.update(binding);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the dialler is satisfied, and the acceptor.
    fn prove(dialler: &[&str], acceptor: &[&str], bindings: [u8; 2]) -> (bool, bool) {
        let stretch = |list: &[&str]| list.iter().map(|p| Password::new(p).unwrap()).collect::<Vec<_>>();
        let (d, a) = (stretch(dialler), stretch(acceptor));
        let (run_d, shares_d) = Exchange::start(&d, a.len() as u8, Side::Dialler, [bindings[0]; 32]);
        let (run_a, shares_a) = Exchange::start(&a, d.len() as u8, Side::Acceptor, [bindings[1]; 32]);
        let (keys_d, keys_a) = (run_d.finish(&shares_a).unwrap(), run_a.finish(&shares_d).unwrap());
        (keys_d.verify(&keys_a.confirm()), keys_a.verify(&keys_d.confirm()))
    }

    #[test]
    fn one_common_password_of_several_is_enough() {
        assert_eq!(prove(&["old", "new"], &["new"], [1, 1]), (true, true));
        assert_eq!(prove(&["old"], &["new", "x", "old"], [1, 1]), (true, true));
    }

    #[test]
    fn another_password_proves_nothing() {
        assert_eq!(prove(&["a"], &["b"], [1, 1]), (false, false));
    }

    #[test]
    fn a_man_in_the_middle_has_two_bindings_and_fails_with_the_right_password() {
        assert_eq!(prove(&["a"], &["a"], [1, 2]), (false, false));
    }

    #[test]
    fn our_own_share_and_confirmation_sent_back_prove_nothing() {
        let ours = [Password::new("a").unwrap()];
        let (run, shares) = Exchange::start(&ours, 1, Side::Dialler, [1; 32]);
        if let Some(keys) = run.finish(&shares) {
            assert!(!keys.verify(&keys.confirm()));
        }
    }

    #[test]
    fn shares_that_are_nonsense_or_too_few_are_refused() {
        let ours = [Password::new("a").unwrap()];
        for bad in [vec![], vec![vec![]], vec![vec![7; 33]; 2]] {
            let (run, _) = Exchange::start(&ours, 1, Side::Acceptor, [1; 32]);
            assert!(run.finish(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_password_is_refused() {
        assert!(matches!(Password::new(""), Err(PasswordError::Empty)));
    }
}
