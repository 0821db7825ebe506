//! RSA-OAEP for passwords on connections without TLS, as both sides of `caching_sha2_password` and
//! `sha256_password` use it: `OAEP-SHA1(password, 0 ^ nonce)`.
//!
//! The private key never leaves its type except as PKCS#8 for the one file it is kept in, and is never printed.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::scramble::xor;
use super::{Nonce, Password, pem};

/// What can be wrong with a key or an encrypted password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RsaError {
    /// Making a key failed (the system's randomness or memory).
    #[error("no RSA key could be made")]
    Generate,
    /// Bytes that should be a private key are none of 2048 to 8192 bits.
    #[error("not an RSA private key in PKCS#8 form")]
    PrivateKey,
    /// What a server sent as its public key is none of 2048 to 8192 bits.
    #[error("not an RSA public key in PEM form")]
    PublicKey,
    /// The password is longer than a block of this key holds.
    #[error("the password is too long for the server's RSA key")]
    PasswordTooLong,
    /// An encrypted password was not made with our key, or is not a password.
    #[error("the encrypted password cannot be read")]
    Decrypt,
}

/// Our own key pair, for clients without TLS.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    pkcs8: Zeroizing<Vec<u8>>,
    public_pem: String,
}

impl KeyPair {
    /// A new pair of 2048 bits. Takes some hundred milliseconds.
    ///
    /// # Errors
    /// [`RsaError::Generate`].
    pub fn generate() -> Result<Self, RsaError> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| RsaError::Generate)?;
        Self::from_private(private).map_err(|_| RsaError::Generate)
    }

    /// A pair that was kept as PKCS#8 DER.
    ///
    /// # Errors
    /// [`RsaError::PrivateKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, RsaError> {
        Self::from_private(PrivateDecryptingKey::from_pkcs8(der).map_err(|_| RsaError::PrivateKey)?)
    }

    fn from_private(private: PrivateDecryptingKey) -> Result<Self, RsaError> {
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&private).map_err(|_| RsaError::PrivateKey)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let public =
            AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).map_err(|_| RsaError::PrivateKey)?;
        let public_pem = pem::encode(public.as_ref());
        let private = OaepPrivateDecryptingKey::new(private).map_err(|_| RsaError::PrivateKey)?;
        Ok(Self { private, pkcs8, public_pem })
    }

    /// The pair as PKCS#8 DER, to be kept in a file nobody else can read.
    #[must_use]
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, as clients get it.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The password in a client's `block`, made for `nonce`.
    ///
    /// # Errors
    /// [`RsaError::Decrypt`].
    pub fn decrypt(&self, block: &[u8], nonce: &Nonce) -> Result<Password, RsaError> {
        if block.len() != self.private.key_size_bytes() {
            return Err(RsaError::Decrypt);
        }
        let mut room = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let clear = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, block, &mut room, None)
            .map_err(|_| RsaError::Decrypt)?;
        xor(clear, nonce.as_bytes());
        match clear.split_last() {
            Some((0, password)) if !password.contains(&0) => Ok(Password::new(password.to_vec())),
            Some(_) | None => Err(RsaError::Decrypt),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(redacted)")
    }
}

/// The public key of an instance.
pub struct ServerPublicKey(OaepPublicEncryptingKey);

impl ServerPublicKey {
    /// From the PEM text a server sends.
    ///
    /// # Errors
    /// [`RsaError::PublicKey`].
    pub fn from_pem(text: &[u8]) -> Result<Self, RsaError> {
        let der = pem::decode(text).ok_or(RsaError::PublicKey)?;
        let key = PublicEncryptingKey::from_der(&der).map_err(|_| RsaError::PublicKey)?;
        OaepPublicEncryptingKey::new(key).map(Self).map_err(|_| RsaError::PublicKey)
    }

    /// The block that carries `password` to the owner of the key, for `nonce`.
    ///
    /// # Errors
    /// [`RsaError::PasswordTooLong`].
    pub fn encrypt(&self, password: &Password, nonce: &Nonce) -> Result<Vec<u8>, RsaError> {
        let mut clear = Zeroizing::new(Vec::with_capacity(password.as_bytes().len() + 1));
        clear.extend_from_slice(password.as_bytes());
        clear.push(0);
        xor(&mut clear, nonce.as_bytes());
        let mut room = vec![0; self.0.ciphertext_size()];
        let block = self
            .0
            .encrypt(&OAEP_SHA1_MGF1SHA1, &clear, &mut room, None)
            .map_err(|_| RsaError::PasswordTooLong)?;
        Ok(block.to_vec())
    }
}

impl fmt::Debug for ServerPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerPublicKey")
    }
}
