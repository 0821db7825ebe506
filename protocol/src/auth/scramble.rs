//! The hashes a password is proved with.
//!
//! Pure functions of password and nonce; comparisons take the same time whatever they find.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Nonce, Password};

const SHA1_LEN: usize = 20;
/// Bytes of a caching_sha2_password scramble.
pub const SHA256_LEN: usize = 32;

fn sha256(parts: &[&[u8]]) -> Zeroizing<[u8; SHA256_LEN]> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = Zeroizing::new([0; SHA256_LEN]);
    copy(context.finish().as_ref(), &mut *out);
    out
}

fn sha1(parts: &[&[u8]]) -> Zeroizing<[u8; SHA1_LEN]> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut out = Zeroizing::new([0; SHA1_LEN]);
    copy(context.finish().as_ref(), &mut *out);
    out
}

fn copy(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Combines `bytes` with `pattern`, which is repeated as often as needed.
pub(super) fn xor(bytes: &mut [u8], pattern: &[u8]) {
    for (byte, with) in bytes.iter_mut().zip(pattern.iter().cycle()) {
        *byte ^= with;
    }
}

/// What a client of `caching_sha2_password` sends first: `SHA256(pw) ^ SHA256(SHA256(SHA256(pw)), nonce)`.
#[must_use]
pub fn caching_sha2(password: &Password, nonce: &Nonce) -> [u8; SHA256_LEN] {
    caching_sha2_of(&PasswordHash::of(password), nonce)
}

/// The same from the password's hash.
#[must_use]
pub fn caching_sha2_of(once: &PasswordHash, nonce: &Nonce) -> [u8; SHA256_LEN] {
    let mut scramble = once.0;
    let twice = sha256(&[&scramble]);
    let mask = sha256(&[&twice[..], nonce.as_bytes()]);
    xor(&mut scramble, &mask[..]);
    scramble
}

/// What a client of `mysql_native_password` sends: `SHA1(pw) ^ SHA1(nonce, SHA1(SHA1(pw)))`.
#[must_use]
pub fn native(password: &Password, nonce: &Nonce) -> [u8; SHA1_LEN] {
    let mut scramble = *sha1(&[password.as_bytes()]);
    let twice = sha1(&[&scramble]);
    let mask = sha1(&[nonce.as_bytes(), &twice[..]]);
    xor(&mut scramble, &mask[..]);
    scramble
}

/// `SHA256(password)`: enough to log in where the server remembers the account, and nowhere else. Wiped when dropped,
/// never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PasswordHash([u8; SHA256_LEN]);

impl PasswordHash {
    /// Of `password`.
    #[must_use]
    pub fn of(password: &Password) -> Self {
        Self(*sha256(&[password.as_bytes()]))
    }

    /// Itself, for a keyed hash of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SHA256_LEN] {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

/// `SHA256(SHA256(password))`: enough to check a scramble, not enough to log in. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Verifier([u8; SHA256_LEN]);

impl Verifier {
    /// For `password`.
    #[must_use]
    pub fn of(password: &Password) -> Self {
        Self::of_hash(&PasswordHash::of(password))
    }

    /// For the password with this hash.
    #[must_use]
    pub fn of_hash(once: &PasswordHash) -> Self {
        Self(*sha256(&[&once.0]))
    }

    /// Whether `scramble` proves the password this verifier was made of, for `nonce`.
    #[must_use]
    pub fn matches(&self, scramble: &[u8; SHA256_LEN], nonce: &Nonce) -> bool {
        self.proved(scramble, nonce).is_some()
    }

    /// What a `scramble` that proves the password also tells: the password's hash.
    #[must_use]
    pub fn proved(&self, scramble: &[u8; SHA256_LEN], nonce: &Nonce) -> Option<PasswordHash> {
        let mut once = PasswordHash(*scramble);
        xor(&mut once.0, &sha256(&[&self.0, nonce.as_bytes()])[..]);
        verify_slices_are_equal(digest(&SHA256, &once.0).as_ref(), &self.0).is_ok().then_some(once)
    }

    /// Whether `password` is the one this verifier was made of.
    #[must_use]
    pub fn is_of(&self, password: &Password) -> bool {
        self.is_of_hash(&PasswordHash::of(password))
    }

    /// Whether it is the verifier of the password with this hash.
    #[must_use]
    pub fn is_of_hash(&self, once: &PasswordHash) -> bool {
        verify_slices_are_equal(&Self::of_hash(once).0, &self.0).is_ok()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed with Python's hashlib and nonce 01..14.
    #[test]
    fn scrambles_are_those_of_other_implementations() {
        let nonce = Nonce::from_wire(std::array::from_fn(|i| u8::try_from(i + 1).unwrap_or(0)));
        let password = Password::new(b"secret".to_vec());
        assert_eq!(hex(&caching_sha2(&password, &nonce)), CACHING);
        assert_eq!(hex(&native(&password, &nonce)), NATIVE);
        assert_eq!(hex(&Verifier::of(&password).0), TWICE);
    }

    const CACHING: &str = "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9";
    const NATIVE: &str = "b32bb3a583e1340c0a1108d58b1be49781ad8c2f";
    const TWICE: &str = "3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7";

    proptest! {
        #[test]
        fn only_the_right_password_and_nonce_match(right: Vec<u8>, wrong: Vec<u8>, nonce: [u8; 20], other: [u8; 20]) {
            let (nonce, other) = (Nonce::from_random(nonce), Nonce::from_random(other));
            let (right, wrong) = (Password::new(right), Password::new(wrong));
            let verifier = Verifier::of(&right);
            let scramble = caching_sha2(&right, &nonce);
            prop_assert!(verifier.matches(&scramble, &nonce));
            let proved = verifier.proved(&scramble, &nonce);
            prop_assert_eq!(proved.map(|hash| hash.0), Some(PasswordHash::of(&right).0));
            prop_assert_eq!(verifier.matches(&scramble, &other), nonce == other);
            let same = right.as_bytes() == wrong.as_bytes();
            prop_assert_eq!(verifier.matches(&caching_sha2(&wrong, &nonce), &nonce), same);
            prop_assert_eq!(verifier.is_of(&wrong), same);
        }
    }
}
