//! Towards an instance: what to answer until it says OK or ERR.
//!
//! A password leaves in the clear only over a secure channel; otherwise it is encrypted with the server's RSA key or the
//! exchange ends. At most one switch of plugins is followed, so an exchange always ends.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    AuthPlugin, ChannelSecurity, Credential, NONCE_LEN, Nonce, Password, RsaError, ServerPublicKey, scramble,
};
use crate::{Capabilities, ErrPacket, Malformed, Reader};

/// Why an exchange with an instance cannot go on. The server's refusal is no error here: see [`ClientStep::Refused`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientAuthError {
    /// A packet of the server has not its form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The account needs a plugin that is not about a password.
    #[error("the server asks for {}, which is not supported", String::from_utf8_lossy(.0.name()))]
    Plugin(AuthPlugin),
    /// The account needs the password in the clear and the channel is not secure.
    #[error("the server asks for the password in the clear over a connection without TLS")]
    ClearPasswordOverPlain,
    /// The server wants the password itself, and only its hash is there.
    #[error("the server asks for the password, which was not kept")]
    PasswordNotKept,
    /// The account needs a further factor.
    #[error("the server asks for a second authentication factor")]
    SecondFactor,
    /// A packet that has no place at this point.
    #[error("the server sent {0:#04x} out of place")]
    OutOfPlace(u8),
    /// The server's key is none, or too short for the password.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

/// What to do after a packet of the server.
pub enum ClientStep {
    /// Send `payload`, then feed the next packet to `next`.
    Send {
        /// The answer; may be the password, so it is wiped when dropped.
        payload: Zeroizing<Vec<u8>>,
        /// The state that takes the next packet.
        next: ClientAuth,
    },
    /// Nothing to send; feed the next packet to it.
    Wait(ClientAuth),
    /// Logged in: the OK packet's payload.
    Done(Vec<u8>),
    /// The server says no, in its own words.
    Refused(ErrPacket<'static>),
}

impl fmt::Debug for ClientStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { next, .. } => f.debug_struct("Send").field("next", next).finish_non_exhaustive(),
            Self::Wait(next) => f.debug_tuple("Wait").field(next).finish(),
            Self::Done(ok) => f.debug_tuple("Done").field(ok).finish(),
            Self::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
        }
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct ClientAuth {
    credential: Credential,
    channel: ChannelSecurity,
    agreed: Capabilities,
    plugin: AuthPlugin,
    nonce: Nonce,
    phase: Phase,
    switched: Switched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// First data sent; the server may ask for more.
    First,
    /// The server's key was asked for.
    KeyAsked,
    /// Nothing more to say: OK or ERR is due.
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switched {
    No,
    Yes,
}

impl ClientAuth {
    /// The first data for a greeting that names `plugin`, and the exchange. For a plugin that would give away more
    /// than a scramble `caching_sha2_password` is tried and the server left to switch. `agreed` are the capabilities of
    /// the login: with `SSL` among them the channel is TLS.
    #[must_use]
    pub fn begin(
        plugin: &AuthPlugin,
        nonce: Nonce,
        credential: impl Into<Credential>,
        channel: ChannelSecurity,
        agreed: Capabilities,
    ) -> (AuthPlugin, Vec<u8>, Self) {
        let credential = credential.into();
        let (plugin, data) = match (plugin, &credential) {
            (AuthPlugin::NativePassword, Credential::Password(password)) => {
                (AuthPlugin::NativePassword, native(password, &nonce))
            }
            (AuthPlugin::NativePassword, Credential::Hash(_))
            | (
                AuthPlugin::CachingSha2
                | AuthPlugin::Sha256Password
                | AuthPlugin::ClearPassword
                | AuthPlugin::Other(_),
                _,
            ) => (AuthPlugin::CachingSha2, caching_sha2(&credential, &nonce)),
        };
        let state = Self {
            credential,
            channel,
            agreed,
            plugin: plugin.clone(),
            nonce,
            phase: Phase::First,
            switched: Switched::No,
        };
        (plugin, data, state)
    }

    /// Takes the server's next payload.
    ///
    /// # Errors
    /// [`ClientAuthError`]; the connection is of no use then.
    pub fn on(self, payload: &[u8]) -> Result<ClientStep, ClientAuthError> {
        let mut reader = Reader::new(payload);
        match reader.u8()? {
            0x00 => Ok(ClientStep::Done(payload.to_vec())),
            0xff => Ok(ClientStep::Refused(ErrPacket::parse(payload)?.into_owned())),
            0xfe if self.phase != Phase::KeyAsked && self.switched == Switched::No => self.switch(reader),
            0x01 => self.more_data(reader.rest()),
            0x02 => Err(ClientAuthError::SecondFactor),
            other => Err(ClientAuthError::OutOfPlace(other)),
        }
    }

    fn switch(self, mut reader: Reader<'_>) -> Result<ClientStep, ClientAuthError> {
        if reader.is_empty() {
            return Err(ClientAuthError::Plugin(AuthPlugin::Other(b"mysql_old_password".to_vec())));
        }
        let plugin = AuthPlugin::from_name(reader.nul_terminated()?);
        let nonce = Nonce::from_wire(reader.take_array::<NONCE_LEN>().unwrap_or(*self.nonce.as_bytes()));
        let next =
            Self { nonce, switched: Switched::Yes, phase: Phase::First, plugin: plugin.clone(), ..self };
        match plugin {
            AuthPlugin::CachingSha2 => {
                let payload = Zeroizing::new(caching_sha2(&next.credential, &nonce));
                Ok(ClientStep::Send { payload, next })
            }
            AuthPlugin::NativePassword => {
                let payload = native(next.password()?, &nonce);
                Ok(next.last(payload))
            }
            AuthPlugin::Sha256Password if next.credential.is_empty() => Ok(next.last(vec![0])),
            // Unlike its successor this plugin takes a Unix socket for insecure.
            AuthPlugin::Sha256Password if next.agreed.contains(Capabilities::SSL) => next.reveal(),
            AuthPlugin::Sha256Password => next.ask_key(0x01),
            AuthPlugin::ClearPassword => match next.channel {
                ChannelSecurity::Secure => next.reveal(),
                ChannelSecurity::Plain => Err(ClientAuthError::ClearPasswordOverPlain),
            },
            AuthPlugin::Other(_) => Err(ClientAuthError::Plugin(plugin)),
        }
    }

    fn more_data(self, data: &[u8]) -> Result<ClientStep, ClientAuthError> {
        match (self.phase, &self.plugin, data) {
            (Phase::First, AuthPlugin::CachingSha2, [0x03]) => {
                Ok(ClientStep::Wait(Self { phase: Phase::Last, ..self }))
            }
            (Phase::First, AuthPlugin::CachingSha2, [0x04]) => match self.channel {
                ChannelSecurity::Secure => self.reveal(),
                ChannelSecurity::Plain => self.ask_key(0x02),
            },
            (Phase::KeyAsked, _, pem) => {
                let payload = ServerPublicKey::from_pem(pem)?.encrypt(self.password()?, &self.nonce)?;
                Ok(self.last(payload))
            }
            (Phase::First | Phase::Last, _, _) => Err(ClientAuthError::OutOfPlace(0x01)),
        }
    }

    /// The password itself; only where others cannot read it.
    fn reveal(self) -> Result<ClientStep, ClientAuthError> {
        let password = self.password()?.as_bytes();
        let mut payload = Vec::with_capacity(password.len() + 1);
        payload.extend_from_slice(password);
        payload.push(0);
        Ok(self.last(payload))
    }

    fn ask_key(self, request: u8) -> Result<ClientStep, ClientAuthError> {
        self.password()?;
        let next = Self { phase: Phase::KeyAsked, ..self };
        Ok(ClientStep::Send { payload: Zeroizing::new(vec![request]), next })
    }

    fn password(&self) -> Result<&Password, ClientAuthError> {
        match &self.credential {
            Credential::Password(password) => Ok(password),
            Credential::Hash(_) => Err(ClientAuthError::PasswordNotKept),
        }
    }

    fn last(self, payload: Vec<u8>) -> ClientStep {
        ClientStep::Send { payload: Zeroizing::new(payload), next: Self { phase: Phase::Last, ..self } }
    }
}

fn caching_sha2(credential: &Credential, nonce: &Nonce) -> Vec<u8> {
    if credential.is_empty() {
        return Vec::new();
    }
    scramble::caching_sha2_of(&credential.hash(), nonce).to_vec()
}

fn native(password: &Password, nonce: &Nonce) -> Vec<u8> {
    if password.is_empty() { Vec::new() } else { scramble::native(password, nonce).to_vec() }
}
