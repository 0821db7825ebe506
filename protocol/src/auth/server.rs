//! Towards a client: `caching_sha2_password` as its server, step by step.
//!
//! ```text
//! ServerAuth -> Attempt ----------------------- fast, verifier matches --> FAST_OK, then OK
//!      \-> ExpectSwitchReply -> Attempt  \----- ask_full --> ExpectFull --> Password
//! ```
//! It never judges a password: the caller compares an [`Attempt`] with a verifier it remembers, or lets an instance
//! decide about a [`Password`].

use thiserror::Error;
use zeroize::Zeroizing;

use super::scramble::SHA256_LEN;
use super::{AuthPlugin, ChannelSecurity, KeyPair, Nonce, Password, PasswordHash, RsaError, Verifier};
use crate::WireAppend;

/// The payload that accepts a fast attempt; OK follows in a packet of its own.
pub const FAST_OK: [u8; 2] = [0x01, 0x03];
/// The payload that asks for the password itself.
const FULL_REQUEST: [u8; 2] = [0x01, 0x04];
/// What a client without TLS sends to get our public key.
const KEY_REQUEST: [u8; 1] = [0x02];

/// What a client did wrong. Nothing here says whether a password is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The scramble has this many bytes instead of 32.
    #[error("a scramble of {0} bytes")]
    Scramble(usize),
    /// The password does not end in its one zero byte.
    #[error("a password that is not terminated")]
    Unterminated,
    /// The encrypted password cannot be read.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

/// A login's first data, or the request for it.
#[derive(Debug)]
pub enum ServerAuth {
    /// The client used our plugin.
    Attempt(Attempt),
    /// It used another, or must be asked anew: send `payload`, then feed the reply to `next`.
    Switch {
        /// AuthSwitchRequest.
        payload: Vec<u8>,
        /// The state that takes the reply.
        next: ExpectSwitchReply,
    },
}

impl ServerAuth {
    /// After a login: `response` is its authentication data for `nonce` (the greeting's). `fresh` is used if the client
    /// must switch to our plugin.
    ///
    /// # Errors
    /// [`AuthError::Scramble`].
    pub fn begin(
        plugin: &AuthPlugin,
        response: &[u8],
        nonce: Nonce,
        fresh: Nonce,
        channel: ChannelSecurity,
    ) -> Result<Self, AuthError> {
        match plugin {
            AuthPlugin::CachingSha2 => Attempt::read(response, nonce, channel).map(Self::Attempt),
            AuthPlugin::NativePassword
            | AuthPlugin::Sha256Password
            | AuthPlugin::ClearPassword
            | AuthPlugin::Other(_) => Ok(Self::switch(fresh, channel)),
        }
    }

    /// After COM_CHANGE_USER: always asks with a nonce of its own, as MySQL does.
    #[must_use]
    pub fn switch(fresh: Nonce, channel: ChannelSecurity) -> Self {
        let mut payload = vec![0xfe];
        payload.push_nul_terminated(AuthPlugin::CachingSha2.name());
        payload.push_bytes(fresh.as_bytes());
        payload.push_u8(0);
        Self::Switch { payload, next: ExpectSwitchReply { nonce: fresh, channel } }
    }
}

/// Waits for the scramble that was asked for.
#[derive(Debug)]
pub struct ExpectSwitchReply {
    nonce: Nonce,
    channel: ChannelSecurity,
}

impl ExpectSwitchReply {
    /// Takes the client's next payload.
    ///
    /// # Errors
    /// [`AuthError::Scramble`].
    pub fn on(self, payload: &[u8]) -> Result<Attempt, AuthError> {
        Attempt::read(payload, self.nonce, self.channel)
    }
}

/// What a client says first: no password, or a scramble of one.
#[derive(Debug)]
pub struct Attempt {
    scramble: Option<[u8; SHA256_LEN]>,
    nonce: Nonce,
    channel: ChannelSecurity,
}

impl Attempt {
    fn read(data: &[u8], nonce: Nonce, channel: ChannelSecurity) -> Result<Self, AuthError> {
        let scramble = match data {
            [] | [0] => None,
            data => Some(*<&[u8; SHA256_LEN]>::try_from(data).map_err(|_| AuthError::Scramble(data.len()))?),
        };
        Ok(Self { scramble, nonce, channel })
    }

    /// Whether the client says it has no password: there is no full authentication then, the empty [`Password`] is
    /// the one to try.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.scramble.is_none()
    }

    /// Whether the scramble proves the password of `verifier`. Never for an empty attempt.
    #[must_use]
    pub fn matches(&self, verifier: &Verifier) -> bool {
        self.scramble.as_ref().is_some_and(|scramble| verifier.matches(scramble, &self.nonce))
    }

    /// As [`Self::matches`], and what such a scramble also tells: the password's hash.
    #[must_use]
    pub fn proved(&self, verifier: &Verifier) -> Option<PasswordHash> {
        self.scramble.as_ref().and_then(|scramble| verifier.proved(scramble, &self.nonce))
    }

    /// Asks for the password itself: the payload to send and the state that takes the reply.
    #[must_use]
    pub fn ask_full(self) -> ([u8; 2], ExpectFull) {
        (FULL_REQUEST, ExpectFull { nonce: self.nonce, channel: self.channel, key: KeyState::NotSent })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyState {
    NotSent,
    Sent,
}

/// Waits for the password itself.
#[derive(Debug)]
pub struct ExpectFull {
    nonce: Nonce,
    channel: ChannelSecurity,
    key: KeyState,
}

/// What came while waiting for the password.
#[derive(Debug)]
pub enum FullStep {
    /// The password.
    Password(Password),
    /// The client needs our public key: send `payload`, then feed the reply to `next`.
    Send {
        /// AuthMoreData with the key.
        payload: Vec<u8>,
        /// The state that takes the reply.
        next: ExpectFull,
    },
}

impl ExpectFull {
    /// Takes the client's next payload. `key` is for clients without TLS.
    ///
    /// # Errors
    /// [`AuthError::Unterminated`] on a secure channel, [`AuthError::Rsa`] on a plain one: a password in the clear there
    /// is not accepted.
    pub fn on(self, payload: impl Into<Zeroizing<Vec<u8>>>, key: &KeyPair) -> Result<FullStep, AuthError> {
        let payload = payload.into();
        if *payload == KEY_REQUEST && self.key == KeyState::NotSent {
            let mut reply = vec![0x01];
            reply.push_bytes(key.public_pem().as_bytes());
            return Ok(FullStep::Send { payload: reply, next: Self { key: KeyState::Sent, ..self } });
        }
        match (self.channel, self.key) {
            (ChannelSecurity::Secure, KeyState::NotSent) => match payload.split_last() {
                Some((0, password)) if !password.contains(&0) => {
                    Ok(FullStep::Password(Password::new(password.to_vec())))
                }
                Some(_) | None => Err(AuthError::Unterminated),
            },
            (ChannelSecurity::Plain, KeyState::NotSent | KeyState::Sent)
            | (ChannelSecurity::Secure, KeyState::Sent) => {
                Ok(FullStep::Password(key.decrypt(&payload, &self.nonce)?))
            }
        }
    }
}
