//! Proving a password: what both sides of a login share.
//!
//! Passwords and everything equal to one are wiped when dropped and never printed. The exchanges are states a packet
//! consumes: `server` towards clients, `client` towards instances. Who may log in is decided by the caller, between
//! two steps; nothing here keeps or looks up an account.

pub mod client;
mod pem;
pub mod rsa;
pub mod scramble;
pub mod server;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use client::{ClientAuth, ClientAuthError, ClientStep};
pub use rsa::{KeyPair, RsaError, ServerPublicKey};
pub use scramble::{PasswordHash, Verifier};
pub use server::{Attempt, AuthError, ExpectFull, ExpectSwitchReply, FullStep, ServerAuth};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 20;

/// Whether others can read what goes over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelSecurity {
    /// TLS, or a Unix socket: a password may be sent as it is.
    Secure,
    /// Anything else: a password is never sent as it is.
    Plain,
}

/// An authentication plugin as the protocol names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthPlugin {
    /// `caching_sha2_password`.
    CachingSha2,
    /// `mysql_native_password`.
    NativePassword,
    /// `sha256_password`.
    Sha256Password,
    /// `mysql_clear_password`.
    ClearPassword,
    /// Another, by its name.
    Other(Vec<u8>),
}

impl AuthPlugin {
    /// By its name on the wire.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"caching_sha2_password" => Self::CachingSha2,
            b"mysql_native_password" => Self::NativePassword,
            b"sha256_password" => Self::Sha256Password,
            b"mysql_clear_password" => Self::ClearPassword,
            other => Self::Other(other.to_vec()),
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::CachingSha2 => b"caching_sha2_password",
            Self::NativePassword => b"mysql_native_password",
            Self::Sha256Password => b"sha256_password",
            Self::ClearPassword => b"mysql_clear_password",
            Self::Other(name) => name,
        }
    }
}

/// A password in memory: wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the bytes over; the caller's buffer is the one that is wiped later.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, without a terminating zero.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the empty password.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// What a login at an instance is proved with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The password itself: good for every plugin and every server.
    Password(Password),
    /// Its hash, where the password may not be kept: good for `caching_sha2_password` on servers that remember the
    /// account.
    Hash(PasswordHash),
}

impl Credential {
    /// The hash.
    #[must_use]
    pub fn hash(&self) -> PasswordHash {
        match self {
            Self::Password(password) => PasswordHash::of(password),
            Self::Hash(hash) => hash.clone(),
        }
    }

    /// Whether it is the empty password.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Password(password) => password.is_empty(),
            Self::Hash(_) => false,
        }
    }
}

impl From<Password> for Credential {
    fn from(password: Password) -> Self {
        Self::Password(password)
    }
}

/// The random bytes a password is proved against. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// A nonce of our own from random bytes: as the server's, of 7 bits and without 0 and `$`, where old clients
    /// stop reading.
    #[must_use]
    pub fn from_random(random: [u8; NONCE_LEN]) -> Self {
        Self(random.map(|byte| match byte & 0x7f {
            0 => 1,
            b'$' => b'%',
            usable => usable,
        }))
    }

    /// A nonce of the other side, as it came.
    #[must_use]
    pub const fn from_wire(bytes: [u8; NONCE_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print_and_nonces_are_readable_by_old_clients() {
        let password = Password::new(b"hunter2".to_vec());
        assert!(!format!("{password:?}").contains("hunter2"));
        assert!(!format!("{:?}", Verifier::of(&password)).contains('['));
        for byte in 0..=u8::MAX {
            let nonce = Nonce::from_random([byte; NONCE_LEN]);
            assert!(nonce.as_bytes().iter().all(|byte| (1..0x80).contains(byte) && *byte != b'$'));
        }
    }

    #[test]
    fn plugins_keep_their_names() {
        for name in
            ["caching_sha2_password", "mysql_native_password", "sha256_password", "mysql_clear_password", "x"]
        {
            assert_eq!(AuthPlugin::from_name(name.as_bytes()).name(), name.as_bytes());
        }
    }
}
